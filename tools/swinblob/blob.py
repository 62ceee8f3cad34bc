"""The blob, version 1: the model file that swin.h reads in place.

The format is written down in swin.h (>>blob). `write` packs a canonical model tensor by tensor;
`read` checks every field as swin_open does and gives the model's parts back.
"""

import os
import struct
import tempfile
from math import prod

import numpy as np

from . import canonical
from .canonical import LANES, PANELS, PLAIN, ROWS, Refused, round_up

MAGIC = b"\x89SWIN\r\n\x1a"
VERSION = 1
ENDIAN_MARK = 0x01020304
ALIGN = 64
HEADER = struct.Struct("<8s2IQ2I8Q32x")     # magic, version, mark, size, sums, four (offset, size)
CHECKED_FROM = 32                           # the checksum covers all bytes from here
CONFIG_OFFSET, CONFIG_WORDS = 128, 128
DIRECTORY_OFFSET = CONFIG_OFFSET + 4 * CONFIG_WORDS
ENTRY = struct.Struct("<64s6I2Q24x")        # name, number type, layout, shape, offset, bytes
FLOAT32 = 0
LAYOUT_NAMES = {PLAIN: "plain", ROWS: "rows", PANELS: "panels"}

# Every named word of the config: name, first word, count (1: a number, else a list), type.
CONFIG = [(name, first, count, dtype) for dtype, words in (("<u4", """
    version 0 1, body 1 1, head 2 1, patch 3 1, planes 4 1, width 5 1, stages 6 1, input_rule 7 1,
    depth 8 4, heads 12 4, window_h 16 4, window_w 20 4, shift_h 24 4, shift_w 28 4, hidden 32 4,
    shift_rule 36 1, roll_before_pad 37 1, flags 40 1, feature_norms 41 1, position_h 42 1,
    position_w 43 1, position_rule 44 1, tokens 45 1, token_rows 46 4, token_middle 50 4,
    classes 54 1, head_channels 55 1, head_inputs 56 1, align_corners 57 1, pool_count 58 1,
    pool_scale 59 8, convs 67 1, conv_kernel 68 1, conv_concat 69 1, neck_channels 70 1,
    neck_convs 71 4, ignore_label 75 1, bgr 82 1, resize_rule 83 1, resize_a 84 1, resize_b 85 1,
    resize_filter 86 1, resize_round 87 1, mode 88 1, crop_h 89 1, crop_w 90 1, stride_h 91 1,
    stride_w 92 1, reference 93 8, input_h 101 1, input_w 102 1"""),
    ("<f4", "mask 38 1, eps 39 1, mean 76 3, scale 79 3"))
    for name, first, count in ((n, int(f), int(c)) for n, f, c in
                               (word.split() for word in words.split(",")))]


class BlobError(Exception):
    """Not a blob, or a damaged one; the message names the field at fault."""


class Checksum:
    """Fletcher's two sums over little-endian 32-bit words, fed in pieces of whole words."""

    def __init__(self):
        self.a = self.b = 0

    def feed(self, data):
        words = np.frombuffer(data, "<u4")
        for piece in np.split(words, range(1 << 20, len(words), 1 << 20)):
            piece = piece.astype(np.uint64)
            weights = np.arange(len(piece), 0, -1, dtype=np.uint64)
            self.b = (self.b + len(piece) * self.a + int((weights * piece).sum())) & 0xFFFFFFFF
            self.a = (self.a + int(piece.sum())) & 0xFFFFFFFF

    @property
    def sums(self):
        return self.a, self.b


# Layouts ------------------------------------------------------------------------------------------

