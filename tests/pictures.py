"""examples/picture.h: every form of picture, cut, damaged, made to harm, with two versions of stb.

The newer stb is in build/stb-newer, where tools/newer-stb puts it.
"""
import errno
import io
import itertools
import os
import re
import struct
import subprocess
import sys
import zlib

import numpy
import pytest
from PIL import Image

from conftest import BUILD as PRODUCTS, ROOT

sys.path.insert(0, str(ROOT / "tests" / "fuzz"))
import picture as made                                              # noqa: E402
from picture import chunk, exif, flat_jpeg, header, huffman, png_of, segment, tiff  # noqa: E402

NEWER = PRODUCTS / "stb-newer"
BUILD = ("clang -std=c99 -O1 -g -fsanitize=address,undefined,float-cast-overflow "
         "-fno-sanitize-recover=all -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef "
         "-Wcast-align -Werror").split()


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """Paths of tests/pictures/reader.c's programs, made once: programs(stb's name)."""
    built = {}

    def program(stb):
        if stb == "newer" and not NEWER.exists():
            pytest.skip("no newer stb in build/stb-newer: tools/newer-stb could not fetch it")
        if stb not in built:
            path = tmp_path_factory.mktemp("reader") / stb
            folder = ["-isystem", NEWER] if stb == "newer" else []
            subprocess.run([*BUILD, *folder, ROOT / "tests/pictures/reader.c", "-o", path, "-lm",
                            "-lpthread"], check=True)
            built[stb] = path
        return built[stb]

    return program


def answers(program, files):
    """What the reader says of each file: pixels uint8 [height,width,3], or a sentence."""
    sent = b"".join(struct.pack("<I", len(f)) + f for f in files)
    r = subprocess.run([program], input=sent, stdout=subprocess.PIPE, check=True)
    found, at = [], 0
    while at < len(r.stdout):
        width, height = struct.unpack_from("<II", r.stdout, at)
        size = 3 * width * height if width else height
        data = r.stdout[at + 8:at + 8 + size]
        found.append(numpy.frombuffer(data, numpy.uint8).reshape(height, width, 3) if width
                     else data.decode())
        at += 8 + size
    assert len(found) == len(files)
    return found


@pytest.fixture(scope="session", params=["system's stb", "newer"])
def read(request, programs):
    """read(files): the answers of a reader that is built with one of two versions of stb."""
    program = programs(request.param)
    return lambda files: answers(program, files)


def same(one, other):
    return (one == other if isinstance(one, str) or isinstance(other, str)
            else numpy.array_equal(one, other))


def pillow(data):
    return numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def assert_refused(read, cases):
    """cases: (file, words of the sentence)."""
    for (data, words), answer in zip(cases, read([data for data, _ in cases])):
        assert isinstance(answer, str) and words in answer, (words, answer)


# Every form that is read --------------------------------------------------------------------------

@pytest.mark.parametrize("files", [made.png_files, made.pnm_files])
def test_exact_pixels(read, files):
    files = list(files())
    for (name, _, pixels), answer in zip(files, read([data for _, data, _ in files])):
        assert same(answer, pixels), (name, answer)


def test_png_is_what_pillow_reads(read):
    """The pictures that tests make are right: Pillow reads them as picture.h does."""
    files = [data for name, data, _ in made.png_files() if not re.match("png-[0246]-16", name)]
    for data, answer in zip(files, read(files)):
        image = Image.open(io.BytesIO(data))
        assert same(answer, numpy.asarray(image.convert("RGBA"))[..., :3]), image


def test_jpeg_is_what_libjpeg_reads(read):
    """Decoders may round and upsample chroma each in its own way, but not by more than this."""
    files = list(made.jpeg_files())
    for (name, data), answer in zip(files, read([data for _, data in files])):
        assert not isinstance(answer, str), (name, answer)
        difference = abs(answer.astype(int) - pillow(data))
        assert difference.max() <= 16 and difference.mean() <= 1.5, name


def test_versions_of_stb_agree(programs):
    """Whole files and damaged ones: the same pixels or the same sentence."""
    jpegs = dict(made.jpeg_files())
    files = [data for _, data, *_ in [*made.png_files(), *made.pnm_files(), *jpegs.items()]]
    for name in ("jpeg-2-0-7x5.jpg", "jpeg-2-1-7x5.jpg", "jpeg-restart-0-31x23.jpg"):
        files += damaged(jpegs[name])
    old, new = (answers(programs(stb), files) for stb in ("system's stb", "newer"))
    assert all(map(same, old, new))


