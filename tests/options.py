"""What builds leave out (SWIN_NO_UNET and its like): each alone and all together compile without a
warning, run what they have, refuse the rest by name, and save what the README says."""

import re
import subprocess

import pytest

from conftest import BUILD, ROOT, load_tool

STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wcast-align -Werror".split()

sizes = load_tool("sizes")

# What each line of tests/options.c needs, beside what its types of weights do: models of s8 have
# tables or layers of f16, too, where HALVES_BESIDE says so. SWIN_NO_WINOGRAD refuses nothing.
NEEDS = {
    "plain": "", "glam": "UPER GLAM", "fcn": "FCN", "v2": "V2 CLASSIFIER", "unet": "UNET GLAM",
    "cross unet": "UNET GLAM", "semantic fpn": "FPN", "mlp": "SEGFORMER", "psp": "PSP SLIDE",
    "wide": "UPER", "smp unet": "SMP_UNET", "smp fpn": "FPN",
    "segformer": "MIT SEGFORMER", "maskformer": "QUERIES", "mask2former": "QUERIES",
    "oneformer": "QUERIES", "birefnet": "BIREFNET", "average": "FCN AVERAGE", "slide": "FCN SLIDE",
    "attention": "UPER GLAM ATTENTION_MAP"}
TYPES = {"f32": "", "f16": "F16", "s8": "INT8"}
HALVES_BESIDE = {"GLAM", "QUERIES", "BIREFNET"}


def needs_of(line):
    name, _, numbers = line.rpartition(" ")
    needs = f"{NEEDS[name]} {TYPES[numbers]}".split()
    halves = ["F16"] if numbers == "s8" and HALVES_BESIDE & {*needs} else []
    return {f"SWIN_NO_{need}" for need in needs + halves}


@pytest.fixture(scope="module")
def objects():
    """{name: object} of every build."""
    return sizes.compile_all(BUILD / "tests/sizes", *STRICT)


@pytest.fixture(scope="module")
def lines(objects):
    """lines(build, arguments...): what tests/options.c prints of it, {line: hash or sentence}."""
    program = BUILD / "tests/options.o"
    subprocess.run(["gcc", "-std=c99", "-O1", *STRICT, "-c", ROOT / "tests/options.c", "-o",
                    program], check=True)

    def run(name, *arguments):
        linked = objects[name].with_suffix("")
        subprocess.run(["gcc", program, objects[name], "-lm", "-o", linked], check=True)
        text = subprocess.run([linked, *arguments], check=True, capture_output=True,
                              text=True).stdout
        return dict(line.split(": ", 1) for line in text.splitlines())

    return run


@pytest.fixture(scope="module")
def whole(lines):
    return lines("whole")


def test_whole_build_runs_everything(whole):
    assert {line.rpartition(" ")[0] for line in whole} == set(NEEDS)
    assert all(re.fullmatch("(?!0{16})[0-9a-f]{16}", result) for result in whole.values()), whole


@pytest.mark.parametrize("name", [name for name in sizes.builds() if name != "whole"])
def test_what_is_left_runs_and_the_rest_is_refused_by_name(lines, whole, name):
    left_out = set(sizes.builds()[name])
    expected = lines("whole", "direct") if "SWIN_NO_WINOGRAD" in left_out else whole
    refused = 0
    for line, result in lines(name).items():
        missing = needs_of(line) & left_out
        if not missing:
            assert result == expected[line], line
            continue
        refused += 1
        said = re.fullmatch(r"this build leaves out (.+) \((\w+)\)", result)
        assert said and said[2] in missing and said[1] == sizes.options()[said[2]], (line, result)
    assert 0 < refused < len(whole) or left_out == {"SWIN_NO_WINOGRAD"}


def test_plain_convolutions_have_bits_of_their_own(lines, whole):
    """Else the test above would not see which ones a build without Winograd takes."""
    assert lines("whole", "direct")["wide f32"] != whole["wide f32"]


@pytest.mark.parametrize("name", sizes.builds())
def test_clang_has_no_warning(name):
    subprocess.run(["clang", "-std=c99", *STRICT, "-DSWIN_NO_SIMD", "-fsyntax-only", f"-I{ROOT}",
                    *(f"-D{option}" for option in sizes.builds()[name]),
                    ROOT / "examples/swin.c"], check=True)


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_all_together_in_cpp_with_every_pass(compiler):
    subprocess.run([compiler, "-std=c++11", *STRICT, "-fsyntax-only", f"-I{ROOT}", "-x", "c++",
                    *(f"-D{option}=1" for option in sizes.options()), ROOT / "examples/swin.c"],
                   check=True)


def test_readme_says_what_each_saves(objects):
    """Figures of this header, within a tenth or 300 bytes; `make sizes` writes them anew."""
    measured = {name: sizes.bytes_of(path) for name, path in objects.items()}
    text = sizes.TABLE.search((ROOT / "README.md").read_text())[0]
    said = re.findall(r"^\| (?:`(\w+)`|all of them) \| (.*) \| ([\d,]+) \|$", text, re.M)
    assert {option: what for option, what, _ in said if option} == sizes.options()
    for option, _, saves in said:
        saved = measured["whole"] - measured[option or "all"]
        assert abs(saved - int(saves.replace(",", ""))) <= max(300, saved / 10), option
