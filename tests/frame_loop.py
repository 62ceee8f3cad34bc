"""build/frame_loop, the game loop, without a screen: what it shows, its memory, bad input."""

import pathlib
import re
import shlex
import subprocess

import numpy
import pytest
from PIL import Image

from conftest import BUILD, ROOT

PROGRAM, SEGMENT = BUILD / "frame_loop", BUILD / "segment"
CASE = "seg-glam-upernet-g5-opti"
WIDTH, HEIGHT = 96, 64
FAST = ("--view", f"{WIDTH}x{HEIGHT}", "--fps", "1000", "--budget", "2")
STILL = ("--speed", "0")
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wcast-align -Werror".split()


def run(*arguments, **options):
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([PROGRAM, *arguments], timeout=300, capture_output=True, **options)


def refused(result, status, *words):
    """The exit status and one sentence on stderr that holds the words."""
    text = result.stderr.decode()
    assert result.returncode == status and text.count("\n") == 1, text
    for word in words:
        assert word in text


def pixels(width, height, seed=7):
    y, x, c = numpy.mgrid[:height, :width, :3]
    noise = numpy.random.default_rng(seed).integers(0, 40, (height, width, 3))
    return ((x * (3 + c) + y * (5 - c) + 60 * c) % 216 + noise).astype(numpy.uint8)


def bgra(rgb):
    return numpy.dstack([rgb[..., ::-1], numpy.full(rgb.shape[:2], 255, numpy.uint8)]).tobytes()


def load(path):
    return numpy.asarray(Image.open(path))


@pytest.fixture(scope="module")
def model(convert):
    return convert(CASE)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    """One that the view pans over."""
    path = tmp_path_factory.mktemp("picture") / "street.png"
    Image.fromarray(pixels(2 * WIDTH, 2 * HEIGHT)).save(path)
    return path


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A folder of two pictures of different sizes, a damaged one and a folder."""
    folder = tmp_path_factory.mktemp("frames")
    Image.fromarray(pixels(WIDTH, HEIGHT)).save(folder / "1.png")
    Image.fromarray(pixels(3 * WIDTH, HEIGHT, 8)).save(folder / "2.png")
    (folder / "3.png").write_bytes((folder / "1.png").read_bytes()[:-20])
    (folder / "4").mkdir()
    return folder


# what it shows ------------------------------------------------------------------------------------

def test_report(model, picture):
    r = run(*FAST, "--frames", "50", "--at", "3,4", model, picture)
    text = r.stdout.decode()
    assert r.returncode == 0 and not r.stderr, r.stderr
    assert re.match(r"frames: 50, [\d.]+ a second, \d+ longer than 1\.0 ms\n", text)
    for what in ("frame time", "of it the network"):
        times = re.search(rf"^{what}: p50 ([\d.]+) ms, p99 ([\d.]+) ms, max ([\d.]+) ms$", text,
                          re.M)
        half, most, longest = map(float, times.groups())
        assert 0 < half <= most <= longest
    assert int(re.search(r"^segmentations: (\d+), [\d.]+ a second$", text, re.M)[1]) > 0
    assert re.search(r"^at 3,4: .+$", text, re.M)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("budget,frames", [("0.01", 2000), ("2", 50), ("200", 5)])
def test_class_map_is_that_of_a_run_at_once(model, picture, tmp_path, threads, budget, frames):
    """In slices of any length, on any number of threads; the view is the picture's middle."""
    x, y = WIDTH // 2, HEIGHT // 2
    Image.fromarray(load(picture)[y:y + HEIGHT, x:x + WIDTH]).save(tmp_path / "view.png")
    subprocess.run([SEGMENT, "-q", "-m", model, "--ids", "-o", tmp_path / "whole.png",
                    "--size", str(WIDTH), tmp_path / "view.png"], check=True)
    r = run(*FAST, *STILL, "--budget", budget, "--job-threads", str(threads), "--frames",
            str(frames), "--ids", tmp_path / "slices.png", model, picture)
    assert r.returncode == 0 and b"segmentations: 0," not in r.stdout, r.stderr
    assert len(numpy.unique(load(tmp_path / "whole.png"))) > 1
    assert (load(tmp_path / "slices.png") == load(tmp_path / "whole.png")).all()


def shot(tmp_path, *arguments):
    path = tmp_path / "shot.png"
    r = run(*FAST, *STILL, "--frames", "30", "--shot", path, *arguments)
    assert r.returncode == 0, r.stderr
    return load(path).astype(int)