def test_the_newer_stb_is_newer(programs):
    programs("newer")
    version = lambda text: tuple(map(int, re.search(r"v(\d+)\.(\d+)", text).groups()))
    preprocessed = subprocess.run(["clang", "-E", "-H", "-x", "c", "-"], capture_output=True,
                                  input="#include <stb/stb_image.h>\n", text=True, check=True)
    system = next(line.lstrip(". ") for line in preprocessed.stderr.splitlines()
                  if line.endswith("stb_image.h"))
    assert (version((NEWER / "stb/stb_image.h").read_text()) >= (2, 28)
            and version(open(system).read()) <= version((NEWER / "stb/stb_image.h").read_text()))


# Cut and damaged ----------------------------------------------------------------------------------

def small_files():
    """Name -> file: a few of each kind, small enough to be broken at every byte."""
    files = [*made.png_files(), *made.pnm_files(), *made.jpeg_files()]
    pattern = (r"png-(0-1|2-8|3-4|6-16)-[01]-13x11|jpeg-(2-[01]|grey|cmyk-0)-7x5|"
               r"jpeg-restart-[01]-31x23|jpeg-flat-22-21-12-1-3|pnm-[2356]-(7|1023)|pnm-[14]|pam-4")
    return {name: data for name, data, *_ in files if re.match(pattern, name)}


def damaged(data):
    return [data[:i] + bytes([value]) + data[i + 1:] for i in range(len(data))
            for value in (data[i] ^ 1, data[i] ^ 0x80, 0, 255) if value != data[i]]


@pytest.mark.parametrize("name", small_files())
def test_every_prefix_is_refused(read, name):
    """A plain PNM that ends within its last number cannot be told from one of a smaller number."""
    data = small_files()[name]
    plain, last = re.match("pnm-[123]", name), 1 if name[4] == "1" else len(data.split()[-1])
    end = len(data.rstrip()) - last + 1 if plain else len(data)
    for size, answer in enumerate(read([data[:size] for size in range(end)])):
        assert isinstance(answer, str), size
        assert size < 12 or "cut short" in answer, (size, answer)


@pytest.mark.parametrize("name", [name for name in small_files() if name.endswith("png")])
def test_every_damaged_byte_of_a_png_is_noticed(read, name):
    data = small_files()[name]
    assert all(isinstance(answer, str) for answer in read(damaged(data)))


@pytest.mark.parametrize("name", [name for name in small_files() if not name.endswith("png")])
def test_damaged_bytes_do_no_harm(read, name):
    """The sanitizers watch, and the sentences are letters."""
    answers = read(damaged(small_files()[name]))
    assert all(answer.isprintable() for answer in answers if isinstance(answer, str))
    assert any(isinstance(answer, str) for answer in answers)


# EXIF ---------------------------------------------------------------------------------------------

UPRIGHT = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1],
           4: lambda a: a[::-1], 5: lambda a: a.transpose(1, 0, 2),
           6: lambda a: numpy.rot90(a, -1), 7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
           8: lambda a: numpy.rot90(a)}
JPEG = made.saved(made.photo(19, 10), quality=95)
SAMPLES = made.photo(19, 10)


def orientation(value, kind=3, count=1):
    return 0x112, kind, count, value


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation(read, order, value):
    structure = tiff(order, [(0x100, 4, 1, 19), orientation(value)], [orientation(9 - value)])
    before = made.png(SAMPLES, 8, made.RGB, between=[chunk(b"eXIf", structure)])
    plain = made.png(SAMPLES, 8, made.RGB)
    after = plain[:-12] + chunk(b"eXIf", structure) + plain[-12:]
    upright, *turned = read([JPEG, made.with_segments(JPEG, exif(structure))])
    assert same(turned[0], UPRIGHT[value](upright))
    for answer in read([before, after]):
        assert same(answer, UPRIGHT[value](SAMPLES))


