"""Reads checkpoints without PyTorch: zip and legacy pickles, pickles of NumPy arrays, safetensors,
sharded indexes.

A file from a stranger is data. Pickles run on a small machine of our own that only builds numbers,
texts, lists, dicts, descriptions of tensors, and inert stand-ins for everything else; nothing is
imported or called. Numbers are read from the mapped file when a tensor is asked for.
"""

import fnmatch
import io
import json
import mmap
import os
import pickletools
import re
import struct
import zipfile
import zlib
from math import prod

import numpy as np

from . import entries, other_files
from .values import CheckpointError, Inert, Symbol, Tensor, describe, enumerate_names

# PyTorch's names of number types, and how the bytes are read (bfloat16: as its 16 bits)
NUMBER_TYPES = {"float32": "f4", "float64": "f8", "float16": "f2", "bfloat16": "u2",
                "int64": "i8", "int32": "i4", "int16": "i2", "int8": "i1", "uint8": "u1",
                "bool": "?", "uint16": "u2", "uint32": "u4", "uint64": "u8"}
STORAGE_TYPES = {"FloatStorage": "float32", "DoubleStorage": "float64", "HalfStorage": "float16",
                 "BFloat16Storage": "bfloat16", "LongStorage": "int64", "IntStorage": "int32",
                 "ShortStorage": "int16", "CharStorage": "int8", "ByteStorage": "uint8",
                 "BoolStorage": "bool", "UntypedStorage": "uint8"}
SAFETENSORS_TYPES = {"F32": "float32", "F64": "float64", "F16": "float16", "BF16": "bfloat16",
                     "I64": "int64", "I32": "int32", "I16": "int16", "I8": "int8", "U8": "uint8",
                     "BOOL": "bool", "U16": "uint16", "U32": "uint32", "U64": "uint64"}

MAX_OPERATIONS = 4_000_000      # of a pickle; large training files have some 100,000
MAX_PICKLE = 1 << 28            # bytes of a zip archive's pickle
MAX_HEADER = 100_000_000        # bytes of a safetensors header, the format's own limit
MAX_CONFIG = 1 << 24            # bytes of a config.json; those of 22,000 classes have a million
MAX_DIMENSIONS = 8
MAX_EXPANSION = 1 << 20         # numbers that a view may show beyond those of its storage


class Checkpoint:
    """What was found in a file: its tensors by name and the description beside them.

    entry: the name of the entry that is taken, or None where the file decides."""

    def __init__(self, container, root, entry=None):
        self.container = container
        self.config = {}                # config.json of the folder it lies in
        self.preprocessor = {}          # and preprocessor_config.json
        self.outside = {}               # tensors beside the model, once it is found
        self.files = []                 # paths of all files that were read
        chosen = entries.Entry(root, entry)
        self.tensors, self.meta, self.wrappers = chosen.tensors, chosen.meta, chosen.wrappers
        self.others, self.remarks = chosen.others, chosen.remarks


# Pickles ------------------------------------------------------------------------------------------

