"""The converter's reader of files: every container, and what a stranger may put into one."""

import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from checkpoints import (REBUILD, Call, File, Global, Persistent, Raw, dumps, raw_safetensors,
                         safetensors, storage)
from checkpoints.convert import checkpoint, tool
from conftest import ROOT
from swinblob import entries
from swinblob.checkpoint import CheckpointError

quick = settings(max_examples=60, deadline=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture])


# Containers ---------------------------------------------------------------------------------------

ARRAYS = {"single": np.arange(6, dtype="f4").reshape(2, 3), "double": np.array([[1.5, -2e300]]),
          "half": np.array([1.5, -0.25, 65504], "f2"), "long": np.array([2 ** 40, -1]),
          "scalar": np.array(3.5, "f4"), "empty": np.zeros((0, 4), "f4"),
          "truth": np.array([True, False])}


def check_arrays(read, expected=ARRAYS):
    assert set(read.tensors) == set(expected)
    for name, array in expected.items():
        got = read.tensors[name].read()
        assert got.shape == array.shape, name
        assert (got == array).all(), name
    assert read.tensors["half"].read().dtype == np.float32


def test_zip_and_legacy_give_the_same_tensors(tmp_path):
    for write in (File.zip, File.legacy):
        file = File()
        read = checkpoint.read(str(write(file, file.state(ARRAYS), tmp_path / "c.pth")))
        check_arrays(read)
        assert read.wrappers == []


def test_safetensors_and_bfloat16(tmp_path):
    arrays = {name: a for name, a in ARRAYS.items() if name != "truth"}
    check_arrays(checkpoint.read(str(safetensors(arrays, tmp_path / "c.safetensors", {"a": "b"}))),
                 arrays)
    bits = np.array([0x3FC0, 0xC000, 0x0001], "u2")
    path = safetensors({"x": bits}, tmp_path / "b.safetensors")
    got = checkpoint.read(str(path)).tensors["x"].read()
    assert got.dtype == np.float32 and got[:2].tolist() == [1.5, -2.0] and got[2] == 2.0 ** -133
    file = File()
    key = file.raw("BFloat16Storage", 3, bits.tobytes())
    path = file.zip({"x": file.view(key, 0, (3,), (1,))}, tmp_path / "b.pth")
    assert (checkpoint.read(str(path)).tensors["x"].read() == got).all()


def test_views_share_a_storage(tmp_path):
    numbers = np.arange(24, dtype="f4")
    file = File()
    key = file.raw("FloatStorage", 24, numbers.tobytes())
    views = {"whole": (0, (4, 6), (6, 1)), "transposed": (0, (6, 4), (1, 6)),
             "part": (7, (2, 3), (6, 2)), "last": (23, (), ()), "row": (5, (3, 4), (0, 1))}
    for write in (file.zip, file.legacy):
        path = write({name: file.view(key, *v) for name, v in views.items()}, tmp_path / "c.pth")
        tensors = checkpoint.read(str(path)).tensors
        for name, (offset, shape, stride) in views.items():
            want = np.lib.stride_tricks.as_strided(numbers[offset:], shape, [4 * s for s in stride])
            assert (tensors[name].read() == want).all(), name


@quick
@given(st.data())
def test_any_view_is_read_right_or_refused(tmp_path, data):
    count = data.draw(st.integers(0, 30))
    numbers = np.arange(count, dtype="f4")
    shape = data.draw(st.lists(st.integers(0, 5), max_size=3))
    stride = data.draw(st.lists(st.integers(0, 12), min_size=len(shape), max_size=len(shape)))
    offset = data.draw(st.integers(0, 12))
    file = File()
    key = file.raw("FloatStorage", count, numbers.tobytes())
    path = file.zip({"x": file.view(key, offset, shape, stride)}, tmp_path / "c.pth")
    places = [offset + sum(a * b for a, b in zip(index, stride)) for index in np.ndindex(*shape)]
    if places and max(places) >= count:
        with pytest.raises(CheckpointError):
            checkpoint.read(str(path))
    elif not places and offset > count:
        with pytest.raises(CheckpointError):
            checkpoint.read(str(path))
    else:
        got = checkpoint.read(str(path)).tensors["x"].read()
        assert got.reshape(-1).tolist() == places and got.shape == tuple(shape)