def test_what_is_no_orientation_of_the_picture(read):
    """The thumbnail's own, entries beyond the count, other types, and numbers that say nothing."""
    six = tiff("MM", [orientation(6)])
    structures = [
        tiff("II", [(0x100, 4, 1, 19)], [orientation(6)]), tiff("MM", [], [orientation(6)]),
        tiff("II", [orientation(6, kind=1)]), tiff("II", [orientation(6, count=2)]),
        tiff("II", [orientation(6 << 16, kind=4)]),
        tiff("II", [orientation(0)]), tiff("MM", [orientation(9)]),
        tiff("MM", [orientation(0x600)]),
        six.replace(b"\0\1\1\x12", b"\0\0\1\x12"), b"", b"MM", six[:4] + b"\xff\xff\xff\xff",
        six[:4] + b"\0\0\0\xff", b"II" + six[2:], *(six[:size] for size in range(len(six) - 6))]
    upright, *answers = read([JPEG] + [made.with_segments(JPEG, exif(s)) for s in structures])
    for structure, answer in zip(structures, answers):
        assert same(answer, upright), structure


def test_orientation_of_odd_writers(read):
    """A LONG, as some phones write it, and a PNG's structure behind the name that JPEG has."""
    long = [tiff(order, [orientation(6, kind=4)]) for order in ("II", "MM")]
    named = b"Exif\0\0" + tiff("II", [orientation(6)])
    upright, *turned = read([JPEG, *(made.with_segments(JPEG, exif(s)) for s in long)])
    assert all(same(answer, UPRIGHT[6](upright)) for answer in turned)
    for structure in (*long, named):
        png = made.png(SAMPLES, 8, made.RGB, between=[chunk(b"eXIf", structure)])
        assert same(read([png])[0], UPRIGHT[6](SAMPLES))


def test_where_exif_lies(read):
    """Behind other segments and fill bytes, once; not where a comment looks like it."""
    six, three = (exif(tiff("II", [orientation(value)])) for value in (6, 3))
    xmp = segment(0xe1, b"http://ns.adobe.com/xap/1.0/\0<x/>")
    upright, *turned = read([JPEG, *(made.with_segments(JPEG, *segments) for segments in (
        [xmp, six], [b"\xff\xff\xff" + six], [six, three], [segment(0xe0, b"JFIF"), xmp, six])),
        made.with_segments(JPEG, segment(0xfe, six[4:]), segment(0xe2, six[4:]))])
    assert all(same(answer, UPRIGHT[6](upright)) for answer in turned[:-1])
    assert same(turned[-1], upright)


# JPEG ---------------------------------------------------------------------------------------------

FACTORS = [(2, 1), (1, 1), (1, 1)]


@pytest.mark.parametrize("tail", [b"\xff\0\0" * 20, bytes(999), b"\xff" * 9, b"\xff\xd3",
                                  b"\x12\x34", b"\xff\0\xff\x3f\xff\x01"])
def test_padding_after_the_data(read, tail):
    """As some cameras write it; libjpeg passes over it, too."""
    plain, *padded = read([flat_jpeg(37, 29, FACTORS),
                           *(flat_jpeg(37, 29, FACTORS, restart, separate, tail=tail)
                             for restart in (0, 3) for separate in (False, True))])
    assert same(padded[0], plain)
    assert not any(isinstance(answer, str) for answer in padded)


def test_the_first_of_several_pictures(read):
    """Phones append a second picture (MPO), a video or a depth map; a thumbnail lies before."""
    thumbnail = made.saved(made.photo(5, 4))
    one, *others = read([JPEG, JPEG + thumbnail, JPEG + b"rest", made.with_segments(
        JPEG, exif(tiff("II", [], [(0x201, 4, 1, 99)]) + thumbnail))])
    assert all(same(one, other) for other in others)


def test_colours_of_jpeg(read):
    """Who says that three components are RGB, and how four are meant, as libjpeg decides."""
    adobe = lambda transform: segment(0xee, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))
    jfif, rgb = made.saved(SAMPLES), made.saved(SAMPLES, keep_rgb=True)
    four = made.saved(made.photo(19, 10, 4), mode="CMYK")
    bare = jfif.replace(jfif[2:20], b"", 1)
    plain = re.sub(rb"\xff\xee\0\x0eAdobe.{7}", b"", rgb, 1, re.S)
    files = [jfif, bare, rgb, plain, four, made.with_segments(bare, adobe(0)),
             made.with_segments(bare, adobe(1)), made.with_segments(jfif, adobe(0)),
             made.with_segments(plain, adobe(1)), made.with_segments(plain, jfif[2:20])]
    flat = flat_jpeg(37, 29, [(1, 1)] * 4)
    files += [flat, made.with_segments(flat, adobe(0)), made.with_segments(flat, adobe(2))]
    assert bare != jfif and plain != rgb
    for i, (data, answer) in enumerate(zip(files, read(files))):
        assert abs(answer.astype(int) - pillow(data)).max() <= 16, i