class Storage:
    """A run of numbers in the file that tensors are views of. Legacy files place it afterwards."""

    def __init__(self, key, dtype, count):
        self.key, self.dtype, self.count = key, dtype, count
        self.data = None                # a buffer, set where the file tells its place
        self.byte_order = "<"
        self.crc = None                 # of data, to be compared before it is used

    @property
    def bytes(self):
        return self.count * np.dtype(NUMBER_TYPES[self.dtype]).itemsize

    def numbers(self, dtype):
        if self.crc is not None and zlib.crc32(self.data) != self.crc:
            raise CheckpointError(f"storage {self.key!r} is damaged (its checksum differs)")
        self.crc = None
        kind = np.dtype(NUMBER_TYPES[dtype]).newbyteorder(self.byte_order)
        return np.frombuffer(self.data, kind, self.bytes // kind.itemsize)


def count(value, what):
    """A number from a pickle that counts something."""
    if type(value) is not int:
        raise CheckpointError(f"a tensor has {describe(value)} for its {what}")
    if not 0 <= value < 1 << 62:
        raise CheckpointError(f"a tensor has a {'negative' if value < 0 else 'huge'} {what}")
    return value


def view(storage, offset, shape, stride, dtype=None):
    """A tensor of numbers of a storage, as torch._utils._rebuild_tensor_v2 makes it."""
    if isinstance(storage, Inert):
        return storage                  # numbers of a type that no model here has
    if not isinstance(storage, Storage):
        raise CheckpointError(f"a tensor has {describe(storage)} for a storage")
    if not isinstance(shape, (tuple, list)) or not isinstance(stride, (tuple, list)):
        raise CheckpointError("a tensor's size or stride is no list of numbers")
    if len(shape) != len(stride) or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"a tensor has {len(shape)} sizes and {len(stride)} strides")
    dtype = dtype or storage.dtype
    shape, stride = [count(n, "size") for n in shape], [count(n, "stride") for n in stride]
    item = np.dtype(NUMBER_TYPES[dtype]).itemsize
    total = 1
    for n in shape:
        total *= n
    first, held = count(offset, "offset"), storage.bytes // item
    last = first + sum((n - 1) * s for n, s in zip(shape, stride)) if total else first - 1
    if last >= held:
        raise CheckpointError(f"a tensor of shape {shape} reaches number {last} of storage "
                              f"{storage.key!r}, which has {held}")
    if total > held + MAX_EXPANSION:
        raise CheckpointError(f"a tensor of shape {shape} repeats the {held} numbers of storage "
                              f"{storage.key!r}")

    def load():
        if not total:
            return np.zeros(shape, NUMBER_TYPES[dtype])
        flat = storage.numbers(dtype)[first:]
        strides = [s * item for s in stride]
        return np.lib.stride_tricks.as_strided(flat, shape, strides).copy()

    return Tensor(shape, dtype, load)


# NumPy's names of number types, without their byte order, and PyTorch's
NUMPY_TYPES = {"f4": "float32", "f8": "float64", "f2": "float16", "i8": "int64", "i4": "int32",
               "i2": "int16", "i1": "int8", "u1": "uint8", "b1": "bool", "u2": "uint16",
               "u4": "uint32", "u8": "uint64"}
NUMPY_PARTS = {f"{package}.{function}": function.rpartition(".")[2]
               for package in ("numpy.core", "numpy._core")     # before version 2, and from there
               for function in ("multiarray._reconstruct", "numeric._frombuffer")}


class NumpyType:
    """A numpy.dtype; BUILD gives it the byte order."""

    def __init__(self, code):
        self.code, self.order = code, "<"

    def build(self, state):
        if isinstance(state, tuple) and len(state) > 1 and state[1] == ">":
            self.order = ">"


class NumpyArray(Tensor):
    """A numpy.ndarray: made empty by _reconstruct, filled by BUILD."""

    def __init__(self):
        super().__init__((0,), "uint8", lambda: np.zeros(0, "u1"))

    def build(self, state):
        """state: [version,] shape, type, "is it in Fortran's order?", bytes."""
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise CheckpointError("a NumPy array is built from something else than its parts")
        self.fill(*state[-4:])

    def fill(self, shape, kind, columns_first, data):
        """data: bytes, or the same as a text of Latin 1, as older protocols write them."""
        if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
            raise CheckpointError("a NumPy array's shape is no list of few numbers")
        shape = tuple(count(n, "size") for n in shape)
        code = kind.code if isinstance(kind, NumpyType) else None
        if code not in NUMPY_TYPES or not isinstance(data, (bytes, bytearray, str)):
            self.dtype = "object"               # texts, objects or records: no weights
            return
        dtype, total = np.dtype(kind.order + code), prod(shape)
        if len(data) != total * dtype.itemsize:
            raise CheckpointError(f"a NumPy array of shape {list(shape)} has {len(data)} bytes, "
                                  f"not {total * dtype.itemsize}")

        def load():
            held = data.encode("latin-1") if isinstance(data, str) else data
            return np.frombuffer(held, dtype).reshape(shape, order="F" if columns_first else "C")

        self.shape, self.dtype, self.load = shape, NUMPY_TYPES[code], load


def call_numpy(function, args):
    """What a pickle gets for calling a function of NumPy: an array, its type, or a stand-in."""
    if str(function) == "numpy.dtype" and args and isinstance(args[0], str):
        return NumpyType(args[0])
    part = NUMPY_PARTS.get(str(function))
    if not part:
        return Inert(function)
    array = NumpyArray()
    if part == "_frombuffer":               # of protocol 5
        if len(args) != 4:
            raise CheckpointError("a NumPy array without bytes, type, shape and order")
        array.fill(args[2], args[1], args[3] == "F", args[0])
    return array


