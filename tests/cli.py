"""build/segment and build/tensor as a user meets them: every option, odd pictures, mistakes."""

import io
import json
import os
import pty
import resource
import shutil
import signal
import subprocess
import threading

import numpy
import pytest
import torch
from PIL import Image, ImageOps

from conftest import BUILD, GOLDEN, ROOT

SEGMENT, TENSOR = BUILD / "segment", BUILD / "tensor"
CASE = "seg-glam-upernet-g5-opti"
PHOTO = ROOT / "examples/photos/california_highway_dashcam.jpg"
MEAN, STD = numpy.float32([110, 120, 130]), numpy.float32([50, 60, 70])
NORMALISATION = ("--mean", "110,120,130", "--std", "50,60,70", "--no-bgr")


def save_planes(path, image):
    """An RGB picture as build/tensor's input: normalised by NORMALISATION to the last bit."""
    scale = (1 / STD.astype(float)).astype(numpy.float32)
    planes = ((image.astype(numpy.float32) - MEAN) * scale).transpose(2, 0, 1)
    numpy.save(path, numpy.ascontiguousarray(planes))


def run(program, *arguments, **options):
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    options.setdefault("stdout", subprocess.PIPE)
    options.setdefault("stderr", subprocess.PIPE)
    return subprocess.run([program, *arguments], timeout=120, **options)


def refused(result, status, *words):
    """The exit status, nothing on stdout, and one sentence on stderr that holds the words."""
    text = result.stderr.decode()
    assert result.returncode == status, text
    assert text.count("\n") == 1 and not result.stdout, text
    for word in words:
        assert word in text


def pixels(width, height, channels=3, kind=numpy.uint8):
    """A picture with structure: gradients and a little noise."""
    y, x, c = numpy.mgrid[:height, :width, :channels]
    noise = numpy.random.default_rng(7).integers(0, 40, (height, width, channels))
    value = (x * (3 + c) + y * (5 - c) + 60 * c) % 216 + noise
    return (value * (numpy.iinfo(kind).max // 255)).astype(kind)


def load(path):
    return numpy.asarray(Image.open(path))


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(scope="module")
def model(convert):
    """A tiny model of 5 classes with a known normalisation."""
    return convert(CASE, *NORMALISATION)


@pytest.fixture
def segment(model):
    return lambda *arguments, **options: run(SEGMENT, "-m", model, *arguments, **options)


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in/street.png"
    Image.fromarray(pixels(60, 44)).save(path)
    return path


@pytest.fixture
def ids_of(segment, tmp_path):
    def ids(picture, *options):
        r = segment("--ids", "-o", tmp_path / "ids_of.png", *options, picture)
        assert r.returncode == 0, r.stderr
        return load(tmp_path / "ids_of.png")
    return ids


@pytest.fixture(scope="module")
def changed(convert, tmp_path_factory):
    """changed(function): the model of the golden case after function(state dict)."""
    def make(function):
        state = torch.load(GOLDEN / CASE / "checkpoint.pth", weights_only=True)["state_dict"]
        function(state)
        path = tmp_path_factory.mktemp("checkpoint") / "changed.pth"
        torch.save({"state_dict": state}, path)
        return convert(path)
    return make


# What is written ----------------------------------------------------------------------------------

def test_overlay_lies_beside_the_picture(segment, picture):
    assert segment(picture).returncode == 0
    assert names(picture.parent) == ["street.overlay.png", "street.png"]
    out = load(picture.with_name("street.overlay.png"))
    assert out.shape == (44, 60, 3) and (out != pixels(60, 44)).any()


@pytest.mark.parametrize("opacity", [0, 0.25, 0.5, 1])
def test_ids_mask_and_overlay_agree(segment, tmp_path, opacity):
    photo = numpy.asarray(Image.open(PHOTO))
    Image.fromarray(photo).save(tmp_path / "p.png")
    r = segment("--ids", "--mask", "--overlay", "--json", f"--opacity={opacity}", "--size=240",
                "-o", tmp_path / "all", tmp_path / "p.png")
    colours = numpy.zeros((256, 3), int)
    present = json.loads(r.stdout)["classes"]
    for c in present:
        colours[c["id"]] = list(bytes.fromhex(c["color"][1:]))
    assert names(tmp_path / "all") == ["p.ids.png", "p.mask.png", "p.overlay.png"]
    ids, mask, overlay = (load(tmp_path / f"all/p.{kind}.png")
                          for kind in ("ids", "mask", "overlay"))
    assert ids.shape == photo.shape[:2] and ids.dtype == numpy.uint8
    assert set(numpy.unique(ids)) == {c["id"] for c in present} and len(present) > 2
    assert (mask == colours[ids]).all()
    blended = numpy.floor(photo + (colours[ids] - photo) * opacity + 0.5)
    top = photo.shape[0] * 2 // 3       # the legend takes a third at most
    assert (overlay[:top] == blended[:top]).all()
    assert (overlay[-8:] != blended[-8:]).any()


def test_legend_only_where_it_fits(segment, tmp_path):
    for size, has_legend in ((300, True), (30, False), (1, False)):
        path = tmp_path / f"{size}.png"
        Image.fromarray(pixels(size, size)).save(path)
        assert segment("--opacity", "0", path).returncode == 0
        assert (load(tmp_path / f"{size}.overlay.png") != load(path)).any() == has_legend


def test_ids_are_the_networks_classes(model, picture, ids_of, tmp_path):
    """The same picture as float planes through build/tensor."""
    save_planes(tmp_path / "in.npy", pixels(60, 44))
    assert run(TENSOR, model, tmp_path / "in.npy", tmp_path / "t").returncode == 0
    classes = numpy.load(tmp_path / "t.classes.npy")
    assert len(numpy.unique(classes)) > 2
    assert (ids_of(picture, "--size", "60") == classes).all()


def test_ids_of_many_classes_have_16_bits(changed, picture, tmp_path):
    """300 classes: the golden case's last layer again and again, the last copy winning."""
    def widen(state):
        for key in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
            state[key] = torch.cat([state[key]] * 60)
        state["decode_head.conv_seg.bias"][280:] += 1e-3
        assert len(state["decode_head.conv_seg.bias"]) == 300

    many = changed(widen)
    r = run(SEGMENT, "-m", many, "--ids", "--mask", "--json", "-o", tmp_path / "o", picture)
    assert r.returncode == 0, r.stderr
    ids = load(tmp_path / "o/street.ids.png")
    assert ids.dtype.itemsize > 1 and 280 <= ids.min() and ids.max() < 300
    present = {c["id"]: c["pixels"] for c in json.loads(r.stdout)["classes"]}
    assert present == dict(zip(*numpy.unique(ids, return_counts=True)))
    depth_and_colour = (tmp_path / "o/street.ids.png").read_bytes()[24:26]
    assert depth_and_colour == b"\x10\x00"


def test_json(segment, picture, ids_of):
    r = segment("--json", picture)
    assert r.returncode == 0 and r.stdout.count(b"\n") == 1 and not r.stderr
    line = json.loads(r.stdout)
    assert names(picture.parent) == ["street.png"]
    assert (line["file"], line["width"], line["height"]) == (str(picture), 60, 44)
    assert sum(c["share"] for c in line["classes"]) == pytest.approx(1, abs=1e-5)
    assert line["classes"] == sorted(line["classes"], key=lambda c: -c["pixels"])
    assert set(line["ms"]) == {"read", "network", "write"} and line["ms"]["network"] > 0
    counts = dict(zip(*numpy.unique(ids_of(picture), return_counts=True)))
    assert {c["id"]: c["pixels"] for c in line["classes"]} == counts


def test_json_beside_pictures(segment, picture, tmp_path):
    r = segment("--json", "-o", tmp_path / "o.png", picture)
    assert json.loads(r.stdout) and load(tmp_path / "o.png").shape == (44, 60, 3)
    r = segment("--json", "--ids", "-o", tmp_path / "o.json", picture)
    assert json.loads((tmp_path / "o.json").read_text()) and not r.stdout
    assert names(picture.parent) == ["street.ids.png", "street.png"]


def test_json_survives_any_file_name(segment, picture):
    strange = os.fsencode(picture.parent) + b'/a "q" \\ \x01 \xff\xc3\xa4' \
        + b"\xed\xa0\x80-\xe0\x80\x80-\xf4\x90\x80\x80-\xf0\x80\x80\x80-\xf0\x9f\x98\x80.png"
    os.rename(picture, strange)
    file = json.loads(segment("--json", strange).stdout)["file"]
    bad = ["\ufffd" * 3, "\ufffd" * 3, "\ufffd" * 4, "\ufffd" * 4]
    assert file.endswith('/a "q" \\ \x01 \ufffd\u00e4' + "-".join(bad) + "-\U0001f600.png")


# Pictures -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [(1, 1), (1, 9), (13, 1), (3, 2), (31, 97), (65, 64), (223, 75),
                                  (16384, 1), (1, 16384)])
