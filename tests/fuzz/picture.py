#!/usr/bin/env python3
"""tests/fuzz/picture.py FOLDER - small pictures of every form that is read, as seeds for picture.c.

tests/pictures.py takes its files from here, too.
"""
import io
import itertools
import pathlib
import struct
import sys
import zlib

import numpy
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16),
          RGB_ALPHA: (8, 16)}


def photo(width, height, channels=3):
    """uint8 [height,width,channels]: gradients and a little noise."""
    y, x = numpy.mgrid[:height, :width]
    planes = [40 + 150 * x / width, 60 + 120 * y / height, 90 + 3 * x - 2 * y, 200 - x - y]
    noise = numpy.random.default_rng(width * height).integers(0, 9, (height, width, channels))
    return numpy.clip(numpy.stack(planes[:channels], 2) + noise, 0, 255).astype(numpy.uint8)


# PNG ----------------------------------------------------------------------------------------------

def chunk(name, data=b""):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def filtered(row, above, kind, pixel):
    """Bytes of a row under one of the five filters, with the byte that names it."""
    left = numpy.r_[numpy.zeros(pixel, int), row[:-pixel]][:len(row)]
    corner = numpy.r_[numpy.zeros(pixel, int), above[:-pixel]][:len(row)]
    guess = left + above - corner
    distances = [abs(guess - value) for value in (left, above, corner)]
    paeth = numpy.choose(numpy.argmin(distances, 0), (left, above, corner))
    guess = (0 * row, left, above, (left + above) // 2, paeth)[kind]
    return bytes([kind]) + ((row - guess) % 256).astype(numpy.uint8).tobytes()


def png_rows(samples, depth, kinds):
    """Filtered rows of samples [height,width,channels]."""
    height, width, channels = samples.shape
    if not samples.size:
        return b""
    if depth == 16:
        packed = samples.astype(">u2").reshape(height, -1).view(numpy.uint8)
    else:
        bits = numpy.unpackbits(samples.astype(numpy.uint8)[..., None], -1)[..., 8 - depth:]
        packed = numpy.packbits(bits.reshape(height, -1), 1)
    packed = packed.astype(int)
    above = numpy.vstack([0 * packed[:1], packed[:-1]])
    pixel = (depth * channels + 7) // 8
    return b"".join(filtered(row, up, kind, pixel)
                    for row, up, kind in zip(packed, above, itertools.cycle(kinds)))


def header(width, height, depth, colour, interlaced=0):
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced))


def png_of(*chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks) + chunk(b"IEND")


