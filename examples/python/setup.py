"""Builds swin.h into the package and takes the converter along; pyproject.toml says the rest.

The files lie two folders up in a checkout, and in upstream/ in a source distribution.
"""

import atexit
import pathlib
import re
import shutil
import sys
import tempfile

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = pathlib.Path(__file__).resolve().parent
UPSTREAM = HERE / "upstream" if (HERE / "upstream").exists() else HERE.parents[1]
SOURCES = ["swin.h", "examples/common.h", "LICENSE"]
CONVERTER = ["tools/convert.py", "tools/require.py", "tools/swinblob/**/*"]


def copy(patterns, source, target):
    """Copies the files of `source` that match, with their folders, but no compiled Python."""
    for pattern in patterns:
        for path in source.glob(pattern):
            if path.is_file() and "__pycache__" not in path.parts:
                place = target / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)


class BuildWithConverter(build_py):
    def run(self):
        super().run()
        if not self.editable_mode:
            patterns = [pattern.partition("/")[2] for pattern in CONVERTER]
            package = pathlib.Path(self.build_lib, "swinh")
            copy(patterns, UPSTREAM / "tools", package / "_tools")
            copy(["LICENSE"], UPSTREAM, package)


class SdistWithUpstream(sdist):
    def make_release_tree(self, base_dir, files):
        super().make_release_tree(base_dir, files)
        copy(SOURCES + CONVERTER, UPSTREAM, pathlib.Path(base_dir, "upstream"))


def options():
    """One wheel for every Python from 3.9 on; the checkout, which may be read-only, stays as it is.

    A source distribution is made of files in the checkout alone, those of its egg-info too.
    """
    chosen = {"bdist_wheel": {"py_limited_api": "cp39"}}
    if "sdist" not in sys.argv:
        scratch = tempfile.mkdtemp(prefix="swinh-")
        atexit.register(shutil.rmtree, scratch, ignore_errors=True)
        chosen.update(build={"build_base": scratch}, egg_info={"egg_base": scratch})
    return chosen


setup(
    version=re.match(r"/\* swin\.h - v([0-9.]+)", (UPSTREAM / "swin.h").read_text("utf-8"))[1],
    cffi_modules=["build_core.py:builder"],
    cmdclass={"build_py": BuildWithConverter, "sdist": SdistWithUpstream},
    options=options(),
)