def test_wrappers_prefixes_and_beside(tmp_path):
    file = File()
    state = Call(Global("collections", "OrderedDict"), state={"_metadata": {"": {"version": 1}}})
    tensors = {
        "module.a": file.tensor(np.ones(2, "f4")),
        "module.b.c": file.tensor(np.zeros(1, "f4"))
    }
    root = {"meta": {"CLASSES": ("x",), "epoch": 3}, "state_dict": tensors, "optimizer": state}
    read = checkpoint.read(str(file.zip(root, tmp_path / "c.pth")))
    assert read.wrappers == ["state_dict", "module."] and set(read.tensors) == {"a", "b.c"}
    assert read.meta["CLASSES"] == ("x",) and read.others == ["optimizer"]
    for wrapper in (*entries.WRAPPERS, "net", "weights"):
        read = checkpoint.read(str(file.zip({wrapper: tensors}, tmp_path / "c.pth")))
        assert read.wrappers == [wrapper, "module."]
    mixed = {**tensors, "d": file.tensor(np.ones(1, "f4"))}
    read = checkpoint.read(str(file.zip(mixed, tmp_path / "c.pth")))
    assert set(read.tensors) == {"a", "b.c", "d"} and read.wrappers == ["module."]
    twice = {**tensors, "a": tensors["module.a"]}           # two names must not become one
    read = checkpoint.read(str(file.zip(twice, tmp_path / "c.pth")))
    assert set(read.tensors) == set(twice) and read.wrappers == []
    nested = {"model": {"state_dict": {"_orig_mod.module.a": tensors["module.a"]}}}
    assert set(checkpoint.read(str(file.zip(nested, tmp_path / "c.pth"))).tensors) == {"a"}


def test_ordered_dicts_parameters_and_newer_forms(tmp_path):
    file = File()
    x = np.arange(4, dtype="f4")
    key = file.raw("FloatStorage", 4, x.tobytes())
    raw = file.raw("UntypedStorage", 16, x.tobytes())
    ordered = Call(Global("collections", "OrderedDict"))
    fill = Raw(dumps(ordered)[2:-1] + b"(" + b"".join(
        dumps(part)[2:-1] for part in (
            "a", file.view(key, 0, (4,), (1,)),
            "b", Call(Global("torch._utils", "_rebuild_parameter"), file.view(key, 1, (3,), (1,)),
                      True, ordered),
            "c", Call(Global("torch._utils", "_rebuild_tensor_v3"),
                      storage(raw, "UntypedStorage", 16), 1, (2,), (1,), False, ordered,
                      Global("torch", "float32")),
            "d", Call(Global("torch._tensor", "_rebuild_from_type_v2"),
                      REBUILD, Global("some", "Type"),
                      (storage(key, "FloatStorage", 4), 0, (4,), (1,), False, ordered), {}))) + b"u"
        + dumps({"_metadata": ordered})[2:-1] + b"b")
    tensors = checkpoint.read(str(file.zip(fill, tmp_path / "c.pth"))).tensors
    assert {n: t.read().tolist() for n, t in tensors.items()} == {
        "a": [0, 1, 2, 3], "b": [1, 2, 3], "c": [1, 2], "d": [0, 1, 2, 3]}
    old = File()
    pairs = Call(Global("collections", "OrderedDict"), [["p", old.tensor(x)]])
    assert set(checkpoint.read(str(old.legacy(pairs, tmp_path / "c.pth"))).tensors) == {"p"}


