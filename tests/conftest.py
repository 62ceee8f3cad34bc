"""What the tests in Python share: the places, and models converted from the golden cases."""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / os.environ.get("BUILD", "build")     # where make puts the programs
GOLDEN = ROOT / "tests" / "golden"

# A shell's background jobs ignore SIGINT, those of nohup SIGHUP; the programs under test would, too.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)


def load_tool(name):
    """tools/NAME.py as a module, whatever the tests beside it are called."""
    spec = importlib.util.spec_from_file_location("tools_" + name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def root():
    return ROOT


def case_options(case):
    """What the weights of a golden case cannot tell the converter."""
    config = json.loads((case / "case.json").read_text()).get("config", {})
    scales = config.get("pool_scales") or []
    options = ["--align-corners"] if config.get("align_corners") else []
    if "patch_order" in config:
        options += ["--patch-order", config["patch_order"]]
    if len(scales) not in (0, 4):
        options += ["--pool-scales", ",".join(map(str, scales))]
    return options


@pytest.fixture(scope="session")
def convert(tmp_path_factory):
    """convert(checkpoint or golden case's name, options...): the path of its .swin, made once."""
    made = {}

    def model(what, *options):
        if (what, options) not in made:
            case = GOLDEN / what
            if (case / "case.json").exists():
                about = json.loads((case / "case.json").read_text())
                alone = not (case / "config.json").exists()
                name = about.get("checkpoint", "checkpoint.pth") if alone else "."
                checkpoint, extra = case / name, case_options(case)
            else:
                checkpoint, extra = what, []
            path = tmp_path_factory.mktemp("model") / "model.swin"
            subprocess.run([sys.executable, ROOT / "tools" / "convert.py", checkpoint, "-o", path,
                            *extra, *options], check=True, capture_output=True, text=True)
            made[what, options] = path
        return made[what, options]

    return model


@pytest.fixture(scope="session")
def cpus():
    """The instruction sets that the programs must have here, as /proc/cpuinfo tells."""
    flags = pathlib.Path("/proc/cpuinfo").read_text().split()
    return (["scalar"] + ["avx2"] * ({"avx2", "fma"} <= set(flags))
            + ["avx2_vnni"] * ("avx_vnni" in flags)
            + ["avx512"] * ({"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags))
            + ["avx512_vnni"] * ("avx512_vnni" in flags)
            + ["neon"] * ("asimd" in flags) + ["neon_dot"] * ("asimddp" in flags)
            + ["neon_i8mm"] * ("i8mm" in flags))