def is_key(value):
    """Names and small numbers are kept as keys: hashing anything else may take forever."""
    return isinstance(value, str) or isinstance(value, int) and value.bit_length() <= 64


def call(function, args):
    """What a pickle gets for calling `function`: the few things a checkpoint is made of."""
    name = str(function) if isinstance(function, Symbol) else None
    if not isinstance(args, tuple):
        raise CheckpointError(f"{describe(function)} is called with {describe(args)}")
    if name in ("collections.OrderedDict", "collections.defaultdict", "builtins.dict"):
        pairs = args[0] if args and isinstance(args[0], list) else []
        return dict(pair for pair in pairs
                    if isinstance(pair, (list, tuple)) and len(pair) == 2 and is_key(pair[0]))
    if name in ("torch._utils._rebuild_tensor", "torch._utils._rebuild_tensor_v2"):
        if len(args) < 4:
            raise CheckpointError("a tensor without storage, offset, size and stride")
        return view(*args[:4])
    if name == "torch._utils._rebuild_tensor_v3":
        if len(args) < 7 or not isinstance(args[6], Symbol) or args[6].module != "torch":
            raise CheckpointError("a tensor without a number type")
        if args[6].name not in NUMBER_TYPES:
            return Inert(args[6])
        return view(*args[:4], args[6].name)
    if name in ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state"):
        return args[0] if args else Inert(function)
    if name == "torch._tensor._rebuild_from_type_v2":       # a tensor with attributes
        if len(args) < 3 or not describe(args[0]).startswith("torch._utils._rebuild_tensor"):
            return Inert(function)
        return call(args[0], args[2])
    if name in ("copyreg._reconstructor", "copy_reg._reconstructor"):
        return Inert(args[0]) if args else Inert(function)
    if name == "torch.Size":
        return tuple(args[0]) if args and isinstance(args[0], (list, tuple)) else ()
    if name == "_codecs.encode" and args and isinstance(args[0], str):
        return args[0]                  # protocols before 3 write bytes as a text of Latin 1
    if name in ("builtins.bytes", "__builtin__.bytes") and not args:
        return b""
    return call_numpy(function, args) if name and name.startswith("numpy.") else Inert(function)


