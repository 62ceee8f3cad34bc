"""examples/parallel_for: every recipe compiles without a warning, runs each task once and gives the
bits of one thread; under the thread sanitizer, too, where the recipe has threads of its own."""

import os
import re
import subprocess

import pytest

from conftest import ROOT

STRICT = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Wundef", "-Werror"]
SDL = "-DRECIPE_SDL $(sdl2-config --cflags)"
RECIPES = {
    "pool": "gcc -std=c99",
    "openmp": "gcc -std=c99 -DRECIPE_OPENMP -fopenmp",
    "openmp, C++": "g++ -x c++ -std=c++11 -DRECIPE_OPENMP -fopenmp",
    "threads": "g++ -x c++ -std=c++11 -DRECIPE_THREADS",
    "threads, C++20": "clang++ -x c++ -std=c++20 -DRECIPE_THREADS",
    "threads, races": "clang++ -x c++ -std=c++11 -g -fsanitize=thread -DRECIPE_THREADS",
    "sdl": f"gcc -std=c99 {SDL}",
    "sdl, races": f"clang -std=c99 -g -fsanitize=thread {SDL}",
}
LIBRARIES = {"sdl": "$(sdl2-config --libs)"}

# Grand Central Dispatch's interface, for systems without: the last task first, one after another.
DISPATCH = """
#include <stddef.h>
#define DISPATCH_APPLY_AUTO NULL
static void dispatch_apply_f(size_t count, void *queue, void *context,
                             void (*work)(void *, size_t))
{
    (void)queue;
    while (count) work(context, --count);
}
"""


def run(*command):
    return subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True,
                          timeout=900)


def passes(command, program, libraries=""):
    """Builds the test of a recipe, whose flags may be asked of sdl2-config, and runs it."""
    strict = " ".join(STRICT)
    r = run("sh", "-c", f'{command} {strict} -DSWIN_NO_SIMD tests/parallel_for.c -o "$0" '
            f"{libraries} -lm -lpthread", program)
    assert r.returncode == 0, r.stderr
    r = run(program)
    assert r.returncode == 0 and re.search(r"^\d+ passed, 0 failed$", r.stdout, re.M), (
        r.stdout + r.stderr)


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipe(recipe, tmp_path):
    passes(RECIPES[recipe], tmp_path / "program", LIBRARIES.get(recipe.split(",")[0], ""))


README = (ROOT / "README.md").read_text()


def test_readme_shows_the_recipe_of_openmp():
    recipe = (ROOT / "examples/parallel_for/openmp.h").read_text()
    function = re.search(r"^static void openmp_for.*?^}$", recipe, re.M | re.S)[0]
    assert f"```c\n{function}\n```" in README


def test_readme_fills_in_the_desc_as_the_program_does():
    lines = re.search(r"^```c\n(desc\.parallel_for.*?)```$", README, re.M | re.S)[1].splitlines()
    program = (ROOT / "examples/parallel_for/openmp.c").read_text()
    assert len(lines) == 2
    assert all(f"    {line.split('/*')[0].rstrip()}\n" in program for line in lines)


@pytest.fixture(scope="module")
def openmp(tmp_path_factory):
    """openmp(arguments..., variables): the program that the README's command builds."""
    program = tmp_path_factory.mktemp("openmp") / "openmp"
    command = re.search(r"^(cc .*/openmp\.c .*) -o openmp && \./openmp (\S+)$", README, re.M)
    strict = " ".join(["-std=c99", *STRICT, "-o", f"'{program}'"])
    r = run("sh", "-c", f"{command[1]} {strict}")
    assert r.returncode == 0, r.stderr
    return lambda *arguments, **variables: subprocess.run(
        [program, *(arguments or [ROOT / command[2]])], env=os.environ | variables,
        capture_output=True, text=True, timeout=900)


def test_program_of_the_readme(openmp):
    said = {threads: openmp(OMP_NUM_THREADS=threads).stdout for threads in ("1", "3")}
    pattern = "the middle of the picture is (.+), by {} threads\n"
    shown = {re.fullmatch(pattern.format(threads), text)[1] for threads, text in said.items()}
    assert len(shown) == 1


def test_program_tells_what_is_wrong(openmp, convert):
    for model, words in (("missing.swin", "missing.swin"),
                         (convert("fam-tv-swin-cls"), "a classifier")):
        r = openmp(model)
        assert r.returncode == 1 and r.stderr.count("\n") == 1 and words in r.stderr, r.stderr


def test_dispatch(tmp_path):
    (tmp_path / "dispatch").mkdir()
    (tmp_path / "dispatch/dispatch.h").write_text(DISPATCH)
    passes(f'gcc -std=c99 -D__APPLE__ -DRECIPE_DISPATCH -I"{tmp_path}"', tmp_path / "program")


def test_dispatch_is_for_apples_systems(tmp_path):
    r = run("gcc", "-fsyntax-only", "-DRECIPE_DISPATCH", "tests/parallel_for.c")
    assert r.returncode and "dispatch.h is for Apple's systems" in r.stderr