def stored_shape(shape, layout):
    """Shape of the numbers a blob holds for a matrix of `shape`."""
    if layout == ROWS:
        return shape[0], round_up(shape[1], LANES)
    if layout == PANELS:
        return -(-shape[0] // LANES), shape[1], LANES
    return shape


def stored_bytes(spec):
    return 4 * prod(stored_shape(spec.form.shape, spec.form.layout))


def pack(matrix, layout):
    """The matrix as a blob stores it."""
    if layout == PLAIN:
        return matrix
    rows, columns = matrix.shape
    if layout == ROWS:
        return np.pad(matrix, [(0, 0), (0, -columns % LANES)])
    padded = np.pad(matrix, [(0, -rows % LANES), (0, 0)])
    return padded.reshape(-1, LANES, columns).swapaxes(1, 2)


def unpack(stored, shape, layout):
    """The matrix of `shape` that was packed."""
    if layout == PLAIN:
        return stored
    if layout == ROWS:
        return stored[:, :shape[1]]
    return stored.swapaxes(1, 2).reshape(-1, shape[1])[:shape[0]]


# Config and strings -------------------------------------------------------------------------------

def config_bytes(description):
    words = np.zeros(CONFIG_WORDS, "<u4")
    for name, first, count, dtype in CONFIG:
        words[first:first + count] = np.array(description[name], dtype).reshape(-1).view("<u4")
    return words.tobytes()


def config_from_bytes(data):
    words = np.frombuffer(data, "<u4", CONFIG_WORDS)
    unnamed = np.ones(CONFIG_WORDS, bool)
    description = {}
    for name, first, count, dtype in CONFIG:
        values = words[first:first + count].view(dtype).tolist()
        description[name] = values if count > 1 else values[0]
        unnamed[first:first + count] = False
    if words[unnamed].any():
        raise BlobError(f"config word {np.flatnonzero(unnamed & (words != 0))[0]} is not zero")
    return description


NAME_BYTES = 1023       # of a class's name at most


def string_bytes(class_names, class_colors, notes):
    pairs = [("#%02x%02x%02x" % tuple(color), name)
             for color, name in zip(class_colors, class_names)] + list(notes.items())
    for text in (text for pair in pairs for text in pair):
        if not is_text(text):
            raise Refused(f"{text[:40]!r} is no printable text for a class or note")
    for k, name in enumerate(class_names):
        if len(name.encode("utf-8")) > NAME_BYTES:
            raise Refused(f"the name of class {k}, {name[:40]!r}..., is longer than {NAME_BYTES} "
                          "bytes (--classes gives others)")
    return b"".join(text.encode("utf-8") + b"\0" for pair in pairs for text in pair)


def is_text(text):
    """Is it what a blob may say: no control characters but new lines and tabs, valid Unicode?"""
    return not any(c < " " and c not in "\n\t" or c == "\x7f" or "\ud800" <= c < "\ue000"
                   for c in text)


def is_color(text):
    return len(text) == 7 and text[0] == "#" and set(text[1:]) <= set("0123456789abcdef")


def strings_from_bytes(data, classes):
    """Class colours, class names and notes."""
    if data and data[-1]:
        raise BlobError("the last string does not end")
    try:
        texts = data.decode("utf-8").split("\0")[:-1]
    except UnicodeDecodeError as error:
        raise BlobError(f"strings are not UTF-8 at byte {error.start}") from None
    if len(texts) % 2:
        raise BlobError("strings do not come in pairs")
    if not all(map(is_text, texts)):
        raise BlobError("a control character stands in the strings")
    pairs = list(zip(texts[::2], texts[1::2]))
    if len(pairs) < classes:
        raise BlobError(f"names of {len(pairs)} of {classes} classes")
    for k, (color, name) in enumerate(pairs[:classes]):
        if not is_color(color):
            raise BlobError(f"the colour of class {k} is {color!r}, not #rrggbb")
        if len(name.encode("utf-8")) > NAME_BYTES:
            raise BlobError(f"the name of class {k} is longer than {NAME_BYTES} bytes")
    colors = [tuple(bytes.fromhex(color[1:])) for color, _ in pairs[:classes]]
    return colors, [name for _, name in pairs[:classes]], dict(pairs[classes:])


# Writing ------------------------------------------------------------------------------------------

def write(path, model, progress=lambda specs: specs):
    """Writes a model: under a temporary name first, so that `path` is a whole blob or untouched.

    A link is followed: what it leads to is replaced. progress: wraps the list of specs that is
    walked. Returns the size in bytes."""
    model.check()
    specs = list(canonical.tensors(model.description))
    strings = string_bytes(model.class_names, model.class_colors, model.notes)
    strings_offset = DIRECTORY_OFFSET + ENTRY.size * len(specs)
    data_offset = round_up(strings_offset + len(strings), ALIGN)

    directory, end = [], data_offset
    for spec in specs:
        name, bytes_ = spec.name.encode("ascii"), stored_bytes(spec)
        directory.append(ENTRY.pack(name, FLOAT32, spec.form.layout, *spec.shape, end, bytes_))
        end += round_up(bytes_, ALIGN)

    def header(sums):
        return HEADER.pack(MAGIC, VERSION, ENDIAN_MARK, end, *sums, CONFIG_OFFSET,
                           4 * CONFIG_WORDS, DIRECTORY_OFFSET, len(specs), strings_offset,
                           len(strings), data_offset, end - data_offset)

    checksum = Checksum()
    path = os.path.realpath(path)
    folder, base = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{base[:40]}.", suffix=".part", dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            def put(data):
                data += bytes(-len(data) % ALIGN)
                checksum.feed(data)
                file.write(data)

            file.write(header((0, 0))[:CHECKED_FROM])
            checked = header((0, 0))[CHECKED_FROM:]
            checksum.feed(checked)
            file.write(checked)
            put(config_bytes(model.description))
            put(b"".join(directory) + strings)
            for spec in progress(specs):
                put(pack(model.matrix(spec), spec.form.layout).tobytes())
            file.seek(0)
            file.write(header(checksum.sums)[:CHECKED_FROM])
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return end


# Reading ------------------------------------------------------------------------------------------

class Blob:
    """A checked blob. `natural(name)` gives a tensor back as the canonical model had it."""

    def __init__(self, data, description, specs, offsets, strings):
        self.data, self.description, self.specs, self.offsets = data, description, specs, offsets
        self.class_colors, self.class_names, self.notes = strings

    def matrix(self, spec):
        shape = stored_shape(spec.form.shape, spec.form.layout)
        stored = np.frombuffer(self.data, "<f4", prod(shape), self.offsets[spec.name])
        return unpack(stored.reshape(shape), spec.form.shape, spec.form.layout)

    def natural(self, name):
        spec = next(spec for spec in self.specs if spec.name == name)
        return spec.form.unpack(self.matrix(spec))


def read(path):
    with open(path, "rb") as file:
        return parse(file.read())


def parse(data):
    """Checks all of a blob's bytes, the checksum included."""
    def expect(what, value, wanted):
        if value != wanted:
            raise BlobError(f"{what} is {value!r}, not {wanted!r}")

    def expect_zero(what, begin, end):
        if any(data[begin:end]):
            raise BlobError(f"{what} is not zero")

    if data[:8] != MAGIC:
        raise BlobError("not a .swin model: wrong magic")
    if len(data) < DIRECTORY_OFFSET or len(data) % ALIGN:
        raise BlobError(f"cut short: {len(data)} bytes")
    (_, version, mark, size, a, b, config_offset, config_size, directory_offset, count,
     strings_offset, strings_size, data_offset, data_size) = HEADER.unpack_from(data)
    expect("version", version, VERSION)
    expect("endian mark", mark, ENDIAN_MARK)
    expect("size", size, len(data))
    checksum = Checksum()
    checksum.feed(memoryview(data)[CHECKED_FROM:])
    expect("checksum", (a, b), checksum.sums)
    expect_zero("the header's end", 96, CONFIG_OFFSET)
    expect("config", (config_offset, config_size), (CONFIG_OFFSET, 4 * CONFIG_WORDS))

    description = config_from_bytes(data[CONFIG_OFFSET:DIRECTORY_OFFSET])
    try:
        canonical.check(description)
    except Refused as refused:
        raise BlobError(f"config: {refused}") from None
    specs = list(canonical.tensors(description))

    expect("directory", (directory_offset, count), (DIRECTORY_OFFSET, len(specs)))
    expect("strings' offset", strings_offset, DIRECTORY_OFFSET + ENTRY.size * count)
    if strings_size > len(data) - strings_offset:
        raise BlobError(f"strings of {strings_size} bytes do not fit")
    strings_end = strings_offset + strings_size
    expect("data", (data_offset, data_size),
           (round_up(strings_end, ALIGN), len(data) - round_up(strings_end, ALIGN)))
    expect_zero("the padding of strings", strings_end, data_offset)

    offsets, end = {}, data_offset
    for n, spec in enumerate(specs):
        entry = ENTRY.unpack_from(data, DIRECTORY_OFFSET + n * ENTRY.size)
        bytes_ = stored_bytes(spec)
        wanted = (spec.name.encode("ascii").ljust(64, b"\0"), FLOAT32, spec.form.layout,
                  *spec.shape, end, bytes_)
        expect(f"directory entry {n} ({spec.name})", entry, wanted)
        expect_zero(f"the end of directory entry {n}", DIRECTORY_OFFSET + n * ENTRY.size + 104,
                    DIRECTORY_OFFSET + (n + 1) * ENTRY.size)
        offsets[spec.name] = end
        end += round_up(bytes_, ALIGN)
        expect_zero(f"the padding of {spec.name}", offsets[spec.name] + bytes_, end)
    expect("the end of data", end, len(data))
    strings = strings_from_bytes(data[strings_offset:strings_end], description["classes"])
    return Blob(data, description, specs, offsets, strings)