class Pickle:
    """A pickle machine. `persistent(id)` gives the object for a persistent id."""

    def __init__(self, file, persistent):
        self.stack, self.marks, self.memo, self.copied = [], [], {}, 0
        self.arrays = 0                 # of NumPy
        self.persistent = persistent
        self.value = self.run(file)

    def run(self, file):
        try:
            for number, (operation, argument, _) in enumerate(pickletools.genops(file)):
                if number >= MAX_OPERATIONS:
                    raise CheckpointError(f"its pickle has over {MAX_OPERATIONS} operations")
                if operation.name == "STOP":
                    return self.stack.pop()
                handler = self.HANDLERS.get(operation.name)
                if handler is None:
                    raise CheckpointError(f"its pickle uses {operation.name}, which PyTorch "
                                          "does not write")
                handler(self, argument)
        except (ValueError, IndexError, KeyError, struct.error) as error:
            raise CheckpointError("damaged pickle: " + str(error)[:100]) from None
        raise CheckpointError("damaged pickle: it does not stop")

    def push(self, value):
        self.stack.append(value)

    def pop_to_mark(self):
        start = self.marks.pop()
        if start > len(self.stack):
            raise CheckpointError("damaged pickle: a mark above the stack")
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def store(self, pairs):
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in pairs:
                if is_key(key):
                    target[key] = value

    def append(self, items):
        if isinstance(self.stack[-1], list):
            self.stack[-1].extend(items)

    def pop_pairs(self):
        items = self.pop_to_mark()
        return zip(items[::2], items[1::2])

    def dict_of_pairs(self, _):
        pairs = self.pop_pairs()
        self.push({})
        self.store(pairs)

    def global_(self, name):
        self.push(Symbol(*name.split(" ", 1)))

    def stack_global(self, _):
        name, module = self.stack.pop(), self.stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise CheckpointError("damaged pickle: a class without a name")
        self.push(Symbol(module, name))

    def reduce(self, _):
        args = self.stack.pop()
        if isinstance(args, tuple) and args and isinstance(args[0], (list, tuple)):
            self.copied += len(args[0])         # one list may be handed over again and again
            if self.copied > MAX_OPERATIONS:
                raise CheckpointError(f"its pickle copies over {MAX_OPERATIONS} entries of lists")
        made = call(self.stack.pop(), args)
        self.arrays += isinstance(made, NumpyArray)
        self.push(made)

    def build(self, _):
        state = self.stack.pop()
        if isinstance(self.stack[-1], (NumpyType, NumpyArray)):
            self.stack[-1].build(state)

    def new_object_with_keywords(self, _):
        self.stack.pop()
        self.reduce(None)

    def old_object(self, _):
        self.push(Inert(self.pop_to_mark()[0]))

    def pop(self, _):
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.stack.pop()

    def tuple_of(self, n):
        if n > len(self.stack):
            raise CheckpointError("damaged pickle: a tuple of nothing")
        items = tuple(self.stack[len(self.stack) - n:])
        del self.stack[len(self.stack) - n:]
        self.push(items)

    HANDLERS = {name: handler for names, handler in (
        ("PROTO FRAME", lambda self, _: None),
        ("BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT BINUNICODE SHORT_BINUNICODE BINUNICODE8 "
         "BINBYTES SHORT_BINBYTES BINBYTES8 BINSTRING SHORT_BINSTRING BYTEARRAY8 "
         "INT LONG FLOAT STRING UNICODE", push),
        ("NONE", lambda self, _: self.push(None)),
        ("NEWTRUE", lambda self, _: self.push(True)),
        ("NEWFALSE", lambda self, _: self.push(False)),
        ("EMPTY_DICT", lambda self, _: self.push({})),
        ("EMPTY_LIST EMPTY_SET", lambda self, _: self.push([])),
        ("EMPTY_TUPLE", lambda self, _: self.push(())),
        ("MARK", lambda self, _: self.marks.append(len(self.stack))),
        ("POP", pop),
        ("POP_MARK", lambda self, _: self.pop_to_mark()),
        ("DUP", lambda self, _: self.push(self.stack[-1])),
        ("TUPLE", lambda self, _: self.push(tuple(self.pop_to_mark()))),
        ("TUPLE1", lambda self, _: self.tuple_of(1)),
        ("TUPLE2", lambda self, _: self.tuple_of(2)),
        ("TUPLE3", lambda self, _: self.tuple_of(3)),
        ("LIST FROZENSET", lambda self, _: self.push(self.pop_to_mark())),
        ("DICT", dict_of_pairs),
        ("APPEND", lambda self, _: self.append([self.stack.pop()])),
        ("APPENDS ADDITEMS", lambda self, _: self.append(self.pop_to_mark())),
        ("SETITEM", lambda self, _: (self.tuple_of(2), self.store([self.stack.pop()]))),
        ("SETITEMS", lambda self, _: self.store(self.pop_pairs())),
        ("PUT BINPUT LONG_BINPUT", lambda self, n: self.memo.__setitem__(n, self.stack[-1])),
        ("MEMOIZE", lambda self, _: self.memo.__setitem__(len(self.memo), self.stack[-1])),
        ("GET BINGET LONG_BINGET", lambda self, n: self.push(self.memo[n])),
        ("GLOBAL", global_),
        ("STACK_GLOBAL", stack_global),
        ("REDUCE NEWOBJ", reduce),
        ("NEWOBJ_EX", new_object_with_keywords),
        ("OBJ", old_object),
        ("BUILD", build),
        ("BINPERSID", lambda self, _: self.push(self.persistent(self.stack.pop()))),
    ) for name in names.split()}


FOREIGN = Inert("a persistent id that means no storage")


def storage_from_id(id_):
    """The storage that a persistent id of PyTorch means: ('storage', type, key, place, count)."""
    if not isinstance(id_, tuple) or len(id_) < 5 or id_[0] != "storage":
        return FOREIGN
    kind, key = id_[1], id_[2]
    dtype = STORAGE_TYPES.get(kind.name) if isinstance(kind, Symbol) else None
    if dtype is None or not isinstance(key, str):
        return Inert(kind)
    return Storage(key, dtype, count(id_[4], "number of elements"))


# Containers ---------------------------------------------------------------------------------------