def test_odd_sizes(ids_of, tmp_path, size):
    Image.fromarray(pixels(*size)).save(tmp_path / "p.png")
    assert ids_of(tmp_path / "p.png").shape == size[::-1]


def test_picture_formats_agree(ids_of, tmp_path):
    """RGBA, PPM, a palette, grey and 16 bits give what the same pixels give as RGB."""
    rgb, grey = pixels(61, 45), pixels(61, 45, 1)[:, :, 0]
    alpha = numpy.dstack([rgb, pixels(61, 45, 1)])
    few = rgb // 64 * 64
    for name, array in {"rgb": rgb, "rgba": alpha, "grey": grey, "few": few,
                        "grey3": numpy.dstack([grey] * 3)}.items():
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    Image.fromarray(rgb).save(tmp_path / "rgb.ppm")
    Image.fromarray(grey.astype(numpy.uint16) * 257).save(tmp_path / "grey16.png")
    Image.fromarray(few).quantize(256, dither=0).save(tmp_path / "palette.png")
    unpacked = Image.open(tmp_path / "palette.png").convert("RGB")
    assert (numpy.asarray(unpacked) == few).all()
    for one, other in [("rgb.png", "rgba.png"), ("rgb.png", "rgb.ppm"), ("grey3.png", "grey.png"),
                       ("grey3.png", "grey16.png"), ("few.png", "palette.png")]:
        assert (ids_of(tmp_path / one) == ids_of(tmp_path / other)).all(), other


def test_jpeg(ids_of):
    assert ids_of(PHOTO, "--size", "100").shape == (540, 960)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_stand_upright(segment, tmp_path, orientation):
    """A phone's photo, as PIL turns it."""
    exif = Image.Exif()
    exif[0x112] = orientation
    Image.fromarray(pixels(40, 24)).save(tmp_path / "p.jpg", exif=exif, quality=95)
    upright = numpy.asarray(ImageOps.exif_transpose(Image.open(tmp_path / "p.jpg")))
    assert segment("--opacity=0", "-o", tmp_path / "o.png", tmp_path / "p.jpg").returncode == 0
    got = load(tmp_path / "o.png")
    assert got.shape == upright.shape
    assert abs(got.astype(int) - upright).mean() < 4      # two JPEG decoders


@pytest.mark.parametrize("damage, words", [
    ("missing", "No such file"), ("directory", "Is a directory"), ("empty", "file is empty"),
    ("text", "no PNG, JPEG or PNM picture"), ("cut", "the file is cut short"),
    ("changed", "the checksum of its IHDR chunk differs")])