def test_picture_colours_and_what_lies_between(model, picture, tmp_path):
    """In a part of the view that neither the graph nor the label covers."""
    corner = numpy.s_[:8, :WIDTH]
    there = ("--at", f"0,{HEIGHT - 1}", model, picture)
    bare = shot(tmp_path, "--opacity", "0", *there)
    y, x = HEIGHT // 2, WIDTH // 2
    assert (bare[corner] == load(picture)[y:y + HEIGHT, x:x + WIDTH][corner]).all()
    colours = shot(tmp_path, "--opacity", "1", "--ids", tmp_path / "ids.png", *there)
    ids = load(tmp_path / "ids.png")[corner]
    for k in numpy.unique(ids):
        assert len(numpy.unique(colours[corner][ids == k], axis=0)) == 1
    half = shot(tmp_path, "--opacity", "0.5", *there)
    assert abs(half - (bare + colours) / 2)[corner].max() <= 3


def test_scale(model, picture, tmp_path):
    assert shot(tmp_path, "--scale", "2", model, picture).shape == (2 * HEIGHT, 2 * WIDTH, 3)


@pytest.mark.parametrize("view", ["1x1", "31x17", "7x64", "192x128"])
def test_odd_sizes(model, picture, tmp_path, view):
    width, height = map(int, view.split("x"))
    assert shot(tmp_path, "--view", view, model, picture).shape == (height, width, 3)


# frames of a folder and of a pipe -----------------------------------------------------------------

def test_folder(model, frames, tmp_path):
    r = run(*FAST, "--frames", "9", "--opacity", "0", "--at", f"0,{HEIGHT - 1}", "--shot",
            tmp_path / "shot.png", model, frames)
    refused(r, 0, "3.png", "cut short")
    # frame 0 is shown before the first frame of the loop: the ninth is number 1 of 2
    middle = pixels(3 * WIDTH, HEIGHT, 8)[:, WIDTH:2 * WIDTH]
    assert (load(tmp_path / "shot.png")[:8] == middle[:8]).all()


def test_pipe(model, tmp_path):
    """Ends when the pipe does, with its last frame."""
    frames = [pixels(WIDTH, HEIGHT, seed) for seed in range(20)]
    r = run(*FAST, "--frames", "100000", "--opacity", "0", "--at", f"0,{HEIGHT - 1}", "--shot",
            tmp_path / "shot.png", model, "-", input=b"".join(map(bgra, frames)))
    assert r.returncode == 0 and not r.stderr, r.stderr
    assert (load(tmp_path / "shot.png")[:8] == frames[-1][:8]).all()


def test_pipe_that_ends_within_a_frame(model):
    frame = bgra(pixels(WIDTH, HEIGHT))
    r = run(*FAST, "--frames", "100000", model, "-", input=2 * frame + frame[:-1])
    refused(r, 1, "standard input", "within a frame", "--view")
    assert r.stdout.startswith(b"frames: ")
    refused(run(*FAST, "--frames", "9", model, "-", input=frame[:-4]), 1, "standard input",
            f"{len(frame) - 4} bytes", f"{WIDTH}x{HEIGHT}")
    refused(run(*FAST, "--frames", "9", model, "-"), 1, "standard input", "0 bytes")


# memory -------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def trap(tmp_path_factory):
    """trapped(program, frames, arguments...): a run that must not allocate after a first frame."""
    library = tmp_path_factory.mktemp("trap") / "trap.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", ROOT / "tests/allocation_trap.c", "-o",
                    library, "-ldl"], check=True)

    def trapped(program, frames, *arguments, **options):
        return subprocess.run(
            ["env", f"LD_PRELOAD={library}", f"TRAP_FRAMES={frames}", program, *FAST, "--frames",
             str(frames), *arguments], capture_output=True, timeout=300, **options)

    return trapped


@pytest.mark.parametrize("options", [(), ("--job-threads", "3"), ("--budget", "0.01"),
                                     ("--scale", "2"), ("--view", "31x17")])
def test_nothing_is_allocated_after_the_first_frame(trap, model, picture, options):
    r = trap(PROGRAM, 100, *options, model, picture)
    assert r.returncode == 0 and not r.stderr, r.stderr


def test_nor_with_frames_of_a_folder_or_a_pipe(trap, model, frames):
    r = trap(PROGRAM, 100, model, frames)
    assert r.returncode == 0 and b"called after" not in r.stderr, r.stderr
    r = trap(PROGRAM, 40, model, "-", input=60 * bgra(pixels(WIDTH, HEIGHT)))
    assert r.returncode == 0 and not r.stderr, r.stderr


def sdl_flags():
    return shlex.split(subprocess.run(["sdl2-config", "--cflags", "--libs"], check=True,
                                      capture_output=True, text=True).stdout)