def read_zip(data):
    """What torch.save has written since version 1.6: archive/data.pkl and archive/data/KEY."""
    try:
        archive = zipfile.ZipFile(data)
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise CheckpointError("it begins as a zip archive but is cut short or damaged "
                              f"({error}): download or save it again") from None
    records = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in records if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(pickles) != 1:
        raise CheckpointError(": ".join(other_files.identify_zip(list(records))))
    folder = pickles[0][:-len("data.pkl")]
    if folder + "constants.pkl" in records:
        raise CheckpointError("a TorchScript archive, which holds a program; "
                              "save the model's state_dict() instead")
    mapped = memoryview(data)

    def record(name):
        """The bytes of a record, and the checksum they should have."""
        info = records.get(folder + name)
        if info is None:
            raise CheckpointError(f"the archive lacks {folder}{name}")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise CheckpointError(f"{folder}{name} is compressed or encrypted; "
                                  "PyTorch stores it as it is")
        local = bytes(mapped[info.header_offset:info.header_offset + 30])
        if len(local) < 30 or local[:4] != b"PK\3\4":
            raise CheckpointError(f"{folder}{name} has no place in the archive")
        name_size, extra_size = struct.unpack("<2H", local[26:])
        start = info.header_offset + 30 + name_size + extra_size
        if start + info.file_size > len(mapped):
            raise CheckpointError(f"{folder}{name} reaches beyond the end of the file")
        return mapped[start:start + info.file_size], info.CRC

    byte_order = "<"
    if folder + "byteorder" in records:
        name = bytes(record("byteorder")[0][:8]).strip()
        if name not in (b"little", b"big"):
            raise CheckpointError(f"unknown byte order {name!r}")
        byte_order = ">" if name == b"big" else "<"
    storages = {}

    def persistent(id_):
        storage = storage_from_id(id_)
        if not isinstance(storage, Storage):
            return storage
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) == (storage.dtype, storage.count):
            storage = known             # else: the same bytes as numbers of another type
        if storage.data is None:
            storage.data, storage.crc = record("data/" + storage.key)
            storage.byte_order = byte_order
        if storage.bytes > len(storage.data):
            raise CheckpointError(f"storage {storage.key!r} should have {storage.bytes} bytes, "
                                  f"but has {len(storage.data)}")
        return storage

    if records[pickles[0]].file_size > MAX_PICKLE:
        raise CheckpointError(f"its pickle is larger than {MAX_PICKLE} bytes")
    body, crc = record("data.pkl")
    if zlib.crc32(body) != crc:
        raise CheckpointError("its pickle is damaged (its checksum differs)")
    root = Pickle(io.BytesIO(body), persistent).value
    return "PyTorch zip archive", root


LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
OLDEST_PICKLE = re.compile(rb"\(dp\d+\n|}q\x00|c\w+\n\w+\n")      # of a dict, protocols 0 and 1


def read_pickle(data):
    """What torch.save wrote before: five pickles, then each storage's count and numbers. Or one
    pickle with NumPy's arrays in it, as detectron2's models come."""
    storages = {}

    def persistent(id_):
        storage = storage_from_id(id_)
        if not isinstance(storage, Storage):
            return storage
        known = storages.setdefault(storage.key, storage)
        if (known.dtype, known.count) != (storage.dtype, storage.count):
            raise CheckpointError(f"storage {storage.key!r} is described in two ways")
        moved = id_[5] if len(id_) > 5 else None
        if moved is not None:
            raise CheckpointError(f"storage {storage.key!r} is a view of another, a form that "
                                  "PyTorch gave up in 2017")
        return known

    def plain():
        return Pickle(data, lambda id_: FOREIGN).value

    first = Pickle(data, lambda id_: FOREIGN)
    if first.arrays:
        return "pickle of NumPy arrays", first.value
    if first.value != LEGACY_MAGIC:
        raise CheckpointError("a pickle, but not a checkpoint of PyTorch, which "
                              "torch.save(model.state_dict(), PATH) writes")
    if plain() != 1001:
        raise CheckpointError("a legacy checkpoint of an unknown protocol")
    system = plain()
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("a legacy checkpoint of a big-endian machine")
    root = Pickle(data, persistent).value
    keys = plain()
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise CheckpointError("damaged: no list of storages follows the pickle")
    mapped, place = memoryview(data), data.tell()
    for key in keys:
        if key not in storages:
            raise CheckpointError(f"storage {key[:40]!r} belongs to nothing")
        storage = storages[key]
        if place + 8 + storage.bytes > len(mapped):
            raise CheckpointError(f"cut short: storage {key[:40]!r} should have {storage.bytes} "
                                  "bytes")
        held, = struct.unpack_from("<q", mapped, place)
        if held != storage.count:
            raise CheckpointError(f"storage {key[:40]!r} holds {held} numbers, not {storage.count}")
        storage.data = mapped[place + 8:place + 8 + storage.bytes]
        place += 8 + storage.bytes
    missing = [key for key, storage in storages.items() if storage.data is None]
    if missing:
        raise CheckpointError(f"storages are missing: {enumerate_names(missing)}")
    return "PyTorch legacy pickle", root