def test_bad_pictures_fail_and_the_others_are_done(segment, picture, tmp_path, damage, words):
    bad = tmp_path / "bad.png"
    whole = picture.read_bytes()
    if damage == "directory":
        bad.mkdir()
    elif damage != "missing":
        bad.write_bytes({"empty": b"", "text": b"hello\n", "cut": whole[:len(whole) // 2],
                         "changed": whole[:16] + b"\x7f\xff\xff\xff" * 2 + whole[24:]}[damage])
    refused(segment(bad), 1, "bad.png", words)
    other = picture.with_name("other.png")
    shutil.copy(picture, other)
    refused(segment("--ids", "-o", tmp_path / "out", picture, bad, other), 1, "bad.png", words)
    assert names(tmp_path / "out") == ["other.ids.png", "street.ids.png"]


@pytest.fixture(scope="module")
def sanitized(tmp_path_factory):
    program = tmp_path_factory.mktemp("sanitized") / "segment"
    subprocess.run(["gcc", "-std=c99", "-fsanitize=address", "-DSWIN_NO_SIMD", "-o", program,
                    ROOT / "examples/segment.c", "-lm", "-lpthread"], check=True)
    return program


@pytest.mark.parametrize("name", ["p.png", "p.jpg", "p.ppm"])
def test_flipped_bytes_never_crash(sanitized, model, tmp_path, name):
    path, damaged = tmp_path / name, tmp_path / f"damaged-{name}"
    Image.fromarray(pixels(24, 17)).save(path)
    whole, random = path.read_bytes(), numpy.random.default_rng(3)
    statuses = set()
    for _ in range(40):
        data = bytearray(whole)
        for _ in range(random.integers(1, 4)):
            data[random.integers(len(data))] = random.integers(256)
        damaged.write_bytes(data[:random.integers(len(data) // 2, len(data) + 1)])
        r = run(sanitized, "-m", model, "--size", "20", "--threads", "1", "--json", damaged)
        assert r.returncode in (0, 1) and b"Sanitizer" not in r.stderr, r.stderr
        statuses.add(r.returncode)
    assert 1 in statuses


# Inputs and outputs -------------------------------------------------------------------------------

def test_standard_input_and_output(segment, picture):
    expected = segment("--ids", "-o", "-", picture)
    assert load(io.BytesIO(expected.stdout)).shape == (44, 60)
    r = segment("--ids", "-", input=picture.read_bytes())
    assert (r.returncode, r.stdout, r.stderr) == (0, expected.stdout, b"")
    assert json.loads(segment("--json", "-", input=picture.read_bytes()).stdout)["file"] == "-"
    refused(segment("-", input=b""), 1, "-: ", "empty")


def test_standard_input_into_a_directory(segment, picture, tmp_path):
    r = segment("--ids", "-o", f"{tmp_path}/new/", "-", input=picture.read_bytes())
    assert r.returncode == 0
    assert names(tmp_path / "new") == ["stdin.ids.png"]


def test_output_names(segment, picture, tmp_path):
    second = picture.with_name("a.b.jpeg")
    Image.fromarray(pixels(20, 20)).save(second)
    assert segment("--mask", second, picture).returncode == 0
    assert names(picture.parent) == ["a.b.jpeg", "a.b.mask.png", "street.mask.png", "street.png"]
    assert segment("-o", tmp_path / "x", "--ids", picture, second).returncode == 0
    assert names(tmp_path / "x") == ["a.b.ids.png", "street.ids.png"]
    assert segment("-o", tmp_path / "x", picture).returncode == 0      # a directory already
    assert names(tmp_path / "x") == ["a.b.ids.png", "street.ids.png", "street.overlay.png"]
    assert segment("-o", tmp_path / "one", picture).returncode == 0
    assert load(tmp_path / "one").shape == (44, 60, 3)


def test_pictures_over_each_other_are_refused(segment, picture, tmp_path):
    (tmp_path / "b").mkdir()
    shutil.copy(picture, tmp_path / "b/street.png")
    r = segment("--ids", "-o", tmp_path / "x", picture, tmp_path / "b/street.png")
    refused(r, 2, "street.ids.png")
    assert names(tmp_path) == ["b", "in"]


def test_outputs_that_cannot_be_written(segment, picture, tmp_path):
    refused(segment("-o", tmp_path / "nowhere/x.png", picture), 1, "nowhere/x.png", "No such file")
    refused(segment("-o", picture, "--ids", "--mask", picture), 2, "street.png", "directory")
    for options in (["--json"], ["--ids", "-o", "-"]):
        with open("/dev/full", "wb") as full:
            r = segment(*options, picture, stdout=full)
        assert r.returncode == 1 and r.stderr.startswith(b"segment: ")


def test_nothing_is_left_of_a_temporary_file(segment, picture, tmp_path):
    (tmp_path / "x.png").write_bytes(b"old")
    assert segment("-o", tmp_path / "x.png", picture).returncode == 0
    assert names(tmp_path) == ["in", "x.png"] and load(tmp_path / "x.png").shape == (44, 60, 3)


def contents(directory):
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("arguments", [
    "-o a.png a.png", "--ids -o a.png a.png", "-o ./a.png a.png", "-o a.png x/../a.png",
    "-o x/../a.png -- ./a.png", "-o hard.png a.png", "-o soft.png a.png", "-o a.png soft.png",
    "a.png b.png ./a.overlay.png", "--ids a.png x/b.png x/../a.ids.png",
    "-o x a.png x/a.overlay.png", "--json -o a.json a.png a.json", "--json -o w.json w.json",
    "--json -o W/../w.json w.json", "--ids -o twin a.png x/a.png", "--ids -o x a.png b.png a.jpg",
    "-o model.png a.png", "--json --ids -o linked.json a.png"])
def test_nothing_that_is_read_is_written_over(model, tmp_path, arguments):
    (tmp_path / "x").mkdir()
    (tmp_path / "W").mkdir()
    for name in ("a.png", "b.png", "x/a.png", "x/b.png", "a.overlay.png", "a.ids.png",
                 "x/a.overlay.png", "w.json", "a.json", "a.jpg"):
        Image.fromarray(pixels(9, 7)).save(tmp_path / name, "PNG")
    shutil.copy(model, tmp_path / "model.swin")
    os.link(tmp_path / "a.png", tmp_path / "hard.png")
    os.symlink("a.png", tmp_path / "soft.png")
    os.symlink("model.swin", tmp_path / "model.png")
    os.symlink("model.swin", tmp_path / "linked.json")
    before = contents(tmp_path)
    r = run(SEGMENT, "-m", "model.swin", *arguments.split(), cwd=tmp_path)
    refused(r, 2)
    assert contents(tmp_path) == before and not (tmp_path / "twin").exists()


@pytest.mark.parametrize("mode", ["ab", "r+b"])
@pytest.mark.parametrize("arguments", [["-o", "-"], ["--json"], ["--json", "-o", "o.json"],
                                       ["-o", "/dev/stdout"], ["--json", "--ids", "-o", "o.png"]])
def test_standard_output_is_no_file_that_is_read(segment, picture, arguments, mode):
    whole, silent = picture.read_bytes(), "o.json" in arguments
    with open(picture, mode) as f:
        r = segment(*arguments, picture, stdout=f, cwd=picture.parent)
    assert r.returncode == 0 if silent else r.returncode == 2 and b"is an IMAGE" in r.stderr
    assert picture.read_bytes() == whole


def test_two_results_in_the_file_of_standard_output(segment, picture, tmp_path):
    path = tmp_path / "o.png"
    for options in (["--json", "--ids", "-o", path], ["--json", "-o", "/dev/stdout"]):
        with open(path, "wb") as f:
            r = segment(*options, picture, stdout=f)
        assert r.returncode == 2 and b"two results" in r.stderr and not path.read_bytes()
    for options in (["-o", "-"], ["-o", "/dev/stdout"]):
        with open(path, "wb") as f:
            assert segment(*options, picture, stdout=f).returncode == 0
        assert load(path).shape == (44, 60, 3)


def test_nothing_is_recorded_in_a_pipe(model, tmp_path):
    pipe = fed(tmp_path / "pipe", model.read_bytes())
    refused(run(SEGMENT, "-m", pipe, "--record"), 3, "pipe", "no regular file")
    recorded = run(SEGMENT, "-m", "-", "--record", input=model.read_bytes())
    assert recorded.returncode == 0 and len(recorded.stdout) == model.stat().st_size


def test_standard_input_is_not_written_over(segment, picture):
    whole = picture.read_bytes()
    with open(picture, "rb") as f:
        refused(segment("--ids", "-o", picture, "-", stdin=f), 2, "street.png")
    assert picture.read_bytes() == whole


def test_results_of_an_earlier_run_are_not_pictures(segment, picture, tmp_path):
    """*.png finds them the second time: nobody wants results of results, yet one alone is fine."""
    assert segment("--overlay", "--ids", picture).returncode == 0
    before = contents(tmp_path)
    everything = sorted(picture.parent.glob("*.png"))
    assert len(everything) == 3
    refused(segment("--mask", *everything), 2, "street.ids.png", "leave it out")
    refused(segment("-o", tmp_path / "o", *everything[1:]), 2, "street.overlay.png")
    assert contents(tmp_path) == before
    assert segment("--mask", everything[1]).returncode == 0
    assert (picture.parent / "street.overlay.mask.png").exists()


@pytest.mark.parametrize("name", ["r.jpg", "r.JPG", "r.jpeg", "r.Tiff", "r.webp", "r.ppm", "r.json",
                                  "r.npy", "dir.d/r.bmp"])
def test_a_name_that_promises_another_format(segment, picture, tmp_path, name):
    (tmp_path / "dir.d").mkdir()
    refused(segment("-o", tmp_path / name, picture), 2, name, "PNG")
    refused(segment("--ids", "-o", tmp_path / name, picture, picture), 2, name, "PNG")
    assert names(tmp_path) == ["dir.d", "in"] and names(picture.parent) == ["street.png"]


@pytest.mark.parametrize("name", ["r.PNG", "r", "r.jpg.png", "jpg", "dir.jpg", "r.v2"])
def test_a_name_that_promises_nothing_else(segment, picture, tmp_path, name):
    (tmp_path / "dir.jpg").mkdir()
    assert segment("-o", tmp_path / name, picture).returncode == 0


def test_a_file_keeps_its_permissions_and_links(segment, picture, tmp_path):
    old, link = tmp_path / "old.png", tmp_path / "link.png"
    old.write_bytes(b"")
    old.chmod(0o640)
    link.symlink_to("old.png")
    before = os.umask(0o027)
    try:
        assert segment("-o", link, picture).returncode == 0
        assert segment("-o", tmp_path / "new.png", picture).returncode == 0
    finally:
        os.umask(before)
    assert link.is_symlink() and load(old).shape == (44, 60, 3)
    assert old.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "new.png").stat().st_mode & 0o777 == 0o640


def test_long_names(segment, picture, tmp_path):
    name = "x" * 247 + ".png"
    assert segment("-o", tmp_path / name, picture).returncode == 0
    assert names(tmp_path) == ["in", name]
    refused(segment("-o", tmp_path / ("x" * 300), picture), 1, "name too long")
    shutil.copy(picture, picture.with_name(name))
    refused(segment(picture.with_name(name)), 1, "name too long")
    assert names(tmp_path) == ["in", name]


def test_programs_that_write_one_file(model, tmp_path):
    """Each writes under a name of its own: one whole file is left, and no stray."""
    Image.fromarray(pixels(300, 200)).save(tmp_path / "p.png")
    command = [SEGMENT, "-m", model, "-q", "--size=16", "-o", tmp_path / "o.png",
               *["--", tmp_path / "p.png"]]
    for _ in range(4):
        programs = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(4)]
        for program in programs:
            assert program.communicate(timeout=120)[1] == b"" and program.returncode == 0
        assert load(tmp_path / "o.png").shape == (200, 300, 3)
        assert names(tmp_path) == ["o.png", "p.png"]


def test_streams_that_are_closed_full_or_broken(segment, model, picture):
    closed = {"preexec_fn": lambda: os.close(1), "stdout": None}
    said = b"segment: standard output: "
    for options in (["--json"], ["--ids", "-o", "-"]):
        r = segment(*options, picture, **closed)
        assert r.returncode == 1 and said in r.stderr, r.stderr
        with open("/dev/full", "wb") as full:
            r = segment(*options, picture, stdout=full)
        assert r.returncode == 1 and said in r.stderr and b"No space" in r.stderr
        reader, writer = os.pipe()
        os.close(reader)
        r = segment(*options, picture, stdout=writer)
        os.close(writer)
        assert r.returncode == 1 and said in r.stderr and b"Broken pipe" in r.stderr
    for option in ("--help", "--version"):
        with open("/dev/full", "wb") as full:
            assert run(SEGMENT, option, stdout=full).returncode == 1
    nothing_open = {"preexec_fn": lambda: os.closerange(0, 3), "stdout": None, "stderr": None,
                    "stdin": None}
    assert segment("--ids", picture, **nothing_open).returncode == 0
    assert load(picture.with_name("street.ids.png")).shape == (44, 60)
    refused(segment("-o", "/dev/full", picture), 1, "/dev/full", "No space")
    refused(segment("-o", "/proc/x.png", picture), 1, "/proc/x.png")


def fed(path, data):
    """A FIFO, and a thread that writes the data into it once it is opened."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(data,), daemon=True)
    thread.start()
    return path


def test_pipes_are_read_once(model, picture, ids_of, tmp_path):
    expected = ids_of(picture)
    assert (ids_of(fed(tmp_path / "f.png", picture.read_bytes())) == expected).all()
    pipe = fed(tmp_path / "f.swin", model.read_bytes())
    assert run(SEGMENT, "-m", pipe, "--ids", picture).returncode == 0
    assert (load(picture.with_name("street.ids.png")) == expected).all()
    r = run(SEGMENT, "-m", "-", "--ids", picture, input=model.read_bytes())
    assert r.returncode == 0, r.stderr


def limit_memory():
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


def test_endless_files(segment, model, picture, tmp_path):
    zero, limit = "/dev/zero", {"preexec_fn": limit_memory}
    refused(segment("--threads=1", zero, **limit), 1, zero, "512 MiB")
    refused(run(SEGMENT, "-m", zero, picture, **limit), 3, zero, "512 MiB")
    refused(run(TENSOR, model, zero, tmp_path / "o", **limit), 1, zero, "512 MiB")
    refused(run(TENSOR, zero, zero, tmp_path / "o", **limit), 3, zero, "512 MiB")
    refused(segment("/dev/null"), 1, "/dev/null", "empty")
    refused(run(SEGMENT, "-m", "/dev/null", picture), 3, "/dev/null")


def test_a_model_that_is_cut_in_use(model, picture, tmp_path):
    """The model is read, not mapped: what happens to the file later changes nothing."""
    mine = tmp_path / "mine.swin"
    shutil.copy(model, mine)
    pictures = [picture.with_name(f"{i}.png") for i in range(3)]
    for path in pictures[1:]:
        shutil.copy(picture, path)
    os.mkfifo(pictures[0])
    program = subprocess.Popen([SEGMENT, "-m", mine, "--ids", *pictures], stderr=subprocess.PIPE)
    with open(pictures[0], "wb") as f:      # opens when the program, its model read, does
        os.truncate(mine, 0)
        f.write(picture.read_bytes())
    assert program.communicate(timeout=120)[1] == b"" and program.returncode == 0
    assert len(list(picture.parent.glob("*.ids.png"))) == 3


# What the programs share --------------------------------------------------------------------------

@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """shared(body of main): a program that includes common.h, without the network."""
    def build(body, compiler="gcc"):
        directory = tmp_path_factory.mktemp("shared")
        (directory / "main.c").write_text(
            f'#include "{ROOT}/examples/common.h"\n'
            f"int main(int argc, char **argv)\n{{\n(void)argc, (void)argv;\n{body}\n}}\n")
        subprocess.run([compiler, "-std=c99", "-Wall", "-Wextra", "-Werror",
                        "-DSWIN_MAX_SIDE=16384", directory / "main.c", "-o", directory / "main",
                        "-lpthread"], check=True)
        return directory / "main"
    return build


def test_threads_are_those_that_may_run(segment, picture):
    one = min(os.sched_getaffinity(0))
    r = segment("--json", picture, preexec_fn=lambda: os.sched_setaffinity(0, {one}))
    assert json.loads(r.stdout)["threads"] == 1
    r = segment("--json", "--threads=3", picture, preexec_fn=lambda: os.sched_setaffinity(0, {one}))
    assert json.loads(r.stdout)["threads"] == 3


@pytest.mark.parametrize("groups, files, expected", [
    ("0::/a/b", {}, 0), ("0::/a/b", {"a/b/cpu.max": "max 100000"}, 0),
    ("0::/a/b", {"a/b/cpu.max": "150000 100000"}, 2),
    ("0::/a/b", {"a/b/cpu.max": "5000 100000"}, 1),
    ("0::/a/b", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
    ("0::/a/b", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "700000 100000"}, 2),
    ("0::/", {"cpu.max": "400000 100000"}, 4), ("0::/x/y", {"cpu.max": "250000 100000"}, 3),
    ("0::/a:b", {"a:b/cpu.max": "100000 50000"}, 2), ("0::/a", {"a/cpu.max": "nonsense"}, 0),
    ("1:name=systemd:/a\n0::/a", {"unified/a/cpu.max": "200000 100000"}, 2),
    ("4:memory:/m\n3:cpu,cpuacct:/c", {"cpu,cpuacct/c/cpu.cfs_quota_us": "150000",
                                       "cpu,cpuacct/c/cpu.cfs_period_us": "100000"}, 2),
    ("4:cpuset:/m\n3:cpu:/docker/1", {"cpu/cpu.cfs_quota_us": "50000",
                                      "cpu/cpu.cfs_period_us": "100000"}, 1),
    ("3:cpu:/c", {"cpu/c/cpu.cfs_quota_us": "-1", "cpu/c/cpu.cfs_period_us": "100000"}, 0),
    ("3:cpu:/c", {"cpu/c/cpu.cfs_quota_us": "100000"}, 0),
    ("3:memory:/c", {"cpu/c/cpu.cfs_quota_us": "100000", "cpu/c/cpu.cfs_period_us": "100000"}, 0),
    ("", {}, 0), ("nonsense\n\n:", {}, 0)])
def test_quotas_of_control_groups(quota, tmp_path, groups, files, expected):
    (tmp_path / "list").write_text(groups + "\n")
    for name, text in files.items():
        path = tmp_path / "mounts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    r = run(quota, tmp_path / "list", tmp_path / "mounts")
    assert int(r.stdout) == expected


@pytest.fixture(scope="module")
def quota(shared):
    return shared('printf("%d\\n", groups_quota(argv[1], argv[2])); return 0;')


def test_a_signal_leaves_no_temporary_file(shared, tmp_path):
    program = shared("FILE *f = temporary_new(argv[1]);\n"
                     'if (!f || argc < 3) return 1;\nfputs("x", f);\nfflush(f);\n'
                     "raise(atoi(argv[2]));\nreturn 2;")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        ended = run(program, tmp_path / "o.png", str(int(number)))
        assert ended.returncode == -number
        assert names(tmp_path) == []
    assert run(program, tmp_path / "o.png", str(int(signal.SIGKILL))).returncode < 0
    assert len(names(tmp_path)) == 1


@pytest.mark.skipif(not shutil.which("musl-gcc"), reason="needs musl-tools")
def test_another_c_library(shared):
    assert run(shared("return processor_count() < 1;", "musl-gcc")).returncode == 0


# Options ------------------------------------------------------------------------------------------

def test_help_and_version(segment):
    r = run(SEGMENT, "--help")
    assert r.returncode == 0 and r.stdout.startswith(b"usage: segment") and not r.stderr
    assert max(map(len, r.stdout.decode().splitlines())) < 80
    assert run(SEGMENT, "-h").stdout == r.stdout
    assert run(SEGMENT, "--version").stdout.split()[0] == b"segment"
    assert run(TENSOR, "--help").stdout.startswith(b"usage: tensor")


@pytest.mark.parametrize("arguments, word", [
    ([], "no IMAGE"), (["--nonsense", "x.png"], "--nonsense"), (["-z", "x.png"], "-z"),
    (["x.png", "-o"], "-o"), (["--ids=3", "x.png"], "--ids=3"),
    (["--size", "0", "x.png"], "--size"), (["--size", "12x", "x.png"], "--size"),
    (["--threads", "-1", "x.png"], "--threads"), (["--threads=9999", "x.png"], "--threads"),
    (["--opacity", "1.5", "x.png"], "--opacity"), (["--opacity", "nan", "x.png"], "--opacity"),
    (["--cpu", "mmx", "x.png"], "mmx"), (["--self-test", "x.png"], "no IMAGE"),
    (["-", "-"], "standard input"), (["-o", "-", "x.png", "y.png"], "standard output"),
    (["--ids", "--mask", "-"], "standard output"), (["--json", "--ids", "-"], "standard output")])
def test_wrong_usage(segment, arguments, word):
    refused(segment(*arguments), 2, word)


def test_an_instruction_set_of_another_machine(segment, picture, cpus):
    foreign = "neon" if "avx2" in cpus else "avx2"
    refused(segment("--cpu", foreign, picture), 2, foreign)


def test_a_name_that_no_instruction_set_has(segment, picture):
    """However long, it leaves room for those that there are."""
    refused(segment("--cpu", "mmx" * 50, picture), 2, "no instruction set 'mmxmmx",
            "': best scalar wasm neon neon_dot neon_i8mm avx2 avx2_vnni avx512 avx512_vnni avx512_amx\n")


def test_spellings(model, picture, tmp_path):
    out = tmp_path / "o.png"
    shutil.copy(picture, picture.with_name("-dash.png"))
    written = set()
    for arguments in ([f"--model={model}", f"--output={out}", picture],
                      [f"-m{model}", f"-o{out}", "--", picture],
                      ["-m", model, "-o", out, "--", "-dash.png"]):
        assert run(SEGMENT, "--ids", *arguments, cwd=picture.parent).returncode == 0
        written.add(out.read_bytes())
        out.unlink()
    assert len(written) == 1


def test_threads_and_instruction_sets_change_no_bit(ids_of, cpus):
    expected = ids_of(PHOTO, "--size", "90")
    assert len(numpy.unique(expected)) > 2
    for options in [("--threads", n) for n in "1237"] + [("--cpu", cpu) for cpu in ["best", *cpus]]:
        assert (ids_of(PHOTO, "--size", "90", *options) == expected).all(), options


def test_size(segment, picture):
    line = json.loads(segment("--json", "--size", "32", PHOTO).stdout)
    assert (line["input_width"], line["input_height"]) == (32, 18)
    assert (line["width"], line["height"]) == (960, 540)


def on_a_terminal(*command):
    """What a terminal shows of stderr."""
    master, slave = pty.openpty()
    status = run(*command, stderr=slave).returncode
    os.close(slave)
    text = b""
    while True:
        try:
            text += os.read(master, 1 << 16)
        except OSError:
            break
    os.close(master)
    return status, text.decode()


def test_a_terminal_gets_a_progress_bar(model, segment, picture):
    second = picture.with_name("b.png")
    shutil.copy(picture, second)
    status, text = on_a_terminal(SEGMENT, "-m", model, picture, second)
    assert status == 0 and "] 1/2" in text and f"{picture}: 60x44 in" in text
    assert on_a_terminal(SEGMENT, "-m", model, "-q", picture, second) == (0, "")
    assert segment(picture, second).stderr == b""


# The model ----------------------------------------------------------------------------------------

def test_models_that_cannot_be_used(model, picture, tmp_path, changed):
    whole, bad = model.read_bytes(), tmp_path / "bad.swin"
    refused(run(SEGMENT, "-m", tmp_path / "none.swin", picture), 3, "none.swin", "No such file")
    refused(run(SEGMENT, "-m", tmp_path, picture), 3, "Is a directory")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    for data in (b"", b"hello", whole[:-64], whole[:100], bytes(flipped)):
        bad.write_bytes(data)
        refused(run(SEGMENT, "-m", bad, picture), 3, "bad.swin")
    bad.write_bytes(b"PK, as a checkpoint begins")
    refused(run(SEGMENT, "-m", bad, picture), 3, "tools/convert.py makes them")
    headless = changed(lambda state: [state.pop(k) for k in list(state) if "head." in k])
    refused(run(SEGMENT, "-m", headless, picture), 3, "features only")


def test_where_the_model_is_looked_for(model, picture, tmp_path):
    program = tmp_path / "p/bin/segment"
    program.parent.mkdir(parents=True)
    shutil.copy(SEGMENT, program)
    clean = {k: v for k, v in os.environ.items() if k != "SWIN_MODEL"}
    refused(run(program, picture, env=clean), 3, "street.swin", "No such file")
    for place in ("p/bin", "p/weights", "p/share/swin"):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        shutil.copy(model, tmp_path / place / "street.swin")
        assert run(program, picture, env=clean).returncode == 0
        in_path = {**clean, "PATH": str(program.parent)}
        assert run("segment", picture, env=in_path, executable=program).returncode == 0
        (tmp_path / place / "street.swin").unlink()
    assert run(program, picture, env={**clean, "SWIN_MODEL": str(model)}).returncode == 0
    refused(run(program, picture, env={**clean, "SWIN_MODEL": "x.swin"}), 3, "x.swin")


def tampered(model, path, change):
    """The model after change(its bytes), with its checksum made right again, at path."""
    data = bytearray(model.read_bytes())
    change(data)
    words = numpy.frombuffer(bytes(data), "<u4").copy()
    sums = words[8:].cumsum(dtype=numpy.uint32)
    words[6:8] = sums[-1], sums.sum(dtype=numpy.uint32)
    path.write_bytes(words.tobytes())
    return path


def last_tensor(data):
    """Where the last tensor's numbers start."""
    words = numpy.frombuffer(bytes(data), "<u4")
    directory, count = words[[12, 14]]
    return int(words[(directory + 128 * (count - 1) + 88) // 4])


def spoil(data, value):
    """The last tensor's first four numbers become the value."""
    start = last_tensor(data)
    data[start:start + 16] = numpy.full(4, value, "<f4").tobytes()


def strict_json(text):
    def no(constant):
        raise ValueError(constant)
    return json.loads(text, parse_constant=no)


@pytest.mark.parametrize("value", [numpy.nan, numpy.inf, -numpy.inf])
def test_weights_that_are_no_numbers(model, convert, picture, tmp_path, value):
    classifier = convert("fam-tv-swin-cls")
    bad = tampered(classifier, tmp_path / "c.swin", lambda data: spoil(data, value))
    r = run(SEGMENT, "-m", bad, "--json", picture)
    assert r.returncode == 0
    scores = [c["score"] for c in strict_json(r.stdout)["classes"]]
    if value != -numpy.inf:                 # which is a bias of classes that never come
        assert scores == [None] * 5
        refused(run(SEGMENT, "-m", bad, picture), 1, "NaN")
    bad = tampered(model, tmp_path / "s.swin", lambda data: spoil(data, value))
    for options in ([], ["--confidence", "--flip"], ["--attend=3,3", "--attend-stage=0"]):
        r = run(SEGMENT, "-m", bad, "--json", "-o", tmp_path / "o.png", *options, picture)
        assert r.returncode == 0 and strict_json(r.stdout)["width"] == 60, r.stderr


def test_json_survives_any_class_name(convert, picture, tmp_path):
    strange = [b'q"\\', b"\x01\n", b"\xff\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80",
               "\u20ac\U0001f600".encode()]
    plain = [bytes([65 + i]) * 8 for i in range(6)]
    (tmp_path / "names.txt").write_bytes(b"\n".join(plain))
    classifier = convert("fam-tv-swin-cls", "--classes", str(tmp_path / "names.txt"))

    def rename(data):
        for old, new in zip(plain, strange):
            assert data.count(old) == 1
            at = data.index(old)
            data[at:at + 8] = new.ljust(8, b".")

    bad = tampered(classifier, tmp_path / "c.swin", rename)
    r = run(SEGMENT, "-m", bad, "--json", "--top=6", picture)
    if r.returncode == 3:
        return refused(r, 3, "c.swin")      # a reader may refuse such names
    found = {c["id"]: c["name"] for c in strict_json(r.stdout.decode())["classes"]}
    assert [found[i] for i in range(6)] == [
        'q"\\.....', "\x01\n......", "\ufffd" * 3 + ".....", "\ufffd" * 3 + ".....",
        "\ufffd" * 4 + "....", "\u20ac\U0001f600."]


def test_keys_of_json_keep_their_order(segment, picture):
    line = json.loads(segment("--json", picture).stdout)
    assert list(line) == ["schema", "file", "model", "width", "height", "input_width",
                          "input_height", "cpu", "threads", "workspace", "ms", "classes"]
    assert list(line["classes"][0]) == ["id", "name", "color", "pixels", "share"]


def test_self_test(model, tmp_path, cpus):
    mine = tmp_path / "mine.swin"
    shutil.copy(model, mine)
    refused(run(SEGMENT, "-m", mine, "--self-test"), 3, "no reference")
    assert run(SEGMENT, "-m", mine, "--record").returncode == 0
    assert names(tmp_path) == ["mine.swin"] and mine.stat().st_size == model.stat().st_size
    r = run(SEGMENT, "-m", mine, "--self-test", "--threads", "3")
    assert r.returncode == 0
    assert {line.split()[0].decode() for line in r.stdout.splitlines()} == set(cpus)
    assert len(run(SEGMENT, "-m", mine, "--self-test", "--cpu", "scalar").stdout.splitlines()) == 1


@pytest.mark.parametrize("shipped", sorted((ROOT / "weights").glob("*.swin")), ids=lambda x: x.stem)
def test_a_shipped_model_gives_the_bits_it_was_recorded_with(shipped, cpus):
    r = run(SEGMENT, "-m", shipped, "--self-test")
    assert r.returncode == 0 and len(r.stdout.splitlines()) == len(cpus), r.stderr


def test_self_test_finds_one_wrong_bit(model, tmp_path):
    """The lowest bit of the last tensor's first number flips."""
    path = tmp_path / "mine.swin"
    shutil.copy(model, path)
    assert run(SEGMENT, "-m", path, "--record").returncode == 0

    def flip(data):
        data[last_tensor(data)] ^= 1

    refused(run(SEGMENT, "-m", tampered(path, path, flip), "--self-test"), 3, "other bits")


# make ---------------------------------------------------------------------------------------------

def make(target, *arguments):
    r = run("make", "-C", ROOT, f"BUILD={BUILD}", target, *arguments)
    assert r.returncode == 0, r.stderr.decode()
    return r.stdout.decode()


def test_make_demo():
    said = make("demo").splitlines()
    for photo in PHOTO.parent.glob("*.jpg"):
        path = BUILD / f"demo/{photo.stem}.overlay.png"
        assert str(path) in said and load(path).shape == load(photo).shape


def test_make_install(tmp_path, picture):
    make("install", f"DESTDIR={tmp_path}", "PREFIX=/opt/swin")
    prefix = tmp_path / "opt/swin"
    package = (prefix / "lib/pkgconfig/swin.pc").read_text()
    version = run(prefix / "bin/segment", "--version").stdout.split()[1].decode()
    assert f"\nVersion: {version}\n" in package and package.startswith("prefix=/opt/swin\n")
    assert (prefix / "include/swin.h").read_bytes() == (ROOT / "swin.h").read_bytes()
    clean = {k: v for k, v in os.environ.items() if k != "SWIN_MODEL"}
    assert run(prefix / "bin/segment", picture, env=clean).returncode == 0


# build/tensor -------------------------------------------------------------------------------------

@pytest.fixture
def array(tmp_path):
    path = tmp_path / "in.npy"
    values = numpy.random.default_rng(1).normal(size=(3, 37, 50)).astype(numpy.float32)
    numpy.save(path, values)
    return path, values


def outputs(directory, prefix):
    return {p.name[len(prefix):]: p.read_bytes() for p in directory.glob(f"{prefix}.*")}


def test_tensor_contract(model, array, tmp_path):
    path, values = array
    assert run(TENSOR, model, path, tmp_path / "o").returncode == 0
    got = {name: numpy.load(tmp_path / f"o{name}") for name in outputs(tmp_path, "o")}
    assert set(got) == {".logits.npy", ".classes.npy", *(f".feature{i}.npy" for i in range(4))}
    assert got[".classes.npy"].shape == (37, 50) and got[".classes.npy"].dtype == numpy.uint16
    assert got[".logits.npy"].shape[0] == 5
    for name, a in got.items():
        assert name == ".classes.npy" or (a.dtype == numpy.float32 and a.ndim == 3)
        assert a.flags.c_contiguous and (tmp_path / f"o{name}").stat().st_size % 2 == 0


def test_tensor_without_a_head(changed, array, tmp_path):
    headless = changed(lambda state: [state.pop(k) for k in list(state) if "head." in k])
    assert run(TENSOR, headless, array[0], tmp_path / "o").returncode == 0
    assert set(outputs(tmp_path, "o")) == {f".feature{i}.npy" for i in range(4)}


def test_tensor_same_bytes_any_way(model, array, tmp_path, cpus):
    run(TENSOR, model, array[0], tmp_path / "o")
    expected = outputs(tmp_path, "o")
    for n, options in enumerate([("--threads", n) for n in "1237"] + [("--cpu", c) for c in cpus]):
        assert run(TENSOR, model, array[0], tmp_path / f"o{n}", *options).returncode == 0
        assert outputs(tmp_path, f"o{n}") == expected, options


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_npy_versions(model, array, tmp_path, version):
    run(TENSOR, model, array[0], tmp_path / "o")
    with open(tmp_path / "v.npy", "wb") as f:
        numpy.lib.format.write_array(f, array[1], version=version)
    assert run(TENSOR, model, tmp_path / "v.npy", tmp_path / "v").returncode == 0
    assert outputs(tmp_path, "v").pop(".logits.npy") == outputs(tmp_path, "o").pop(".logits.npy")


def header(text):
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


def shape(text):
    return header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': {text}}}")


@pytest.mark.parametrize("data, word", [
    (b"", "not a .npy"), (b"\x93NUMPY\x09\x00aaaaaaaaaa", "not a .npy"),
    (b"\x93NUMPY\x01\x00\xff\xffxxxx", "header"), (header("{}"), "lacks"),
    (shape("(3, 9, 9), "), "ends before"), (shape("(3, 99999999999, 9)"), "shape"),
    (shape("(3, 2000000000, 200)"), "ends before"), (shape("(3, 0, 9)"), "shape"),
    (shape("(3, 9)"), "shape"), (shape("(3, 1, 1, 1)"), "shape"), (shape("3"), "shape"),
    (shape("(4, 1, 1)") + bytes(16), "[3,H,W]")])
def test_damaged_npy(model, tmp_path, data, word):
    (tmp_path / "bad.npy").write_bytes(data)
    refused(run(TENSOR, model, tmp_path / "bad.npy", tmp_path / "o"), 1, "bad.npy", word)
    assert names(tmp_path) == ["bad.npy"]


@pytest.mark.parametrize("convert_array, word", [
    (lambda a: a.astype(float), "<f8"), (lambda a: a.astype(">f4"), ">f4"),
    (numpy.asfortranarray, "Fortran")])
def test_other_npy_are_refused_by_name(model, array, tmp_path, convert_array, word):
    numpy.save(tmp_path / "other.npy", convert_array(array[1]))
    refused(run(TENSOR, model, tmp_path / "other.npy", tmp_path / "o"), 1, word)


@pytest.mark.parametrize("name", ["logits", "classes", "feature2"])
def test_tensor_does_not_write_over_what_it_reads(model, array, tmp_path, name):
    path = tmp_path / f"o.{name}.npy"
    os.rename(array[0], path)
    refused(run(TENSOR, model, path, tmp_path / "o"), 2, path.name)
    os.symlink(path, tmp_path / "link.npy")
    refused(run(TENSOR, model, tmp_path / "link.npy", f"{tmp_path}/../{tmp_path.name}/o"), 2,
            path.name)
    shutil.copy(model, tmp_path / "m.swin")
    os.link(tmp_path / "m.swin", tmp_path / f"p.{name}.npy")
    refused(run(TENSOR, tmp_path / "m.swin", path, tmp_path / "p"), 2, f"p.{name}.npy")
    assert (numpy.load(path) == array[1]).all() and len(names(tmp_path)) == 4


def test_tensor_takes_any_float_and_pipes(model, array, tmp_path):
    values = array[1].copy()
    values[0, 3, 3:6] = numpy.nan, numpy.inf, -numpy.inf
    numpy.save(tmp_path / "nan.npy", values)
    assert run(TENSOR, model, tmp_path / "nan.npy", tmp_path / "n").returncode == 0
    assert numpy.isnan(numpy.load(tmp_path / "n.feature0.npy")).any()
    assert numpy.load(tmp_path / "n.classes.npy").max() < 5
    assert run(TENSOR, model, array[0], tmp_path / "o").returncode == 0
    pipe = fed(tmp_path / "f.npy", array[0].read_bytes())
    assert run(TENSOR, model, pipe, tmp_path / "p").returncode == 0
    assert outputs(tmp_path, "p") == outputs(tmp_path, "o")


@pytest.mark.parametrize("value", ["4294967296,0,0", "0,0,4294967296", "1,1", "1,1,1,1", "-1,0,0",
                                   "1,1,1x", " 1,1,1", ""])
def test_tensor_attend(model, array, tmp_path, value):
    refused(run(TENSOR, model, array[0], tmp_path / "o", "--attend", value), 2, "--attend")


def test_tensor_exit_codes(model, array, tmp_path):
    path, out = array[0], tmp_path / "o"
    refused(run(TENSOR, tmp_path / "none.swin", path, out), 3, "none.swin")
    refused(run(TENSOR, path, path, out), 3, "in.npy")
    refused(run(TENSOR, model, tmp_path / "none.npy", out), 1, "none.npy")
    refused(run(TENSOR, model, path, tmp_path / "nowhere/o"), 1, "nowhere")
    refused(run(TENSOR, model, path, out, "--cpu", "mmx"), 2, "mmx")
    refused(run(TENSOR, model, path, out, "--threads", "0"), 2, "--threads")
    for arguments in ((), (model, path), (model, path, out, out), (model, path, out, "--x"),
                      (model, path, out, "--stride", "4x4")):
        r = run(TENSOR, *arguments)
        assert r.returncode == 2 and r.stderr.startswith(b"usage: tensor")
    assert names(tmp_path) == ["in.npy"]


# Ways to run a network ----------------------------------------------------------------------------

def softmax_of(model, image, tmp_path, *options):
    """float64 softmax [classes,H,W] of an RGB picture as build/tensor's logits give it."""
    planes = ((image.astype(numpy.float32) - MEAN) / STD).transpose(2, 0, 1)
    numpy.save(tmp_path / "t.npy", planes)
    assert run(TENSOR, model, tmp_path / "t.npy", tmp_path / "t", *options).returncode == 0
    logits = torch.from_numpy(numpy.load(tmp_path / "t.logits.npy"))[None].double()
    logits = torch.nn.functional.interpolate(logits, image.shape[:2], mode="bilinear")
    return logits.softmax(1)[0].numpy()


def test_confidence_and_threshold(segment, model, picture, tmp_path):
    r = segment("--confidence", "--ids", "--threshold=0.4", "-o", tmp_path / "o/", picture)
    assert r.returncode == 0, r.stderr
    softmax = softmax_of(model, load(picture), tmp_path)
    sure, ids = softmax.max(0), softmax.argmax(0)
    assert abs(load(tmp_path / "o/street.confidence.png") - 255 * sure).max() <= 0.501
    got, doubt = load(tmp_path / "o/street.ids.png"), sure < 0.4
    clear = (abs(sure - 0.4) > 1e-4) & (numpy.sort(softmax, 0)[-2] < sure - 1e-4)
    assert doubt.any() and not doubt.all()
    assert (got == numpy.where(doubt, 255, ids))[clear].all()


# One class, which is told from its background -----------------------------------------------------

@pytest.fixture(scope="module")
def one_class(tmp_path_factory, convert):
    """The golden case with one output alone, that of its second class."""
    state = torch.load(GOLDEN / CASE / "checkpoint.pth", weights_only=True)["state_dict"]
    for key in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
        state[key] = state[key][1:2]
    path = tmp_path_factory.mktemp("checkpoint") / "one.pth"
    torch.save({"state_dict": state}, path)
    return lambda threshold: convert(path, "--threshold", threshold, *NORMALISATION)


@pytest.mark.parametrize("threshold", ["0.5", "0.3"])
def test_one_class_becomes_two(one_class, model, picture, tmp_path, threshold):
    """The logit is the source's; a pixel is of the class where its sigmoid exceeds the threshold."""
    save_planes(tmp_path / "in.npy", load(picture))
    for m, prefix in ((model, "all"), (one_class(threshold), "one")):
        assert run(TENSOR, m, tmp_path / "in.npy", tmp_path / prefix).returncode == 0
    logits = numpy.load(tmp_path / "one.logits.npy")
    assert (logits[0] == numpy.load(tmp_path / "all.logits.npy")[1]).all() and len(logits) == 1
    logit = torch.nn.functional.interpolate(
        torch.from_numpy(logits)[None].double(), (44, 60), mode="bilinear")[0, 0].numpy()
    least = numpy.log(float(threshold) / (1 - float(threshold)))
    classes, clear = numpy.load(tmp_path / "one.classes.npy"), abs(logit - least) > 1e-4
    assert (classes == (logit > least))[clear].all()
    assert 0 < classes.mean() < 1

    r = run(SEGMENT, "-m", one_class(threshold), "--alpha", "--bits=16", "--cutout", "--ids",
            "--confidence", "-o", tmp_path / "o/", "--size", "60", picture)
    assert r.returncode == 0, r.stderr
    matte = 1 / (1 + numpy.exp(least - logit))
    alpha = load(tmp_path / "o/street.alpha.png")
    assert alpha.dtype.itemsize > 1 and abs(alpha - 65535 * matte).max() <= 0.8
    cutout = load(tmp_path / "o/street.cutout.png")
    assert (cutout[..., :3] == load(picture)).all()
    assert abs(cutout[..., 3] - 255 * matte).max() <= 0.503
    assert (load(tmp_path / "o/street.ids.png") == classes).all()
    sure = numpy.maximum(matte, 1 - matte)
    assert abs(load(tmp_path / "o/street.confidence.png") - 255 * sure).max() <= 0.503


def test_a_matte_has_8_bits_unless_16_are_asked_for(one_class, picture, tmp_path):
    mattes = {}
    for bits in ("8", "16", None):
        out = tmp_path / f"{bits}.png"
        r = run(SEGMENT, "-m", one_class("0.5"), "--alpha", *(["--bits", bits] if bits else []),
                "-o", out, picture)
        assert r.returncode == 0, r.stderr
        mattes[bits] = load(out).astype(float)
        assert out.read_bytes()[24:26] == (b"\x10\x00" if bits == "16" else b"\x08\x00")
    assert (mattes["8"] == mattes[None]).all()
    assert abs(mattes["16"] / 257 - mattes["8"]).max() <= 0.503


def test_a_matte_averages_scales_and_flips(one_class, picture, tmp_path):
    """The mean of the runs' probabilities, as their confidences are averaged."""
    mattes = {}
    for name, options in {"as it is": (), "twice": ("--scales", "1,1"), "turned": ("--flip",)}.items():
        r = run(SEGMENT, "-m", one_class("0.5"), "--alpha", *options, "-o", tmp_path / "o.png",
                picture)
        assert r.returncode == 0, r.stderr
        mattes[name] = load(tmp_path / "o.png").astype(int)
    assert (mattes["as it is"] == mattes["twice"]).all()
    assert (mattes["as it is"] != mattes["turned"]).any()


def test_mattes_are_of_two_classes(segment, one_class, convert, picture):
    for option in ("--alpha", "--cutout"):
        refused(segment(option, picture), 3, "two classes", option)
        refused(run(SEGMENT, "-m", convert("fam-tv-swin-cls"), option, picture), 3, "classifier")
        refused(run(SEGMENT, "-m", one_class("0.5"), option, "--threshold=0.7", picture), 2,
                "--threshold")
    refused(segment("--bits", "16", picture), 2, "--bits needs --alpha")
    refused(segment("--alpha", "--bits", "12", picture), 2, "8 or 16")


# Panoptic results and instances -------------------------------------------------------------------

PANOPTIC = ("--overlap-share", "0")
INSTANCES = ("--segments", "instance")


@pytest.mark.parametrize("case, options", [
    ("seg-maskformer-d2", PANOPTIC), ("seg-mask2former-d2", PANOPTIC),
    ("seg-mask2former-d2", INSTANCES), ("seg-oneformer-hf", ("--task", "instance", *PANOPTIC))])
def test_segments_are_drawn_and_listed(case, options, convert, picture, tmp_path):
    """As build/tensor has them of the same input."""
    model = convert(case, "--things", "0,2", "--object-score", "0", *options, *NORMALISATION)
    save_planes(tmp_path / "in.npy", load(picture))
    assert run(TENSOR, model, tmp_path / "in.npy", tmp_path / "t").returncode == 0
    ids, regions = numpy.load(tmp_path / "t.segments.npy"), numpy.load(tmp_path / "t.regions.npy")
    r = run(SEGMENT, "-m", model, "--panoptic", "--json", "--size", "60", "--opacity", "1", "-o",
            tmp_path / "o.png", picture)
    assert r.returncode == 0, r.stderr
    listed = json.loads(r.stdout)["segments"]
    assert len(listed) == len(regions) > 0
    for s, region in zip(listed, regions):
        assert [s["id"], s["class"], s["thing"], s["area"], *s["box"]] == [
            *region[:3], *region[4:]] and abs(s["score"] - region[3]) < 1e-6
        assert s["thing"] == (s["class"] in (0, 2)) and s["name"]
    painted, above = load(tmp_path / "o.png"), numpy.zeros(ids.shape, bool)
    above[1:29, 1:-1] = True                        # the legend
    inside = numpy.logical_and.reduce([ids == numpy.roll(ids, step, axis)
                                       for step in (1, -1) for axis in (0, 1)])
    assert (painted[above & ~inside] >= 0.8 * 255 - 1).all() and (above & ~inside).any()
    colours = [painted[above & inside & (ids == s["id"])] for s in listed]
    assert all((colour == colour[:1]).all() for colour in colours) and any(map(len, colours))
    void = above & inside & (ids == 0)
    assert (painted[void] == load(picture)[void]).all()


def test_who_gives_no_segments(segment, convert, picture):
    refused(segment("--panoptic", picture), 3, "trained for panoptic results or instances")
    refused(run(SEGMENT, "-m", convert("fam-tv-swin-cls"), "--panoptic", picture), 3, "classifier")
    for option in ("--flip", "--scales=1,1", "--slide=32x32"):
        refused(segment("--panoptic", option, picture), 2, "--panoptic takes one look")


def test_flip_and_scales_average_softmaxes(segment, model, picture, tmp_path):
    image = load(picture)
    r = segment("--confidence", "--ids", "--flip", "-o", tmp_path / "o/", picture)
    assert r.returncode == 0, r.stderr
    mean = (softmax_of(model, image, tmp_path)
            + softmax_of(model, image[:, ::-1], tmp_path)[:, :, ::-1]) / 2
    assert abs(load(tmp_path / "o/street.confidence.png") - 255 * mean.max(0)).max() <= 0.501
    clear = numpy.sort(mean, 0)[-2] < mean.max(0) - 1e-4
    assert (load(tmp_path / "o/street.ids.png") == mean.argmax(0))[clear].all()

    maps = {}
    for scales in ("1", "1,1", "0.5", "1,0.5"):
        r = segment("--confidence", "-o", tmp_path / "s.png", "--scales", scales, picture)
        assert r.returncode == 0, r.stderr
        maps[scales] = load(tmp_path / "s.png").astype(int)
    assert (maps["1"] == maps["1,1"]).all() and (maps["1"] != maps["0.5"]).any()
    assert (maps["1,0.5"] <= (maps["1"] + maps["0.5"]) / 2 + 1).all()


def peak_memory(*command):
    """MiB of the process at its largest."""
    child = os.posix_spawn(command[0], list(map(str, command)), os.environ)
    _, status, usage = os.wait4(child, 0)
    assert status == 0
    return usage.ru_maxrss / 1024


def test_averages_take_little_memory(changed, tmp_path):
    """Softmaxes of 300 classes for every pixel would be 1.2 GB."""
    def widen(state):
        for key in ("decode_head.conv_seg.weight", "decode_head.conv_seg.bias"):
            state[key] = torch.cat([state[key]] * 60)

    many = changed(widen)
    Image.fromarray(pixels(1200, 900)).save(tmp_path / "p.png")
    command = (SEGMENT, "-m", many, "--size=64", "--threads=2", "--ids", "-o", tmp_path / "o.png",
               tmp_path / "p.png")
    plain = peak_memory(*command)
    for options in (["--flip"], ["--flip", "--scales=0.5,1"], ["--flip", "--slide=32x32"]):
        assert peak_memory(*command[:-3], *options, *command[-3:]) < plain + 32


def test_sliding_window_of_a_picture(segment, model, ids_of, picture, tmp_path):
    softmax_of(model, load(picture), tmp_path, "--crop", "24x32", "--stride", "20x16")
    expected = numpy.load(tmp_path / "t.logits.npy").argmax(0)
    got = ids_of(picture, "--slide=24x32", "--stride=20x16")
    assert (got == expected).mean() > 0.999 and (got != ids_of(picture)).any()
    assert (ids_of(picture, "--slide=24x32", "--whole") == ids_of(picture)).all()
    assert (ids_of(picture, "--slide=44x60") == ids_of(picture)).all()


def test_attention_picture(segment, picture, tmp_path):
    pictures = []
    for at in ("0,0", "59,43"):
        r = segment("--attend", at, "--attend-stage=0", "-o", tmp_path / "a.png", picture)
        assert r.returncode == 0, r.stderr
        pictures.append(load(tmp_path / "a.png"))
        x, y = map(int, at.split(","))
        assert pictures[-1].shape == (44, 60, 3) and (pictures[-1][y, x] == 255).all()
    glow = pictures[0].astype(int) - (0.3 * load(picture)).astype(int)
    assert (glow[..., 0] > 50).any() and (glow[10:, 10:, 0] < 5).any()      # the cross lies outside
    refused(segment("--attend=60,0", "--attend-stage=0", picture), 1, "attention", "pixel")
    refused(segment("--attend=0,0", "--attend-stage=1", picture), 1, "stage")


def test_classifier(convert, segment, picture, tmp_path):
    model = convert("fam-tv-swin-cls")
    r = run(SEGMENT, "-m", model, "--json", "--top=6", picture)
    classes = json.loads(r.stdout)["classes"]
    scores = [c["score"] for c in classes]
    assert len(classes) == 6 and scores == sorted(scores, reverse=True)
    assert abs(sum(scores) - 1) < 1e-4 and {c["id"] for c in classes} == set(range(6))
    r = run(SEGMENT, "-m", model, "--top", "2", picture)
    lines = r.stdout.decode().splitlines()
    assert len(lines) == 2 and classes[0]["name"] in lines[0] and classes[1]["name"] in lines[1]
    assert names(picture.parent) == ["street.png"]
    for option in ("--mask", "--ids", "--flip", "--record", "--self-test"):
        arguments = [option] if option in ("--record", "--self-test") else [option, picture]
        refused(run(SEGMENT, "-m", model, *arguments), 3, "classifier")
    refused(segment("--top=3", picture), 3, "no classifier")


@pytest.mark.parametrize("option", ["--threads", "--size", "--top", "--attend-stage"])
@pytest.mark.parametrize("value", ["", " 1", "1 ", "+1", "-1", "1.0", "1e0", "0x1", "1,", "one",
                                   "nan", "4294967297", "18446744073709551617", "1" * 400,
                                   "\u0661"])
def test_whole_numbers(segment, picture, option, value):
    refused(segment(f"{option}={value}", picture), 2, option, "expected")


@pytest.mark.parametrize("option", ["--opacity", "--threshold", "--scales"])
@pytest.mark.parametrize("value", ["", " 0.5", "0.5 ", "+0.5", "-0", "0x1p-1", "0X1", "nan", "inf",
                                   "infinity", "1e400", "0,5", "0.5.5", ".", "1e", "30", "1e1e1"])
def test_fractions(segment, picture, option, value):
    refused(segment(f"{option}={value}", picture), 2, option, "expected")


@pytest.mark.parametrize("arguments", [["--opacity=.5"], ["--opacity=5e-1"], ["--opacity=1."],
                                       ["--scales=1.5e0,.5"], ["--threads=007"]])
def test_numbers_that_are_good(segment, picture, arguments):
    assert segment(*arguments, picture).returncode == 0


@pytest.mark.parametrize("option, values", [
    ("--attend", ["4294967296,0", "0,4294967296", "-1,0", "0,-1", "1", "1,", ",1", "1,2,3", "1, 2",
                  " 1,2", "1;2", "0x1,2", "16384,0"]),
    ("--slide", ["4294967328x32", "32x4294967328", "32", "32x", "x32", "32x32x32", "32X32", "-3x3",
                 " 32x32", "32 x 32", "16385x1", "0x20x20"])])
def test_pairs_of_numbers(segment, picture, option, values):
    for value in values:
        refused(segment(f"{option}={value}", picture), 2, option, "expected")


def test_empty_names(segment, picture):
    refused(segment("-o", "", picture), 2, "-o", "expected")
    refused(run(SEGMENT, "-m", "", picture), 2, "-m", "expected")
    refused(segment(""), 2, "empty")


@pytest.mark.parametrize("arguments, word", [
    (["--threshold=2"], "from 0 to 1"), (["--slide=24"], "--slide"), (["--slide=0x5"], "--slide"),
    (["--stride=5x5"], "--slide"), (["--scales=1,,2"], "factors"), (["--scales=0"], "factors"),
    (["--attend=5"], "240,180"), (["--attend=1,2x"], "240,180"), (["--attend-stage=4"], "stage"),
    (["--attend=1,1", "--flip"], "--flip"), (["--top=0"], "number")])
def test_mistaken_ways(segment, picture, arguments, word):
    refused(segment(*arguments, picture), 2, word)
    assert names(picture.parent) == ["street.png"]