def changed(data, old, new):
    assert data.count(old) == 1, (old, data.count(old))
    return data.replace(old, new)


def test_jpegs_that_are_refused(read):
    flat = flat_jpeg(37, 29, [(1, 1)])
    three = flat_jpeg(37, 29, FACTORS, separate=True)
    restarts = flat_jpeg(37, 29, FACTORS, restart=1)
    progressive = made.saved(SAMPLES, progressive=True)
    first = progressive.index(b"\xff\xda")
    frame = flat[flat.index(b"\xff\xc0"):][:13]
    scan = flat.index(b"\xff\xda")
    marker = lambda code: changed(flat, b"\xff\xc0", bytes([0xff, code]))
    framed = lambda **new: changed(flat, frame, segment(0xc0, struct.pack(
        ">BHHBBBB", *{"bits": 8, "height": 29, "width": 37, "count": 1, "id": 1, "hv": 17, "q": 0,
                      **new}.values())))
    dht = lambda counts, values: flat[:scan] + segment(0xc4, b"\0" + counts + values) + flat[scan:]
    assert_refused(read, [
        (dht(b"\xff" * 16, bytes(255 * 16)), "too many codes"),
        (dht(bytes(7) + b"\xff\xff" + bytes(7), bytes(510)), "too many codes"),
        (dht(b"\3" + bytes(15), bytes(3)), "too many codes"),
        (dht(bytes(15) + b"\xff", bytes(20)), "Huffman table is cut"),
        (dht(bytes(3), b""), "Huffman table is cut"),
        (changed(flat, b"\xff\xc4\0\x14\x10", b"\xff\xc4\0\x14\x24"), "no number"),
        (changed(flat, huffman(0x10, [0]), b""), "lacks one of its tables"),
        (changed(flat, huffman(0, range(12)), b""), "lacks one of its tables"),
        (changed(flat, segment(0xdb, b"\0" + b"\x14" * 64), b""), "lacks one of its tables"),
        (changed(flat, b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\4"), "quantization table"),
        (changed(flat, b"\xff\xdb\0\x43\0", b"\xff\xdb\0\x43\x10"), "quantization table"),
        (changed(flat, huffman(0, range(12)), huffman(0, range(40, 52))), "too large"),
        (marker(0xc3), "lossless"), (marker(0xf7), "lossless"), (marker(0xc9), "arithmetic"),
        (marker(0xca), "arithmetic"), (marker(0xc5), "hierarchical"),
        (marker(0xde), "hierarchical"),
        (framed(bits=12), "12 bits"), (framed(height=0), "tells its height after"),
        (framed(width=0), "without any pixel"), (framed(width=40000), "more than"),
        (framed(width=16384, height=16384), "more than"), (framed(hv=0x51), "frame header"),
        (framed(hv=0x10), "frame header"), (framed(q=4), "frame header"),
        (framed(count=2), "frame header"), (changed(flat, frame, frame * 2), "two frame headers"),
        (changed(flat, frame, b""), "before the frame header"),
        (flat[:scan] + b"\xff\xd9", "a component has no scan"), (b"\xff\xd8\xff\xd9", "no frame"),
        (flat_jpeg(37, 29, [(1, 1), (1, 1)]), "2 components"),
        (flat_jpeg(37, 29, [(3, 1), (2, 1), (1, 1)]), "not parts of each other"),
        (changed(three, struct.pack(">BB", 2, 0x11), struct.pack(">BB", 1, 0x11)), "one number"),
        (changed(three, b"\xff\xda\0\x08\1\2", b"\xff\xda\0\x08\1\1"), "two scans"),
        (changed(three, b"\xff\xda\0\x08\1\2", b"\xff\xda\0\x08\1\7"), "not those of the frame"),
        (changed(flat, b"\xff\xda\0\x08\1\1\0", b"\xff\xda\0\x08\1\1\x44"), "scan header"),
        (changed(flat, b"\xff\xda\0\x08\1\1\0", b"\xff\xda\0\x08\2\1\0"), "scan header"),
        (changed(flat, b"\0\x3f\0", b"\1\x3f\0"), "scan header"),
        (flat[:-12] + b"\xff\xd9", "ends before its last block"),
        (restarts.replace(b"\xff\xd1", b"\xff\xd2"), "restart marker"),
        (restarts.replace(b"\xff\xd1", b""), "restart marker"),
        (restarts.replace(b"\xff\xd1", b"\0\xff\xd1"), "restart marker"),
        (progressive[:first + 12] + b"\1" + progressive[first + 13:], "scan header"),
        (re.sub(rb"\xff\xda\0\x0c.*?(?=\xff[\xda\xc4])", b"", progressive, 1, re.S),
         "do not begin with the DC"),
        (flat[:-2] + b"\xff\x00\x07\xff", "cut short")])


def test_a_jpeg_of_many_scans_is_refused(read):
    """Each is a walk over all blocks. Here each adds one bit of one coefficient, as it may."""
    start = flat_jpeg(8, 8, [(1, 1)]).replace(b"\xff\xc0", b"\xff\xc2")
    start = start[:start.index(b"\xff\xda")]
    scan = lambda k, bits, data: segment(0xda, bytes([1, 1, 0, k, k, bits])) + data
    scans = [scan(0, 0, bytes(2)), *(scan(k, 1, b"\0") for k in range(1, 64)),
             *(scan(k, 0x10, b"\0") for k in range(1, 64))]
    allowed, many = read([start + b"".join(scans[:count]) + b"\xff\xd9" for count in (100, 101)])
    assert not isinstance(allowed, str), allowed
    assert isinstance(many, str) and "100 scans" in many, many


# PNG ----------------------------------------------------------------------------------------------

def test_pngs_that_are_refused(read):
    rows = b"".join(b"\0" + bytes(6) for _ in range(3))
    data = zlib.compress(rows)
    start, idat = header(2, 3, 8, made.RGB), chunk(b"IDAT", data)
    palette = chunk(b"PLTE", bytes(6))
    whole = png_of(start, idat)
    of = lambda rows: png_of(start, chunk(b"IDAT", zlib.compress(rows)))
    assert not isinstance(read([whole])[0], str)
    assert_refused(read, [
        (png_of(idat, start), "first chunk is IDAT"), (png_of(start, start, idat), "IHDR"),
        (png_of(chunk(b"CgBI", bytes(4)), start, idat), "Apple"), (png_of(start), "no IDAT"),
        (png_of(start, chunk(b"IDAT", data[:5]), chunk(b"tEXt"), chunk(b"IDAT", data[5:])),
         "do not follow each other"),
        (png_of(start, palette, palette, idat), "PLTE"), (png_of(start, idat, palette), "PLTE"),
        (png_of(start, chunk(b"PLTE", bytes(4)), idat), "PLTE"),
        (png_of(start, chunk(b"PLTE", bytes(771)), idat), "PLTE"),
        (png_of(header(2, 3, 8, made.PALETTE), chunk(b"IDAT", zlib.compress(bytes(9)))), "palette"),
        (png_of(header(2, 3, 8, made.PALETTE), palette,
                chunk(b"IDAT", zlib.compress(b"\0\0\2" * 3))), "colour 2"),
        (png_of(start, chunk(b"ABCD"), idat), "ABCD"),
        (png_of(start, chunk(b"ab1d"), idat), "begins"),
        (png_of(chunk(b"IHDR", bytes(12)), idat), "12 bytes"),
        (of(rows[:-7]), "ends before its last row"), (of(rows + rows), "cannot be inflated"),
        (of(rows.replace(b"\0", b"\5", 1)), "no known filter"), (of(b""), "ends before"),
        (png_of(start, chunk(b"IDAT", data[:-4] + bytes(4))), "checksum of its pixels"),
        (png_of(start, chunk(b"IDAT", b"\x78\x9d" + data[2:])), "cannot be inflated"),
        (png_of(start, chunk(b"IDAT", data[2:])), "cannot be inflated"),
        (png_of(start, chunk(b"IDAT", data[:6])), "damaged"),
        (png_of(start, chunk(b"IDAT", b"")), "too short"),
        (whole.replace(b"\r\n", b"\n"), "as if it were text"), (whole[:-12], "cut short")])
    assert_refused(read, [(png_of(header(w, h, 8, made.RGB), idat), words) for w, h, words in (
        (0, 3, "without any pixel"), (2, 0, "without any pixel"), (16385, 1, "more than"),
        (1, 1 << 31, "more than"), (16384, 4097, "more than"), (16384, 4096, "too short"))])
    legal = {(colour, depth) for colour in made.DEPTHS for depth in made.DEPTHS[colour]}
    wrong = [pair for pair in itertools.product(range(9), (0, 1, 2, 3, 4, 5, 8, 12, 16, 32))
             if pair not in legal]
    assert_refused(read, [(png_of(header(2, 3, depth, colour), palette, idat), "colour type")
                          for colour, depth in wrong])
    assert_refused(read, [(png_of(chunk(b"IHDR", struct.pack(
        ">II5B", 2, 3, 8, made.RGB, *rest)), idat), "unknown compression")
        for rest in ((1, 0, 0), (0, 1, 0), (0, 0, 2))])


def test_png_with_more_than_a_picture(read):
    """Text, an animation's frames and what follows the end change nothing."""
    plain = made.png(SAMPLES, 8, made.RGB)
    animated = made.png(SAMPLES, 8, made.RGB, pieces=3, between=[
        chunk(b"acTL", bytes(8)), chunk(b"fcTL", bytes(26)), chunk(b"PLTE", bytes(9)),
        chunk(b"tEXt", b"Title\0x")])
    late = animated[:-12] + chunk(b"fdAT", bytes(99)) + animated[-12:]
    for answer in read([plain, animated, late, plain + b"rest", plain + plain]):
        assert same(answer, SAMPLES)


# PNM, and anything else ---------------------------------------------------------------------------

def test_pnms_that_are_refused(read):
    assert_refused(read, [
        (b"P5 2 1 0\n\0\0", "white is 0"), (b"P5 2 1 65536\n" + bytes(4), "white is 65536"),
        (b"P5 0 1 255\n", "without any pixel"), (b"P6 2 0 255\n", "without any pixel"),
        (b"P5 -2 1 255\n\0\0", "'-' where a number"), (b"P5 2 x 255\n\0\0", "'x' where a number"),
        (b"P5 2 1 255", "cut short"), (b"P5 2 1 255\n\0", "cut short"), (b"P5\n", "cut short"),
        (b"P6 2 1 300\n" + bytes(11), "cut short"), (b"P4 9 1\n\0", "cut short"),
        (b"P5 2 1 100\n\0\x65", "above its maximum"), (b"P2 2 1 100\n0 101\n", "above its maximum"),
        (b"P5 1 1 300\n\1\x2d", "above its maximum"), (b"P2 2 1 9\n1 a\n", "'a' where a number"),
        (b"P1 2 1\n12\n", "neither 0 nor 1"), (b"P1 2 1\n1", "cut short"),
        (b"P3 1 1 9\n1 2 # 3", "cut short"), (b"P5 99999999999 1 255\n\0", "where a number"),
        (b"P6 20000 1 255\n", "more than"), (b"P6 16384 4096 255\n\0", "cut short"),
        (b"P3 16384 4096 255\n0", "cut short"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 9\nENDHDR\n" + bytes(5), "5 channels"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 4\nMAXVAL 9\nTUPLTYPE CMYK\nENDHDR\n" + bytes(4), "CMYK"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 9\nTUPLTYPE RGB\nENDHDR\n\0\0", "cut short"),
        (b"P7\nWIDTH 1\nDEPTH 3\nMAXVAL 9\nENDHDR\n\0\0", "without any pixel"),
        (b"P7\nWIDE\nENDHDR\n", "'WIDE'"), (b"P7\n" + b"#" * 99, "79 characters")])


def test_pnms_by_the_letter(read):
    """Comments, one white byte before the data, several pictures in one file."""
    grey = lambda *values: numpy.repeat(numpy.uint8(values)[None, :, None], 3, 2)
    for data, pixels in [(b"P5 2 1 255\n\n\r", grey(10, 13)), (b"P5 2 1 255#c\n\t ", grey(9, 32)),
                         (b"P5#c\n2#c\n#d\n1 255\n##", grey(35, 35)),
                         (b"P2 2 1 9 9 #9\n0", grey(255, 0)),
                         (b"P5 1 1 9 \x09P5 1 1 9 \0", grey(255)),
                         (b"P1 3 1 0 #1\n10", grey(255, 0, 255)),
                         (b"P7\nWIDTH 2\nHEIGHT 1\nDEPTH 1\nMAXVAL 1\nTUPLTYPE BLACKANDWHITE\n"
                          b"ENDHDR\n\0\1", grey(0, 255))]:
        assert same(read([data])[0], pixels), data


def test_pnms_of_careless_writers(read):
    """CR LF and comments before the data, where the file is longer by just these."""
    data, wide = bytes(range(30, 42)), bytes(range(0, 24))
    letters = {b"P5\n4 3\n255\n": data, b"P6\n2 2\n255\n": data, b"P5\n4 3\n65535\n": wide,
               b"P4\n4 12\n": data,
               b"P7\nWIDTH 2\nHEIGHT 2\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n": data}
    for header, pixels in letters.items():
        lines = header.replace(b"\n", b"\r\n")
        careless = [lines] if b"P7" in header else [
            lines, header + b"# made by hand\n", header + b"#\n# two\n", lines + b"# one\r\n",
            header[:-1] + b" # white\n", header[:-1] + b" # white\r\n"]
        plain, *answers = read([header + pixels, *(text + pixels for text in careless)])
        assert all(same(answer, plain) for answer in answers), header
        kept, = read([header + (b"#\n" + pixels)[:len(pixels)]])
        assert not same(kept, plain)
    shifted, = read([b"P5\r\n2 1\r\n255\r\n\1\2\n"])         # longer by more: by the letter
    assert shifted[0, 0, 0] == 10


def test_other_files_are_named(read):
    assert_refused(read, [
        (b"", "the file is empty"), (b"GIF89a" + bytes(9), "a GIF"),
        (b"no picture", "no PNG, JPEG"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WebP"), (b"II*\0", "TIFF"), (b"\0\0\0\x1cftypheic", "HEIC"),
        (b"\0\0\0\x1cftypavif", "AVIF"), (b"<!DOCTYPE html>", "web page"),
        (b"BM" + bytes(9), "BMP"), (b"RIFF\0\0\0\0AVI LIST", "video"), (b"\x1f\x8b\x08", "gzip"),
        (b'{"error": 404}', "JSON"), (b"\x89SWIN\r\n\x1a\n", "-m"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"), (b"P", "no PNG, JPEG"),
        (b"PF\n1 1\n", "PFM"), (b"P8 1 1 1", "no PNG, JPEG"), (b"P51 1 9 ", "no PNG, JPEG")])


def test_headers_cost_no_memory(programs):
    """Small files that declare 64 million pixels: refused before room is made for them."""
    jpeg = changed(flat_jpeg(37, 29, FACTORS), struct.pack(">HH", 29, 37),
                   struct.pack(">HH", 4096, 16384))
    data = chunk(b"IDAT", zlib.compress(bytes(9)))
    files = [png_of(header(16384, 4096, 16, made.RGB_ALPHA), data),
             jpeg, jpeg.replace(b"\xff\xc0", b"\xff\xc2"), b"P6 16384 4096 65535\n" + bytes(99),
             b"P3 16384 4096 65535\n" + bytes(99), b"P1 16384 4096\n" + b"0" * 99]
    for data in files:
        child = subprocess.Popen([programs("system's stb")], stdin=subprocess.PIPE,
                                 stdout=subprocess.DEVNULL)
        child.stdin.write(struct.pack("<I", len(data)) + data)
        child.stdin.close()
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = status
        assert status == 0 and usage.ru_maxrss < 100 << 10, (data[:9], usage.ru_maxrss)


# Writing ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("size, error", [
    ("4 4 1", 0), ("4 4 2", 0), ("4 4 3", 0), ("4 4 4", 0), ("0 4 3", "EINVAL"),
    ("4 0 3", "EINVAL"), ("-1 4 3", "EINVAL"), ("4 4 0", "EINVAL"), ("4 4 5", "EINVAL"),
    ("2147483647 2 3", "EFBIG"), ("2147483647 2147483647 1", "EFBIG"), ("715827882 1 3", "EFBIG"),
    ("1 268435456 1", "EFBIG")])
def test_sizes_that_are_written(programs, size, error):
    said = subprocess.run([programs("system's stb"), *size.split()], stdout=subprocess.PIPE,
                          check=True)
    assert int(said.stdout) == (getattr(errno, error) if error else 0)