def parse_json(text, what):
    def number(digits):
        if len(digits) > 19:
            raise ValueError("a number of too many digits")
        return int(digits)

    def unique(pairs):
        result = dict(pairs)
        if len(result) < len(pairs):
            raise ValueError("a name stands there twice")
        return result

    try:
        value = json.loads(text, parse_int=number, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{what} is no proper JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"{what} is no JSON object")
    return value


def read_safetensors(data):
    """The tensors of a safetensors file, whose header is checked in full."""
    if len(data) < 8:
        raise CheckpointError("cut short: not even a header")
    size, = struct.unpack_from("<Q", data)
    if size > min(MAX_HEADER, len(data) - 8):
        raise CheckpointError(f"a safetensors header of {size} bytes does not fit")
    header = parse_json(bytes(memoryview(data)[8:8 + size]), "the safetensors header")
    header.pop("__metadata__", None)
    body = memoryview(data)[8 + size:]
    tensors, places = {}, []
    for name, entry in header.items():
        def bad(text):
            return CheckpointError(f"safetensors entry {name[:80]!r}: {text}")

        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            raise bad("it needs exactly dtype, shape and data_offsets")
        shape, offsets = entry["shape"], entry["data_offsets"]
        for numbers in (shape, offsets):
            if not isinstance(numbers, list) or not all(type(n) is int and n >= 0 for n in numbers):
                raise bad("shape and data_offsets must be lists of counts")
        dtype = SAFETENSORS_TYPES.get(entry["dtype"]) if isinstance(entry["dtype"], str) else None
        if dtype is None:
            raise bad(f"unknown number type {str(entry['dtype'])[:40]!r}")
        if len(shape) > MAX_DIMENSIONS or len(offsets) != 2:
            raise bad("shape or data_offsets has a wrong length")
        bytes_ = np.dtype(NUMBER_TYPES[dtype]).itemsize
        for n in shape:
            bytes_ *= n
        begin, end = offsets
        if end > len(body):
            raise CheckpointError(f"cut short: {name[:80]!r} ends at byte {end} of {len(body)} "
                                  "bytes of numbers; download or save the file again")
        if end - begin != bytes_:
            raise bad(f"data_offsets {offsets} do not hold shape {shape}")
        places.append((begin, end, name))
        tensors[name] = Tensor(shape, dtype, lambda part=body[begin:end], shape=shape, dtype=dtype:
                               np.frombuffer(part, "<" + NUMBER_TYPES[dtype]).reshape(shape))
    at = 0
    for begin, end, name in sorted(places):
        if begin != at:
            raise CheckpointError(f"safetensors entry {name[:80]!r} begins at {begin}, where the "
                                  f"one before ends at {at}")
        at = end
    if at != len(body):
        raise CheckpointError(f"{len(body) - at} bytes follow the last safetensors entry")
    return "safetensors", tensors


def read_index(path, files):
    """A sharded checkpoint: `weight_map` says which file beside the index holds a tensor.

    files: a list that gets the shards' paths."""
    with open_regular(path) as file:
        text = file.read(MAX_HEADER + 1)
    if len(text) > MAX_HEADER:
        raise CheckpointError("the index is too large")
    weight_map = parse_json(text, "the index").get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError("this JSON file is no index of shards (it has no weight_map): give "
                              "the file with the weights, or the folder that holds both")
    shards, tensors, kind = {}, {}, None
    for name, shard in weight_map.items():
        if not isinstance(shard, str) or shard in ("", "..") or shard != os.path.basename(shard):
            raise CheckpointError(f"the index places {name[:80]!r} in {str(shard)[:80]!r}, "
                                  "which is no plain file name")
        if shard not in shards:
            place = os.path.join(os.path.dirname(path), shard)
            if not os.path.isfile(place):
                raise CheckpointError(f"shard {shard} is missing")
            files.append(place)
            kind, shards[shard] = read_shard(place, shard)
        if not isinstance(shards[shard], dict) or name not in shards[shard]:
            raise CheckpointError(f"shard {shard} does not hold {name[:80]!r}")
        tensors[name] = shards[shard][name]
    return f"{len(shards)} shards ({kind})", tensors