def test_big_endian_archives_and_foreign_tensors(tmp_path):
    file = File()
    key = file.raw("FloatStorage", 2, np.array([1.5, 2], ">f4").tobytes())
    state = {"x": file.view(key, 0, (2,), (1,))}
    path = file.zip(state, tmp_path / "c.pth", extra=[("byteorder", "big"), ("version", "3\n")])
    assert checkpoint.read(str(path)).tensors["x"].read().tolist() == [1.5, 2]
    path = file.zip(state, tmp_path / "c.pth", extra=[("byteorder", "odd")])
    with pytest.raises(CheckpointError, match="byte order"):
        checkpoint.read(str(path))
    foreign_kind = Call(REBUILD, storage("9", "ComplexFloatStorage", 4), 0, (4,), (1,), False, None)
    read = checkpoint.read(str(file.zip({**state, "z": foreign_kind}, tmp_path / "c.pth",
                                        extra=[("byteorder", "big")])))
    assert set(read.tensors) == {"x"} and read.others == ["z"]


def shard(folder, arrays, name="model.safetensors.index.json", **changes):
    names = list(arrays)
    parts = {"part-1.safetensors": names[::2], "part-2.safetensors": names[1::2]}
    for file, held in parts.items():
        safetensors({n: arrays[n] for n in held}, folder / file)
    index = {"metadata": {"total_size": 1},
             "weight_map": {n: file for file, held in parts.items() for n in held}}
    index["weight_map"].update(changes)
    (folder / name).write_text(json.dumps(index))
    return folder / name


def test_shards(tmp_path):
    arrays = {name: a for name, a in ARRAYS.items() if name != "truth"}
    index = shard(tmp_path, arrays)
    for path in (index, tmp_path):
        read = checkpoint.read(str(path))
        check_arrays(read, arrays)
        assert read.container == "2 shards (safetensors)"
    for name, message in (({"single": "part-2.safetensors"}, "does not hold"),
                          ({"single": "gone.safetensors"}, "missing"),
                          ({"single": "../part-1.safetensors"}, "plain file name"),
                          ({"single": "/etc/passwd"}, "plain file name"),
                          ({"single": 7}, "plain file name"), ({"single": ".."}, "plain file name"),
                          ({"new": "part-1.safetensors"}, "does not hold")):
        shard(tmp_path, arrays, **name)
        with pytest.raises(CheckpointError, match=message):
            checkpoint.read(str(index))
    for text in ("[]", "{}", '{"weight_map": {}}', '{"weight_map": []}', "{", '{"a": 1, "a": 2}',
                 "[" * 100000, '{"a": ' + "9" * 5000 + "}"):
        index.write_text(text)
        with pytest.raises(CheckpointError):
            checkpoint.read(str(index))


def test_folders(tmp_path):
    with pytest.raises(CheckpointError, match="holds no checkpoint"):
        checkpoint.read(str(tmp_path))
    file = File()
    file.zip(file.state(ARRAYS), tmp_path / "a.pth")
    check_arrays(checkpoint.read(str(tmp_path)))
    file.zip(file.state(ARRAYS), tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match="name one"):
        checkpoint.read(str(tmp_path))
    file.zip(file.state(ARRAYS), tmp_path / "pytorch_model.bin")
    check_arrays(checkpoint.read(str(tmp_path)))
    arrays = {"half": ARRAYS["half"], "long": ARRAYS["long"]}
    shard(tmp_path, arrays, "own.index.json")
    check_arrays(checkpoint.read(str(tmp_path)), arrays)