def png(samples, depth, colour, interlaced=0, kinds=range(5), pieces=1, between=()):
    """A PNG of samples [height,width,channels]; `between`: chunks before the data."""
    height, width, _ = samples.shape
    passes = [(0, 0, 1, 1)] if not interlaced else [
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2)]
    data = zlib.compress(b"".join(png_rows(samples[y::dy, x::dx], depth, kinds)
                                  for x, y, dx, dy in passes))
    size = -(-len(data) // pieces)
    return png_of(header(width, height, depth, colour, interlaced), *between,
                  *(chunk(b"IDAT", data[i:i + size]) for i in range(0, len(data), size)))


def png_files():
    """(name, file, pixels) of every depth, colour type and interlace, and of odd sizes."""
    random = numpy.random.default_rng(1)
    for colour, interlaced in itertools.product(DEPTHS, (0, 1)):
        for depth in DEPTHS[colour]:
            for width, height in ((13, 11), (1, 1), (3, 9)):
                samples = random.integers(0, 1 << depth, (height, width, CHANNELS[colour]))
                palette = random.integers(0, 256, (1 << min(depth, 8), 3))
                between = [chunk(b"PLTE", palette.astype(numpy.uint8).tobytes()),
                           chunk(b"tRNS", b"\0\x80")] if colour == PALETTE else []
                if colour in (GREY, RGB):
                    between = [chunk(b"tRNS", bytes(2 * CHANNELS[colour]))]
                eight = samples >> 8 if depth == 16 else samples * 255 // ((1 << depth) - 1)
                pixels = (palette[samples[..., 0]] if colour == PALETTE else
                          eight[..., :3] if CHANNELS[colour] >= 3 else eight[..., [0, 0, 0]])
                yield (f"png-{colour}-{depth}-{interlaced}-{width}x{height}.png",
                       png(samples, depth, colour, interlaced, between=between,
                           pieces=1 + (width == 13)), pixels)


# JPEG ---------------------------------------------------------------------------------------------

def segment(marker, data=b""):
    return bytes([0xff, marker]) + struct.pack(">H", len(data) + 2) + data


def huffman(kind, values):
    """A Huffman table of at most 255 codes, all of 8 bits."""
    return segment(0xc4, bytes([kind] + [0] * 7 + [len(values)] + [0] * 8) + bytes(values))


def flat_jpeg(width, height, factors, restart=0, separate=False, order=(), tail=b""):
    """A JPEG of blocks of one value each: codes of 8 bits, differences of 4 bits.

    factors: (h, v) of each component. separate: a scan for each. tail: bytes before the EOI."""
    dc, ac = huffman(0x00, range(12)), huffman(0x10, [0])
    h, v = (max(f[i] for f in factors) for i in (0, 1))
    frame = struct.pack(">BHHB", 8, height, width, len(factors)) + b"".join(
        bytes([i + 1, 16 * f[0] + f[1], 0]) for i, f in enumerate(factors))
    random = numpy.random.default_rng(len(factors))

    def scan(parts):
        one = len(parts) == 1
        across, down = -(-width // (8 * h)), -(-height // (8 * v))
        if one:
            fh, fv = factors[parts[0]]
            across, down = (-(-(-(-size * f // top)) // 8)
                            for size, f, top in ((width, fh, h), (height, fv, v)))
        blocks = 1 if one else sum(factors[i][0] * factors[i][1] for i in parts)
        data, bits = b"", ""
        for i in range(across * down):
            if restart and i and i % restart == 0:
                data, bits = data + packed(bits) + bytes([0xff, 0xd0 + (i // restart - 1) % 8]), ""
            for _ in range(blocks):
                bits += f"{4:08b}{int(random.integers(16)):04b}{0:08b}"
        about = bytes([len(parts)]) + b"".join(bytes([i + 1, 0]) for i in parts) + b"\0\x3f\0"
        return segment(0xda, about) + data + packed(bits)

    def packed(bits):
        bits += "1" * (-len(bits) % 8)
        return bytes(int(bits[i:i + 8], 2) for i in range(0, len(bits), 8)).replace(
            b"\xff", b"\xff\0")

    whole = range(len(factors))
    scans = [[i] for i in whole] if separate else [whole]
    return (b"\xff\xd8" + segment(0xdb, b"\0" + b"\x14" * 64) + segment(0xc0, frame) + dc + ac
            + (segment(0xdd, struct.pack(">H", restart)) if restart else b"")
            + b"".join(map(scan, scans)) + tail + b"\xff\xd9")


def saved(array, **options):
    out = io.BytesIO()
    mode = {"mode": options.pop("mode")} if "mode" in options else {}
    Image.fromarray(array, **mode).save(out, "JPEG", **options)
    return out.getvalue()


def jpeg_files():
    """(name, file); libjpeg says what their pixels are."""
    for width, height in ((31, 23), (1, 1), (7, 5), (17, 1), (8, 8)):
        size = f"{width}x{height}"
        for subsampling, progressive in itertools.product((0, 1, 2), (False, True)):
            yield (f"jpeg-{subsampling}-{progressive:d}-{size}.jpg",
                   saved(photo(width, height), subsampling=subsampling, progressive=progressive,
                         quality=90))
        yield f"jpeg-grey-{size}.jpg", saved(photo(width, height, 1)[..., 0], quality=90)
        yield (f"jpeg-grey-progressive-{size}.jpg",
               saved(photo(width, height, 1)[..., 0], progressive=True))
        for progressive in (False, True):
            yield (f"jpeg-cmyk-{progressive:d}-{size}.jpg",
                   saved(photo(width, height, 4), mode="CMYK", progressive=progressive))
            yield (f"jpeg-restart-{progressive:d}-{size}.jpg",
                   saved(photo(width, height), restart_marker_blocks=2, progressive=progressive))
        yield f"jpeg-rgb-{size}.jpg", saved(photo(width, height), keep_rgb=True)
        yield f"jpeg-coarse-{size}.jpg", saved(photo(width, height), quality=1)
        yield f"jpeg-optimized-{size}.jpg", saved(photo(width, height), optimize=True, quality=97)
    for factors in ([(4, 1), (1, 1), (1, 1)], [(1, 4), (1, 1), (1, 1)], [(1, 2), (1, 1), (1, 1)],
                    [(2, 2), (2, 1), (1, 2)], [(2, 2)], [(1, 1), (2, 2), (1, 1)],
                    [(3, 1), (1, 1), (1, 1)]):
        name = "-".join(f"{h}{v}" for h, v in factors)
        for separate, restart in ((False, 0), (True, 0), (False, 1), (True, 3)):
            yield (f"jpeg-flat-{name}-{separate:d}-{restart}.jpg",
                   flat_jpeg(37, 29, factors, restart, separate))


# PNM ----------------------------------------------------------------------------------------------

def pnm_files():
    """(name, file, pixels) of every kind, with every maximum, comments and odd white space."""
    random = numpy.random.default_rng(2)
    width, height = 11, 3
    for kind, top in itertools.product((2, 3, 5, 6), (1, 2, 7, 127, 255, 256, 1023, 65535)):
        channels = 3 if kind in (3, 6) else 1
        samples = random.integers(0, top + 1, (height, width, channels))
        if kind < 4:
            data = "\n".join(" ".join(map(str, row.ravel())) for row in samples).encode() + b"\n"
        else:
            data = samples.astype(">u2" if top > 255 else "u1").tobytes()
        start = b"P%d # comment 9\n#another\r%d\t%d\n%d\n" % (kind, width, height, top)
        pixels = numpy.floor(samples * 255 / top + 0.5).astype(int)
        yield f"pnm-{kind}-{top}.pnm", start + data, pixels[..., [0, 0, 0] if channels == 1 else
                                                            [0, 1, 2]]
    bits = random.integers(0, 2, (height, width))
    black = numpy.repeat(255 * (1 - bits[..., None]), 3, 2)
    text = "\n".join("".join(map(str, row)) for row in bits)
    yield "pnm-1.pbm", b"P1\n11 3\n" + text.encode() + b"\n", black
    yield "pnm-1-spaced.pbm", b"P1\n11 3\n" + " ".join(text).encode(), black
    yield "pnm-4.pbm", b"P4 11\r\n3 " + numpy.packbits(bits, 1).tobytes(), black
    for depth, name in enumerate(("GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA"), 1):
        for top in (255, 1023):
            samples = random.integers(0, top + 1, (height, width, depth))
            start = (f"P7\n# comment\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {top}\n"
                     f"TUPLTYPE {name}\nENDHDR\n").encode()
            pixels = numpy.floor(samples * 255 / top + 0.5).astype(int)
            yield (f"pam-{depth}-{top}.pam",
                   start + samples.astype(">u2" if top > 255 else "u1").tobytes(),
                   pixels[..., :3] if depth >= 3 else pixels[..., [0, 0, 0]])


# EXIF ---------------------------------------------------------------------------------------------

def tiff(order, *directories):
    """EXIF's TIFF structure; a directory is a list of (tag, type, count, value)."""
    mark, sign = {"II": (b"II*\0", "<"), "MM": (b"MM\0*", ">")}[order]
    out = mark + struct.pack(sign + "I", 8)
    for i, entries in enumerate(directories):
        body = struct.pack(sign + "H", len(entries))
        for tag, kind, count, value in entries:
            short = kind == 3 and count == 1
            body += struct.pack(sign + ("HHIHH" if short else "HHII"), tag, kind, count,
                                *((value, 0) if short else (value,)))
        following = len(out) + len(body) + 4 if i + 1 < len(directories) else 0
        out += body + struct.pack(sign + "I", following)
    return out


def with_segments(jpeg, *segments):
    """A JPEG whose first segments are these."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def exif(structure):
    return segment(0xe1, b"Exif\0\0" + structure)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    turned = saved(photo(9, 5)), exif(tiff("MM", [(0x112, 3, 1, 6)]))
    files = [*png_files(), *jpeg_files(), *pnm_files(), ("turned.jpg", with_segments(*turned))]
    for name, data, *_ in files:
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
