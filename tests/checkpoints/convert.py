"""The converter, within reach of the tests: its modules, and a model made without files."""

import sys

from conftest import ROOT, load_tool

sys.path.insert(0, str(ROOT / "tools"))
from swinblob import blob, canonical, checkpoint, classes, families          # noqa: E402

from . import SMALL                                                          # noqa: E402

tool = load_tool("convert")


def memory(arrays, config=None, preprocessor=None, **meta):
    """A checkpoint that never was in a file; config, preprocessor: dicts of a hub's folder."""
    tensors = {name: checkpoint.Tensor(array.shape, str(array.dtype), lambda a=array: a)
               for name, array in arrays.items()}
    if isinstance(config, str):
        meta["config"], config = config, None
    made = checkpoint.Checkpoint("memory", {"meta": meta, "state_dict": tensors})
    made.config, made.preprocessor = config or {}, preprocessor or {}
    return made


def options(*arguments):
    return tool.parse_arguments(["CHECKPOINT", "-o", "MODEL", *map(str, arguments)])


def convert_state(arrays, *arguments, **meta):
    """The canonical model of a state dict, all of it packed once."""
    chosen = options(*arguments)
    model = families.read(memory(arrays, **meta), chosen)
    model.trim_tokens(chosen.max_size or (2048, 2048), chosen.max_size is not None)
    tool.apply_preprocessing(model.description, chosen)
    classes.apply(model, chosen)
    model.check()
    for spec in canonical.tensors(model.description):
        model.matrix(spec)
    return model


def run(*arguments):
    """The tool's exit code."""
    try:
        return tool.main([str(a) for a in arguments])
    except SystemExit as end:
        return end.code


def write_small(path, state=SMALL, *arguments, **meta):
    """Writes the blob of a state dict; the model."""
    model = convert_state(state, *arguments, **meta)
    model.notes = {"name": "small", "source": "Ünïcode"}
    blob.write(path, model)
    return model
