"""The blob, version 2: the model file that swin.h reads in place.

The format is written down in swin.h (>>blob). `write` packs a canonical model tensor by tensor;
`read` checks every field as swin_open does and gives the model's parts back.
"""

import os
import struct
import tempfile
from math import prod

import numpy as np

from . import canonical, number_types
from .forms import F32, LANES, PANELS, PLAIN, QUADS, ROWS, S8, round_up
from .number_types import DTYPES
from .records import HEAD, MAX_STAGES, OPTIONAL, RECORDS, STAGE, Refused, new_description

MAGIC = b"\x89SWIN\r\n\x1a"
VERSION = 2
ENDIAN_MARK = 0x01020304
ALIGN = 64
HEADER = struct.Struct("<8s2IQ2I8Q32x")     # magic, version, mark, size, sums, four (offset, size)
CHECKED_FROM = 32                           # the checksum covers all bytes from here
CONFIG_OFFSET = HEADER.size
RECORD = struct.Struct("<12sI")             # name, bytes of what follows
ENTRY = struct.Struct("<64s6I2Q24x")        # name, number type, layout, shape, offset, bytes
TYPE_OFFSET = 64                            # of an entry's number type
QUAD = 4                                    # inputs that lie together
LAYOUT_NAMES = {PLAIN: "plain", ROWS: "rows", PANELS: "panels", QUADS: "quads"}


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
    if layout == QUADS:
        return -(-shape[0] // LANES), -(-shape[1] // QUAD), LANES, QUAD
    return shape


def stored_bytes(spec):
    return DTYPES[spec.type].itemsize * prod(stored_shape(spec.form.shape, spec.layout))


def pack(matrix, layout):
    """The matrix as a blob stores it."""
    if layout == PLAIN:
        return matrix
    rows, columns = matrix.shape
    if layout == ROWS:
        return np.pad(matrix, [(0, 0), (0, -columns % LANES)])
    if layout == QUADS:
        padded = np.pad(matrix, [(0, -rows % LANES), (0, -columns % QUAD)])
        return padded.reshape(len(padded) // LANES, LANES, -1, QUAD).swapaxes(1, 2)
    padded = np.pad(matrix, [(0, -rows % LANES), (0, 0)])
    return padded.reshape(-1, LANES, columns).swapaxes(1, 2)


def unpack(stored, shape, layout):
    """The matrix of `shape` that was packed."""
    if layout == PLAIN:
        return stored
    if layout == ROWS:
        return stored[:, :shape[1]]
    if layout == QUADS:
        stored = stored.swapaxes(1, 2)
        return stored.reshape(len(stored) * LANES, -1)[:shape[0], :shape[1]]
    return stored.swapaxes(1, 2).reshape(-1, shape[1])[:shape[0]]


# Config and strings -------------------------------------------------------------------------------

def config_bytes(description):
    """The records of a description."""
    data = b""
    for record in RECORDS:
        if record.is_left_out(description):
            continue
        columns = [description[field.key] for field in record.fields]
        for values in zip(*columns) if record is STAGE else [columns]:
            data += RECORD.pack(record.name.encode("ascii"), record.size)
            data += b"".join(np.array(value, field.dtype).tobytes()
                             for field, value in zip(record.fields, values))
    return data


def config_from_bytes(data):
    """The description that records hold; values are not checked."""
    description, wanted, at = new_description(), list(RECORDS), 0
    while wanted or at < len(data):
        record = record_at(data, at)
        while wanted and record is not wanted[0] and wanted[0].times == OPTIONAL:
            wanted.pop(0)
        if wanted[:1] == [record]:
            wanted.pop(0)
        elif record is not STAGE or wanted[:1] != [HEAD]:       # stages follow each other
            raise BlobError(f"config: the record {record.name} stands where "
                            f"{wanted[0].name if wanted else 'the end'} is expected")
        at += RECORD.size
        take_record(description, record, data[at:at + record.size])
        at += record.size
    return description


def record_at(data, at):
    """The record whose fields follow what stands here, whole and of its own length."""
    if len(data) - at < RECORD.size:
        raise BlobError("config: the last record is missing or cut short")
    name, size = RECORD.unpack_from(data, at)
    record = next((r for r in RECORDS if r.name.encode("ascii").ljust(12, b"\0") == name), None)
    if not record:
        text = name.rstrip(b"\0").decode("ascii", "backslashreplace")
        raise BlobError(f"config: a record {text!r}, which version {VERSION} does not have")
    if size != record.size:
        raise BlobError(f"config: the record {record.name} has {size} bytes, not {record.size}")
    if len(data) - at - RECORD.size < size:
        raise BlobError(f"config: the record {record.name} is cut short")
    return record


def take_record(description, record, data):
    at = 0
    for field in record.fields:
        values = np.frombuffer(data, field.dtype, field.count, at).tolist()
        value = values if field.count > 1 else values[0]
        if record is STAGE:
            description[field.key].append(value)
        else:
            description[field.key] = value
        at += 4 * field.count
    if len(description["width"]) > MAX_STAGES:
        raise BlobError(f"config: more than {MAX_STAGES} stages")


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
    walked. Returns the size in bytes and, by name, the relative rms errors of those tensors that
    are not float32."""
    model.check()
    specs, losses = model.specs, {}
    strings = string_bytes(model.class_names, model.class_colors, model.notes)
    config = config_bytes(model.description)
    directory_offset = round_up(CONFIG_OFFSET + len(config), ALIGN)
    strings_offset = directory_offset + ENTRY.size * len(specs)
    data_offset = round_up(strings_offset + len(strings), ALIGN)

    directory, end = [], data_offset
    for spec in specs:
        name, bytes_ = spec.name.encode("ascii"), stored_bytes(spec)
        directory.append(ENTRY.pack(name, spec.type, spec.layout, *spec.shape, end, bytes_))
        end += round_up(bytes_, ALIGN)

    def header(sums):
        return HEADER.pack(MAGIC, VERSION, ENDIAN_MARK, end, *sums, CONFIG_OFFSET,
                           len(config), directory_offset, len(specs), strings_offset,
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
            put(config)
            put(b"".join(directory) + strings)
            for stored in stored_numbers(model, progress(specs), losses):
                put(stored.tobytes())
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
    return end, losses


def stored_numbers(model, specs, losses):
    """Yields what a blob stores of each spec; adds to losses those that are not float32."""
    scales = None
    for spec in specs:
        if scales is not None:                  # of the 8 bits before
            numbers, scales = scales[None], None
        else:
            matrix = model.matrix(spec)
            numbers, scales = number_types.encode(matrix, spec.type)
            if spec.type != F32:
                losses[spec.name] = number_types.relative_error(matrix, numbers, scales)
        yield pack(numbers, spec.layout)


# Reading ------------------------------------------------------------------------------------------

class Blob:
    """A checked blob. specs: all tensors, as they are stored. `natural(name)` gives one back as the
    canonical model had it."""

    def __init__(self, data, description, specs, offsets, strings):
        self.data, self.description, self.specs, self.offsets = data, description, specs, offsets
        self.class_colors, self.class_names, self.notes = strings

    def numbers(self, spec):
        """A tensor's numbers as they are stored, without what fills them up."""
        shape = stored_shape(spec.form.shape, spec.layout)
        stored = np.frombuffer(self.data, DTYPES[spec.type], prod(shape), self.offsets[spec.name])
        return unpack(stored.reshape(shape), spec.form.shape, spec.layout)

    def matrix(self, spec):
        """The float32 matrix that they stand for."""
        numbers = self.numbers(spec)
        if spec.type == S8:
            return number_types.dequantise(numbers, self.numbers(spec.scale())[0])
        return numbers.astype("<f4", copy=False)

    def spec(self, name):
        """The tensor of that name, as it is stored."""
        return next(spec for spec in self.specs if spec.name == name)

    def natural(self, name):
        spec = self.spec(name)
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
    if len(data) < CONFIG_OFFSET or len(data) % ALIGN:
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
    expect("config's offset", config_offset, CONFIG_OFFSET)
    if config_size > len(data) - CONFIG_OFFSET:
        raise BlobError(f"config of {config_size} bytes does not fit")
    config_end = CONFIG_OFFSET + config_size

    description = config_from_bytes(data[CONFIG_OFFSET:config_end])
    try:
        canonical.check(description)
    except Refused as refused:
        raise BlobError(f"config: {refused}") from None
    expect("directory's offset", directory_offset, round_up(config_end, ALIGN))
    if count > (len(data) - directory_offset) // ENTRY.size:
        raise BlobError(f"a directory of {count} tensors does not fit")
    expect_zero("the padding of config", config_end, directory_offset)
    expect("strings' offset", strings_offset, directory_offset + ENTRY.size * count)
    if strings_size > len(data) - strings_offset:
        raise BlobError(f"strings of {strings_size} bytes do not fit")
    strings_end = strings_offset + strings_size
    expect("data", (data_offset, data_size),
           (round_up(strings_end, ALIGN), len(data) - round_up(strings_end, ALIGN)))
    expect_zero("the padding of strings", strings_end, data_offset)

    def type_of(spec):
        """The number type of the next tensor, whose entry is looked at as a whole below."""
        at = directory_offset + len(specs) * ENTRY.size
        return entry_type(spec, data[at:at + ENTRY.size])

    specs, offsets, end = [], {}, data_offset
    for spec in canonical.with_types(canonical.tensors(description), type_of):
        n = len(specs)
        if n == count:
            raise BlobError(f"{spec.name}: the tensor is missing")
        at = directory_offset + n * ENTRY.size
        entry = ENTRY.unpack_from(data, at)
        bytes_ = stored_bytes(spec)
        wanted = (spec.name.encode("ascii").ljust(64, b"\0"), spec.type, spec.layout,
                  *spec.shape, end, bytes_)
        expect(f"directory entry {n} ({spec.name})", entry, wanted)
        expect_zero(f"the end of directory entry {n}", at + 104, at + ENTRY.size)
        specs.append(spec)
        offsets[spec.name] = end
        end += round_up(bytes_, ALIGN)
        expect_zero(f"the padding of {spec.name}", offsets[spec.name] + bytes_, end)
    expect("the number of tensors", count, len(specs))
    expect("the end of data", end, len(data))
    strings = strings_from_bytes(data[strings_offset:strings_end], description["classes"])
    blob = Blob(data, description, specs, offsets, strings)
    check_scales(blob)
    return blob


def entry_type(spec, directory):
    """The number type in the first entry, which is to be that of a tensor; float32 in another's."""
    if not directory.startswith(spec.name.encode("ascii") + b"\0"):
        return F32
    type_, = struct.unpack_from("<I", directory, TYPE_OFFSET)
    if type_ not in spec.form.types:
        allowed = ", ".join(number_types.NAMES[known] for known in spec.form.types)
        raise BlobError(f"{spec.name} has the number type {type_}, not one of {allowed}")
    if type_ == S8 and spec.form.shape[1] > number_types.S8_INPUTS:
        raise BlobError(f"{spec.name} has 8 bits and more than {number_types.S8_INPUTS} inputs")
    return type_


def check_scales(blob):
    for spec in blob.specs:
        if spec.type == S8:
            scales = blob.numbers(spec.scale())
            if not (np.isfinite(scales) & (scales >= 0)).all():
                raise BlobError(f"{spec.scale().name} holds a scale that is no number or negative")


class StoredModel(canonical.Model):
    """A blob as a model to be written anew: its matrices are the blob's, bit for bit."""

    def __init__(self, blob):
        super().__init__(blob.description, blob.notes.get("converted_from"))
        self.blob = blob
        self.class_names, self.class_colors = blob.class_names, blob.class_colors
        self.notes = dict(blob.notes)

    def check(self):
        canonical.check(self.description)

    def matrix(self, spec):
        matrix = self.blob.matrix(self.blob.spec(spec.name))
        if not np.isfinite(matrix).all():
            raise Refused(f"{spec.name} holds numbers that are not finite")
        return matrix