def open_regular(path):
    """Opens a file that can be read at any place: no pipe, which would block, and no device."""
    if os.path.exists(path) and not os.path.isfile(path):
        raise CheckpointError("no regular file: save the checkpoint under a name first")
    return open(path, "rb")


def read_shard(place, shard):
    """read_file, whose errors name the shard."""
    try:
        return read_file(place)
    except CheckpointError as error:
        raise CheckpointError(f"shard {shard}: {error}") from None


def read_file(path):
    """The container's kind, and the object it holds."""
    with open_regular(path) as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise CheckpointError("the file is empty: download or save it again")
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if data[:4] in (b"PK\3\4", b"PK\5\6"):
        return read_zip(data)
    if OLDEST_PICKLE.match(data):
        return read_pickle(data)
    other = other_files.identify(data, os.path.basename(path))
    if not other and data[8:9] == b"{":
        return read_safetensors(data)
    if not other and data[:1] == b"\x80":
        return read_pickle(data)
    raise CheckpointError("neither a PyTorch checkpoint (zip or legacy pickle) nor safetensors"
                          + (", but {}: {}".format(*other) if other else ""))


FOLDER_FILES = (("model.safetensors.index.json",), ("pytorch_model.bin.index.json",),
                ("*.index.json",), ("model.safetensors",), ("pytorch_model.bin",),
                ("*.safetensors", "*.bin", "*.pth", "*.pt", "*.ckpt", "*.pth.tar", "*.pkl"))
# the first kind that is there counts
ARCHIVE_PICKLES = ("data.pkl", "constants.pkl")     # of an unpacked archive: no checkpoints


def file_in(folder):
    """The one checkpoint that a folder holds."""
    names = sorted(os.listdir(folder))
    for patterns in FOLDER_FILES:
        found = [name for name in names if name not in ARCHIVE_PICKLES
                 and any(fnmatch.fnmatch(name, p) for p in patterns)]
        if len(found) > 1:
            raise CheckpointError("the folder holds several files, name one: "
                                  + enumerate_names(found))
        if found:
            return os.path.join(folder, found[0])
    raise CheckpointError(": ".join(other_files.identify_folder(folder, names)))


HUB_FILES = ("model.safetensors", "pytorch_model.bin", "*.index.json")


def read(path, entry=None):
    """The checkpoint in a file, in an index of shards, or in a folder that holds one of them.

    entry: the entry that holds the model, as Checkpoint takes it. A folder, and a file of a hub's
    name, brings the config.json beside it."""
    folder = os.path.isdir(path)
    if folder:
        path = file_in(path)
    shard = re.search(r"-\d{5}-of-(\d{5})\.[a-z]+$", path)
    if shard and int(shard[1]) > 1:
        raise CheckpointError(f"one of {int(shard[1])} files that hold the model together: give "
                              "the index of them (.index.json) or the folder")
    files = [path]
    root = read_index(path, files) if path.endswith(".json") else read_file(path)
    checkpoint = Checkpoint(*root, entry)
    if folder or any(fnmatch.fnmatch(os.path.basename(path), name) for name in HUB_FILES):
        checkpoint.config = read_beside(path, "config.json", files)
        checkpoint.preprocessor = read_beside(path, "preprocessor_config.json", files)
    checkpoint.files = files
    return checkpoint


def read_beside(path, name, files):
    """The JSON object in a file beside another, or an empty one; `files` gets its path."""
    place = os.path.join(os.path.dirname(path), name)
    if not os.path.isfile(place):
        return {}
    files.append(place)
    with open(place, "rb") as file:
        text = file.read(MAX_CONFIG + 1)
    if len(text) > MAX_CONFIG:
        raise CheckpointError(f"{name} is too large")
    return parse_json(text, name)