@pytest.mark.parametrize("place,call", [
    ("static void publish(game *g)\n{\n", "SDL_free(SDL_malloc(1));\n"),
    ("static int play_frame(game *g)\n{\n", "free(calloc(9, (size_t)g->frames + 1));\n"),
])
def test_the_trap_catches(trap, model, picture, tmp_path, place, call):
    """Programs that do allocate, where a class map is taken over and in each frame."""
    source = (ROOT / "examples/frame_loop.c").read_text()
    assert source.count(place) == 1
    subprocess.run(["gcc", "-std=c99", "-O1", "-fno-builtin", "-DSWIN_NO_SIMD", "-I",
                    ROOT / "examples", "-x", "c", "-", "-o", tmp_path / "allocates", *sdl_flags(),
                    "-lm", "-lpthread"], input=source.replace(place, place + call), text=True, check=True)
    r = trap(tmp_path / "allocates", 100, "--budget", "100", model, picture)
    assert r.returncode and b"loc called after the first frame" in r.stderr


# bad input ----------------------------------------------------------------------------------------

@pytest.mark.parametrize("options,words", [
    (["--budget", "0"], "milliseconds"), (["--budget", "-1"], "milliseconds"),
    (["--budget", "4ms"], "milliseconds"), (["--budget", "nan"], "milliseconds"),
    (["--view", "0x240"], "320x240"), (["--view", "320"], "320x240"), (["--at", "1"], "160,120"),
    (["--job-threads", "0"], "1 to 1024"), (["--frames", "0"], "1 to 1000000000"),
    (["--fps", "0"], "1 to 1000"), (["--scale", "17"], "1 to 16"), (["--opacity", "2"], "0 to 1"),
    (["--size", "x"], "0 to 16384"), (["--no-such", "1"], "no such option"),
    (["-x"], "no such option"), (["a", "b", "c"], "one MODEL"),
])
def test_bad_options(model, picture, options, words):
    refused(run(*options, *([] if "a" in options else ["--frames", "9", model, picture])), 2, words)


def test_usage():
    assert run("--help").stdout.startswith(b"usage: frame_loop")
    refused(run(), 2, "MODEL PICTURE|FOLDER|-")
    refused(run("--frames"), 2, "a value must follow")


def test_bad_models(model, picture, convert, tmp_path):
    damaged = tmp_path / "damaged.swin"
    blob = bytearray(model.read_bytes())
    blob[len(blob) // 2] ^= 1
    damaged.write_bytes(blob)
    refused(run("--frames", "9", damaged, picture), 3, "damaged.swin", "checksum")
    damaged.write_bytes(blob[:1000])
    refused(run("--frames", "9", damaged, picture), 3, "damaged.swin")
    refused(run("--frames", "9", tmp_path / "none.swin", picture), 3, "none.swin: No such file")
    for other in ("fam-tv-swin-cls", "fam-timm-swin-features"):
        refused(run("--frames", "9", convert(other), picture), 3, "gives none (a classifier, or")
    refused(run("--frames", "9", picture, picture), 3, "street.png")


def test_bad_pictures(model, picture, frames, tmp_path):
    refused(run("--frames", "9", model, tmp_path / "none.png"), 1, "none.png", "No such file")
    refused(run("--frames", "9", model, frames / "3.png"), 1, "3.png", "cut short")
    refused(run("--frames", "9", "--view", f"{2 * WIDTH + 1}x9", model, picture), 1, "street.png",
            f"{2 * WIDTH}x{2 * HEIGHT}", "--view")
    refused(run("--frames", "9", model, frames / "4"), 1, "no picture")


def test_results_that_cannot_be_written(model, picture, tmp_path):
    for option in ("--shot", "--ids"):
        r = run(*FAST, "--frames", "2", option, tmp_path / "none/x.png", model, picture)
        refused(r, 1, "x.png", "No such file")
        assert r.stdout.startswith(b"frames: ")


def test_without_a_screen(model, picture):
    r = run(model, picture, env={"SDL_VIDEODRIVER": "no-such-driver"})
    refused(r, 1, "the screen")


@pytest.mark.skipif(pathlib.Path("/dev/dri").exists(), reason="SDL would find a screen")
def test_what_nobody_would_see_is_not_played(model, picture, tmp_path):
    r = run(model, picture, env={"XDG_RUNTIME_DIR": str(tmp_path)})
    refused(r, 1, "the screen", "--frames")


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_free_of_warnings(compiler):
    subprocess.run([compiler, "-std=c99", "-O1", "-DSWIN_NO_SIMD", *STRICT, "-S", "-o", "/dev/null",
                    *sdl_flags()[:-1], ROOT / "examples/frame_loop.c"], check=True)