def test_shards_of_pytorch(tmp_path):
    parts = {f"part-{n}.bin": {name: ARRAYS[name]} for n, name in enumerate(("half", "long"))}
    for name, held in parts.items():
        file = File()
        file.zip(file.state(held), tmp_path / name)
    index = {"weight_map": {tensor: name for name, held in parts.items() for tensor in held}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    read = checkpoint.read(str(tmp_path))
    check_arrays(read, {"half": ARRAYS["half"], "long": ARRAYS["long"]})
    assert read.container == "2 shards (PyTorch zip archive)"


def test_a_damaged_record_is_noticed_when_it_is_read(tmp_path):
    file = File()
    path = file.zip(file.state(ARRAYS), tmp_path / "c.pth")
    data = path.read_bytes()
    at = data.index(ARRAYS["single"].tobytes())
    path.write_bytes(data[:at] + b"\1" + data[at + 1:])
    tensors = checkpoint.read(str(path)).tensors
    assert (tensors["double"].read() == ARRAYS["double"]).all()
    for _ in range(2):
        with pytest.raises(CheckpointError, match="damaged"):
            tensors["single"].read()


# Hostile and damaged files ------------------------------------------------------------------------

def read_root(tmp_path, root, legacy=False):
    write = File().legacy if legacy else File().zip
    return checkpoint.read(str(write(root, tmp_path / "hostile.pth")))


@pytest.mark.parametrize("legacy", [False, True])
def test_nothing_in_a_pickle_runs(tmp_path, legacy):
    mark = tmp_path / "ran"
    command = f"touch {mark}"
    python = f"open({str(mark)!r}, 'w')"
    before = set(sys.modules)
    attacks = [
        Call(Global("os", "system"), command),
        Call(Global("posix", "system"), command),
        Call(Global("builtins", "eval"), python),
        Call(Global("builtins", "exec"), python),
        Call(Global("builtins", "getattr"), Global("os", "system"), "__call__"),
        Call(Call(Global("builtins", "getattr"), Global("os", "x"), "system"), command),
        Call(Global("subprocess", "Popen"), ["touch", str(mark)]),
        Call(Global("collections", "OrderedDict"), [], state=Call(Global("os", "system"), command)),
        Call(Global("torch._utils", "_rebuild_parameter"), Call(Global("os", "system"), command)),
        Call(Global("torch._tensor", "_rebuild_from_type_v2"), Global("os", "system"), 0,
             (command, )),
        Call(Global("antigravity", "x"), 1),
        Raw(b"(cos\nsystem\n" + dumps(command)[2:-1] + b"o"),  # OBJ
        Raw(b"cos\nsystem\n" + dumps((command, ))[2:-1] + b"\x81"),  # NEWOBJ
        Raw(b"\x8c\x02os\x8c\x06system\x93" + dumps((command, ))[2:-1] + b"R")
    ]
    for attack in attacks:
        ones = File()
        root = {"evil": attack, "state_dict": {"a": ones.tensor(np.ones(2, "f4"))}}
        write = ones.legacy if legacy else ones.zip
        read = checkpoint.read(str(write(root, tmp_path / "hostile.pth")))
        assert read.tensors["a"].read().tolist() == [1, 1] and "evil" in read.others
    for opcodes in (b"(S'" + command.encode() + b"'\nios\nsystem\n.", b"\x82\x01.", b"\x97."):
        with pytest.raises(CheckpointError):                                   # INST, EXT1, buffers
            read_root(tmp_path, b"\x80\x02" + opcodes, legacy)
    assert not mark.exists()
    assert "antigravity" not in sys.modules and not {
        name for name in set(sys.modules) - before if name.startswith(("subprocess", "torch"))}


def test_a_real_pickle_of_os_system_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path / 'ran'}",)

    for protocol in range(6):
        with pytest.raises(CheckpointError):
            read_root(tmp_path, pickle.dumps({"model": Evil()}, protocol))
        with pytest.raises(CheckpointError):
            (tmp_path / "x.pkl").write_bytes(pickle.dumps(Evil(), protocol))
            checkpoint.read(str(tmp_path / "x.pkl"))
    assert not (tmp_path / "ran").exists()


def tensor_call(shape, stride, offset=0, count=4, kind="FloatStorage"):
    return Call(REBUILD, storage("0", kind, count), offset, shape, stride, False, None)


