"""Pickles of NumPy arrays, as detectron2's models come: every protocol, old and new names."""

import collections
import pickle
import struct

import numpy as np
import pytest

from checkpoints import SMALL, Call, Global, dumps
from checkpoints.convert import checkpoint, run
from swinblob.values import CheckpointError

ARRAYS = {"f4": np.arange(6, dtype="f4").reshape(2, 3) + 0.5, "f2": np.ones(3, "f2"),
          "f8": np.full((1, 2), -1e300), "big": np.arange(4, dtype=">f4"), "i8": np.arange(3) - 1,
          "columns": np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4)),
          "bytes": np.arange(256, dtype="u1"), "flag": np.array([True, False]),
          "none": np.zeros((0, 3), "f4"), "scalar": np.array(2.5, "f4")}


@pytest.fixture
def read(tmp_path):
    """read(bytes) -> what a file with them holds."""
    def read_bytes(data):
        (tmp_path / "model_final.pkl").write_bytes(data)
        return checkpoint.read(str(tmp_path / "model_final.pkl"))

    return read_bytes


def wrap(arrays):
    """As detectron2 wraps them: an ordered dict with an attribute."""
    model = collections.OrderedDict(arrays)
    model._metadata = collections.OrderedDict(version=2)
    return {"model": model, "__author__": "someone", "matching_heuristics": True}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_every_protocol(read, protocol):
    found = read(pickle.dumps(wrap(ARRAYS), protocol))
    assert found.container == "pickle of NumPy arrays" and found.wrappers == ["model"]
    assert found.others == ["__author__", "matching_heuristics"]
    assert list(found.tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        got = found.tensors[name]
        assert got.shape == array.shape, name
        assert np.array_equal(got.read(), array), name


def old_array(array, package="numpy.core", **parts):
    """An array as `package` wrote it; parts: what is another than it should be."""
    kind = Call(Global("numpy", "dtype"), parts.get("code", array.dtype.str[1:]), 0, 1,
                state=(3, parts.get("order", "<"), None, None, None, -1, -1, 0))
    state = (1, parts.get("shape", array.shape), parts.get("kind", kind), False,
             parts.get("data", array.tobytes()))
    return Call(Global(package + ".multiarray", "_reconstruct"), Global("numpy", "ndarray"), (0,),
                b"b", state=parts.get("state", state))


@pytest.mark.parametrize("package", ["numpy.core", "numpy._core"])
def test_names_of_old_and_new_numpy(read, package):
    array = ARRAYS["f4"]
    assert (read(dumps({"a": old_array(array, package)})).tensors["a"].read() == array).all()
    kind = Call(Global("numpy", "dtype"), "f4", 0, 1)
    framed = Call(Global(package + ".numeric", "_frombuffer"), array.tobytes(), kind, (2, 3), "C")
    assert (read(dumps({"a": framed})).tensors["a"].read() == array).all()


@pytest.mark.parametrize("parts, message", [
    ({"shape": (2, 4)}, "shape .2, 4. has 24 bytes, not 32"), ({"shape": [2, 3]}, "no list"),
    ({"shape": (1,) * 9 + (6,)}, "few numbers"), ({"shape": (-2, -3)}, "negative"),
    ({"shape": (1 << 62, 6)}, "huge"), ({"shape": (2.0, 3)}, "for its size"),
    ({"data": b"abc"}, "3 bytes"), ({"state": (1, 2)}, "its parts"), ({"state": 5}, "its parts"),
    ({"shape": (1 << 40, 1 << 40)}, "24 bytes"), ({"code": "f8"}, "not 48")])
def test_arrays_that_are_none(read, parts, message):
    with pytest.raises(CheckpointError, match=message):
        read(dumps({"a": old_array(ARRAYS["f4"], **parts)}))
    with pytest.raises(CheckpointError, match="without bytes"):
        read(dumps({"a": Call(Global("numpy.core.numeric", "_frombuffer"), b"")}))


def test_what_is_no_number_is_no_weight(read, tmp_path):
    objects = pickle.dumps({"model": {**SMALL, "names": np.array(["a", None], object),
                                      "texts": np.array(["ab"]), "when": np.zeros(1, "M8[s]")}})
    assert [read(objects).tensors[name].dtype for name in ("names", "texts", "when")] == [
        "object"] * 3
    assert run(tmp_path / "model_final.pkl", "-o", tmp_path / "m.swin") == 1
    odd = dumps({"a": old_array(ARRAYS["f4"], kind=3), "b": old_array(ARRAYS["f4"])})
    assert read(odd).tensors["a"].dtype == "object"


def test_nothing_in_a_pickle_runs(read, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    found = read(pickle.dumps({"model": {"a": ARRAYS["f4"], "b": Evil()}, "c": Evil()}))
    assert list(found.tensors) == ["a"] and not (tmp_path / "made").exists()
    for module, name in (("numpy", "load"), ("numpy.core.multiarray", "fromstring"),
                         ("numpy.f2py", "compile"), ("_codecs", "decode")):
        found = read(dumps({"a": old_array(ARRAYS["f4"]), "b": Call(Global(module, name), "x")}))
        assert list(found.tensors) == ["a"]


def test_cut_pickles_are_refused(read):
    for protocol in range(6):
        data = pickle.dumps(wrap(ARRAYS), protocol)
        for end in range(0, len(data) - 1, 97):
            with pytest.raises(CheckpointError):
                read(data[:end])
    for end in (b"\x97.", b"\x98."):        # buffers that lie elsewhere
        with pytest.raises(CheckpointError, match="BUFFER"):
            read(b"\x80\x05" + end)


def test_one_array_may_stand_for_many(read):
    """Repeating what is there costs no memory."""
    first = dumps(old_array(np.zeros(1 << 20, "f4")))[2:-1] + b"q\0" + b"0"
    names = b"".join(b"X" + struct.pack("<I", len(b"%d" % n)) + b"%d" % n + b"h\0"
                     for n in range(3000))
    found = read(b"\x80\x02" + first + b"}(" + names + b"u.")
    assert len(found.tensors) == 3000 and found.tensors["2999"].shape == (1 << 20,)


def test_a_model_in_a_pickle_converts(tmp_path):
    path = tmp_path / "model_final.pkl"
    path.write_bytes(pickle.dumps(wrap(SMALL), 4))
    assert run(path, "-o", tmp_path / "m.swin") == 0
    assert run(tmp_path, "-o", tmp_path / "n.swin") == 0        # the folder's one checkpoint
    assert (tmp_path / "m.swin").read_bytes()[-4096:] == (
        tmp_path / "n.swin").read_bytes()[-4096:]


def test_other_pickles_are_told_apart(read):
    for value in ({"a": 1}, [1, 2], {"model": {"a": [1.0]}}):
        with pytest.raises(CheckpointError, match="not a checkpoint of PyTorch"):
            read(pickle.dumps(value))