@pytest.mark.parametrize("bad", [
    tensor_call((2,), (-1,)), tensor_call((-2,), (1,)), tensor_call((2,), (1,), -1),
    tensor_call((5,), (1,)), tensor_call((2,), (4,)), tensor_call((4,), (1,), 1),
    tensor_call((2, 2), (1,)), tensor_call((1,) * 9, (1,) * 9), tensor_call(4, 1),
    tensor_call((2 ** 70,), (1,)), tensor_call((2 ** 40, 2 ** 40), (0, 0)),
    tensor_call((2 ** 30,), (0,)), tensor_call((True,), (1,)), tensor_call((1.0,), (1,)),
    tensor_call(("1",), (1,)), tensor_call((4,), (1,), count=5), tensor_call((1,), (1,), count=-4),
    tensor_call((1,), (1,), count=2 ** 61), tensor_call((4,), (1,), kind="DoubleStorage"),
    Call(REBUILD, Global("torch", "FloatStorage"), 0, (1,), (1,)), Call(REBUILD, 7, 0, (1,), (1,)),
    Call(REBUILD), Call(Global("torch._utils", "_rebuild_tensor_v3"), 1),
    Raw(b"cos\nsystem\nK\x01R"), Raw(b"K\x01K\x02\x93"), Raw(b"0"), Raw(b"t"), Raw(b"\x85"),
    Raw(b"h\x07"), Raw(b"j\xff\xff\xff\xff"), Raw(b"X\xff\xff\xff\x7fabc"),
    Raw(b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7fabc"), Raw(b"\x8b\xff\xff\xff\x7f\x01"),
    Raw(b"\xff"), Raw(b"(0]a"), Raw(b"e"), Raw(b"s"), Raw(b"b"),
], ids=str)
def test_hostile_tensors_and_opcodes_are_refused(tmp_path, bad):
    file = File()
    file.raw("FloatStorage", 4, np.arange(4, dtype="f4").tobytes())
    with pytest.raises(CheckpointError):
        checkpoint.read(str(file.zip({"x": bad}, tmp_path / "c.pth")))
    with pytest.raises(CheckpointError):
        checkpoint.read(str(file.legacy({"x": bad}, tmp_path / "c.pth")))


def test_recursive_and_explosive_structures(tmp_path):
    itself = b"\x80\x02}q\x00X\x05\x00\x00\x00modelh\x00s."
    with pytest.raises(CheckpointError, match="no tensors; it has model"):
        read_root(tmp_path, itself)
    deep = b"\x80\x02" + b"]" * 200000 + b"a" * 199999 + b"."
    with pytest.raises(CheckpointError, match="holds a list"):
        read_root(tmp_path, deep)
    laughs = b"\x80\x02" + b")q\x00" + b"".join(b"h\x00h\x00\x86q\x00" for _ in range(200))
    with pytest.raises(CheckpointError, match="holds a tuple"):
        read_root(tmp_path, laughs + b".")
    with pytest.raises(CheckpointError, match="holds no tensors"):      # as a key: never hashed
        read_root(tmp_path, laughs + b"0}h\x00K\x01s.")
    with pytest.raises(CheckpointError, match="storage"):               # and never printed
        read_root(tmp_path,
                  laughs + b"0" + dumps({"x": Call(REBUILD, Raw(b"h\x00"), 0, (1, ), (1, ))})[2:])
    huge = b"\x80\x02\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20)
    with pytest.raises(CheckpointError, match="holds a int"):
        read_root(tmp_path, huge + b".")
    file = File()
    key = file.raw("FloatStorage", 4, bytes(16))
    tensor = Call(REBUILD, storage(key, "FloatStorage", 4), Raw(b"h\x00"), (1,), (1,))
    with pytest.raises(CheckpointError, match="huge"):
        checkpoint.read(str(file.zip(huge + b"q\x000" + dumps({"x": tensor})[2:], tmp_path / "h")))
    assert len(deep) > sys.getrecursionlimit()


def test_a_pickle_of_endless_operations_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_OPERATIONS", 1000)
    with pytest.raises(CheckpointError, match="operations"):
        read_root(tmp_path, b"\x80\x02" + b"N0" * 1000 + b"N.")
    monkeypatch.setattr(checkpoint, "MAX_PICKLE", 100)
    with pytest.raises(CheckpointError, match="larger"):
        read_root(tmp_path, b"\x80\x02" + b"N0" * 200 + b"N.")


def test_zip_archives_of_other_kinds(tmp_path):
    file = File()
    root = file.state(ARRAYS)
    path = tmp_path / "c.pth"

    def refuse(message):
        with pytest.raises(CheckpointError, match=message):
            checkpoint.read(str(path))

    file.zip(root, path, method=zipfile.ZIP_DEFLATED)
    refuse("compressed")
    bomb = File()
    bomb.raw("FloatStorage", 1 << 24, bytes(1 << 26))
    bomb.zip({"x": bomb.view("0", 0, (1 << 24,), (1,))}, path, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 18
    refuse("compressed")
    file.zip(root, path, folder="a/b")
    refuse("data.pkl")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<x/>")
    refuse("not of PyTorch")
    file.zip(root, path, extra=[("constants.pkl", b""), ("code/x.py", "import os")])
    refuse("TorchScript")
    short = File()
    short.raw("FloatStorage", 2, bytes(4))
    short.zip({"x": short.view("0", 0, (2,), (1,))}, path)
    refuse("should have 8 bytes")
    File().zip({"x": tensor_call((1,), (1,))}, path)
    refuse("lacks archive/data/0")
    File().zip(b"\x80\x02", path)
    refuse("damaged pickle")


def test_legacy_files_of_other_kinds(tmp_path):
    file = File()
    root, path = file.state({"a": np.ones(3, "f4"), "b": np.ones(2, "f4")}), tmp_path / "c.pth"

    def refuse(message, data=None):
        if data is not None:
            path.write_bytes(data)
        with pytest.raises(CheckpointError, match=message):
            checkpoint.read(str(path))

    file.legacy(root, path, keys=["0"])
    refuse("missing")
    file.legacy(root, path, counts={"0": 7})
    refuse("holds 7 numbers")
    file.legacy(root, path, counts={"1": -1})
    refuse("holds -1 numbers")
    file.legacy({"a": root["a"]}, path)
    refuse("belongs to nothing")
    old = Persistent("storage", Global("torch", "FloatStorage"), "0", "cpu", 3, ("1", 0, 3))
    file.legacy({"a": Call(REBUILD, old, 0, (3,), (1,))}, path)
    refuse("view of another")
    magic = dumps(checkpoint.LEGACY_MAGIC)
    refuse("unknown protocol", magic + dumps(1000) + dumps({}))
    refuse("big-endian", magic + dumps(1001) + dumps({"little_endian": False}))
    refuse("not a checkpoint", dumps({"weights": 1}))
    refuse("does not stop|damaged", magic)
    refuse("is empty", b"")
    refuse("neither", b"GIF89a" + bytes(100))
    refuse("tar", bytes(257) + b"ustar\0" + bytes(300))
    refuse("neither", b"P")


def test_safetensors_headers_are_checked_in_full(tmp_path):
    path = tmp_path / "c.safetensors"
    good = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}

    def refuse(header, body=bytes(8), message=""):
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        raw_safetensors(text, body, path)
        with pytest.raises(CheckpointError, match=message):
            checkpoint.read(str(path))

    second = {**good, "data_offsets": [8, 16]}
    refuse({"a": good, "b": {**good, "data_offsets": [4, 12]}}, bytes(12), "begins at 4")
    refuse({"a": good, "b": good}, bytes(8), "begins at 0")
    refuse({"a": good, "b": {**good, "data_offsets": [12, 20]}}, bytes(20), "begins at 12")
    refuse({"a": second}, bytes(16), "begins at 8")
    refuse({"a": good}, bytes(12), "follow the last")
    refuse({"a": good}, bytes(4), "cut short: 'a' ends at byte 8 of 4")
    refuse({"a": {**good, "shape": [3]}}, message="do not hold")
    refuse({"a": {**good, "shape": [-2]}}, message="counts")
    refuse({"a": {**good, "shape": [2.0]}}, message="counts")
    refuse({"a": {**good, "shape": [True, 2]}}, message="counts")
    refuse({"a": {**good, "shape": [2 ** 62, 2 ** 62, 0]}}, message="do not hold")
    refuse({"a": {**good, "shape": [1] * 8 + [2]}}, message="wrong length")
    refuse({"a": {**good, "data_offsets": [8, 0]}}, message="do not hold")
    refuse({"a": {**good, "data_offsets": [0]}}, message="wrong length")
    refuse({"a": {**good, "dtype": "Q4"}}, message="number type 'Q4'")
    refuse({"a": {**good, "dtype": 4}}, message="number type")
    refuse({"a": {**good, "more": 1}}, message="exactly")
    refuse({"a": {"dtype": "F32"}}, message="exactly")
    refuse({"a": [1]}, message="exactly")
    refuse(b'{"a": ' + json.dumps(good).encode() + b', "a": ' + json.dumps(second).encode() + b"}",
           bytes(16), "twice")
    refuse(b"{" + b'"a":{' * 50000, message="JSON")
    refuse(b'{"a": {"dtype": "F32", "shape": [' + b"9" * 9999 + b'], "data_offsets": [0, 8]}}',
           message="digits")
    refuse(b"{\xff}", message="JSON")
    refuse({}, b"", "no tensors")
    for size in (2 ** 63, 10 ** 9, 1000):
        path.write_bytes(struct.pack("<Q", size) + b'{"a": 1}')
        with pytest.raises(CheckpointError, match="does not fit"):
            checkpoint.read(str(path))


@pytest.fixture(scope="module")
def good_files(tmp_path_factory):
    """A small model in every container, and the tensors it holds."""
    folder, file = tmp_path_factory.mktemp("good"), File()
    arrays = {"a": np.arange(6, dtype="f4"), "b.weight": np.ones((2, 2), "f4")}
    root = {"meta": {"CLASSES": ["x", "y"]}, "state_dict": file.state(arrays)}
    return folder, arrays, {
        "zip": file.zip(root, folder / "g.pth").read_bytes(),
        "legacy": file.legacy(root, folder / "g.legacy").read_bytes(),
        "safetensors": safetensors(arrays, folder / "g.safetensors").read_bytes()}


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_truncation_is_noticed_at_every_byte(good_files, kind):
    folder, _, files = good_files
    path = folder / "cut"
    for end in range(len(files[kind])):
        path.write_bytes(files[kind][:end])
        with pytest.raises(CheckpointError):
            checkpoint.read(str(path))


@settings(max_examples=400,
          deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["zip", "legacy", "safetensors"]),
       st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 255)), min_size=1, max_size=3))
def test_flipped_bits_give_an_error_or_a_checkpoint(good_files, kind, flips):
    folder, arrays, files = good_files
    data = bytearray(files[kind])
    for place, bits in flips:
        data[place % len(data)] ^= bits
    path = folder / "flipped"
    path.write_bytes(data)
    try:
        read = checkpoint.read(str(path))
        numbers = {name: tensor.read() for name, tensor in read.tensors.items()}
        tool.print_checkpoint(str(path))
    except CheckpointError:
        return
    if kind == "zip":               # every record has a checksum of its own
        for name, array in numbers.items():
            assert (array == arrays[name]).all()


@settings(max_examples=300,
          deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from([bytes([op.code.encode("latin-1")[0]]) for op in pickletools.opcodes] +
                             [b"\0", b"\1", b"\5abcde", b"\n", b"cos\nsystem\n", b"K\x01"]),
             max_size=30).map(b"".join))
def test_any_opcodes_give_an_error_or_an_object(tmp_path, opcodes):
    try:
        read_root(tmp_path, b"\x80\x02" + opcodes + b".")
    except CheckpointError:
        pass


def test_memory_stays_bounded(tmp_path):
    """A few hundred bytes that claim terabytes, under a limit of memory."""
    file = File()
    file.raw("FloatStorage", 2, bytes(8))
    path = file.zip(
        {
            "a": file.view("0", 0, (2, ), (1, )),
            "x": tensor_call((2**42, ), (1, ), count=2**42)
        }, tmp_path / "claims.pth")
    script = ("import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)); "
              f"sys.path.insert(0, {str(ROOT / 'tools')!r}); import convert; "
              f"sys.exit(convert.main(['--info', {str(path)!r}]))")
    env = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env)
    assert done.returncode == 1 and "storage" in done.stderr and "Traceback" not in done.stderr
