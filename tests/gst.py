"""examples/gst: the element swinsegment in real pipelines; what takes a neighbour of its own is in
gst_element.c."""

import itertools
import json
import os
import re
import subprocess
import threading

import numpy
import pytest
import torch
from PIL import Image

from conftest import BUILD, GOLDEN, ROOT

PLUGIN = BUILD / "gst/libgstswin.so"
SOURCE = ROOT / "examples/gst/gstswinsegment.c"
CASE, OTHER = "seg-swin-fcn-w3", "seg-swin-upernet-w7"
STRICT = "-Wall -Wextra -Wpedantic -Wconversion -Wshadow -Wundef -Wcast-align -Werror".split()
# The bytes of a pixel, by their indices in red, green, blue and 255.
PACKED = {"RGB": [0, 1, 2], "BGR": [2, 1, 0], "RGBA": [0, 1, 2, 3], "BGRA": [2, 1, 0, 3],
          "RGBx": [0, 1, 2, 3], "BGRx": [2, 1, 0, 3]}
SIZES = [(60, 44), (45, 33), (7, 21)]
YUV = {"bt601": ("2:4:16:4", 0.299, 0.114, False), "bt601-full": ("1:4:0:0", 0.299, 0.114, True),
       "bt709": ("2:3:5:1", 0.2126, 0.0722, False), "bt709-full": ("1:3:5:1", 0.2126, 0.0722, True)}


@pytest.fixture(scope="session")
def environment(tmp_path_factory):
    """Of programs that find the element: the list of plugins is one of the tests' own."""
    variables = {k: v for k, v in os.environ.items() if k != "SWIN_MODEL"}
    return variables | {"GST_PLUGIN_PATH": str(PLUGIN.parent), "LC_ALL": "C",
                        "GST_REGISTRY": str(tmp_path_factory.mktemp("gst") / "registry.bin")}


@pytest.fixture
def run(environment):
    def start(*command, data=None, **variables):
        return subprocess.run(list(map(str, command)), env=environment | variables, input=data,
                              capture_output=True, timeout=300)
    return start


@pytest.fixture
def launch(run):
    """launch("a ! b"): gst-launch-1.0, with warnings and errors; further arguments are variables of
    the environment."""
    return lambda line, *options, **variables: run("gst-launch-1.0", *options, *line.split(),
                                                   **variables)


@pytest.fixture(scope="module")
def model(convert):
    return convert(CASE)


def said(result):
    return (result.stdout + result.stderr).decode()


def smooth(seed, *shape):
    """Bytes that change little from pixel to pixel."""
    value = numpy.random.default_rng(seed).integers(16, 236, [n // 8 + 1 for n in shape])
    for axis, n in enumerate(shape):
        value = numpy.repeat(value, 8, axis).take(range(n), axis)
    return value.astype(numpy.uint8)


def rgb_picture(seed, width, height):
    return numpy.stack([smooth(seed + k, height, width) for k in range(3)], -1)


def up(n, unit):
    return (n + unit - 1) // unit * unit


def rows(plane):
    """The bytes of rows [height][bytes] as GStreamer lays them out: a multiple of four a row."""
    height, size = plane.shape
    out = numpy.zeros((height, up(size, 4)), numpy.uint8)
    out[:, :size] = plane
    return out.tobytes()


def unpack(data, height, size):
    return numpy.frombuffer(data, numpy.uint8).reshape(-1, height, up(size, 4))[..., :size]


def packed(picture, name):
    """The frame of an RGB format."""
    alpha = numpy.full(picture.shape[:2] + (1,), 255, numpy.uint8)
    frame = numpy.concatenate([picture, alpha], -1)[..., PACKED[name]]
    return rows(frame.reshape(len(frame), -1))


def yuv_planes(seed, width, height, down):
    small = (height + down - 1) // down, (width + 1) // 2
    return smooth(seed, height, width), smooth(seed + 7, *small), smooth(seed + 9, *small)


def yuy2(luma, u, v):
    """[height][bytes] of YUY2; an odd row's last Y stands twice."""
    whole = numpy.pad(luma, [(0, 0), (0, luma.shape[1] % 2)], "edge")
    pairs = whole.reshape(len(u), -1, 2)
    return numpy.stack([pairs[..., 0], u, pairs[..., 1], v], -1).reshape(len(u), -1)


def nv12_planes(luma, u, v):
    return luma, numpy.stack([u, v], -1).reshape(len(u), -1)


def nv12(*planes):
    """The frame of NV12. GStreamer gives it rows of Y for an even height."""
    luma, pairs = nv12_planes(*planes)
    return rows(numpy.pad(luma, [(0, len(luma) % 2), (0, 0)])) + rows(pairs)


@pytest.fixture
def through(launch, model, tmp_path):
    """through(frames, format, width, height, properties): what comes out for raw frames."""
    def pipeline(frames, name, width, height, properties="", colorimetry=None):
        (tmp_path / "in.raw").write_bytes(b"".join(frames))
        colors = f"colorimetry={colorimetry}" if colorimetry else ""
        r = launch(f"filesrc location={tmp_path}/in.raw ! rawvideoparse format={name.lower()} "
                   f"width={width} height={height} {colors} ! swinsegment model={model} "
                   f"{properties} ! filesink location={tmp_path}/out.raw")
        assert r.returncode == 0, said(r)
        return (tmp_path / "out.raw").read_bytes()
    return pipeline


@pytest.fixture
def segment(model, tmp_path):
    """segment(picture, options): the class map that the command line gives, and the classes."""
    def ids(picture, *options):
        Image.fromarray(picture).save(tmp_path / "picture.png")
        r = subprocess.run([BUILD / "segment", "-m", model, "--ids", "--json", *options, "-o",
                            tmp_path / "ids.png", tmp_path / "picture.png"], capture_output=True)
        assert r.returncode == 0, r.stderr
        return numpy.asarray(Image.open(tmp_path / "ids.png")), json.loads(r.stdout)["classes"]
    return ids


@pytest.fixture
def stream(model):
    """stream(data, format, width, height, color): the class map that build/stream gives."""
    def ids(data, name, width, height, color):
        r = subprocess.run([BUILD / "stream", "-m", model, "--format", name, "--color", color,
                            "--frame-size", f"{width}x{height}", "--ids", "-"], input=data,
                           capture_output=True)
        assert r.returncode == 0, r.stderr
        return numpy.frombuffer(r.stdout, numpy.uint8).reshape(height, width)
    return ids


# the plugin ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warnings(compiler, tmp_path):
    flags = subprocess.run(["pkg-config", "--cflags", "gstreamer-video-1.0"], check=True, text=True,
                           capture_output=True).stdout.split()
    r = subprocess.run([compiler, "-std=c99", *STRICT, *flags, "-fsyntax-only", SOURCE],
                       capture_output=True, text=True)
    assert r.returncode == 0, r.stderr


def test_inspect(run):
    r = run("gst-inspect-1.0", "swinsegment")
    assert r.returncode == 0, said(r)
    for word in ("Semantic segmentation", "(string)NV12", "(string)YUY2", "(string)GRAY8", "model",
                 "opacity", "threads", "size", "output", "processed", "dropped"):
        assert word in said(r)
    assert run("gst-inspect-1.0", PLUGIN).returncode == 0


def test_only_the_plugin_is_exported():
    """Another copy of swin.h in the process is none of its business."""
    r = subprocess.run(["nm", "-D", "--defined-only", PLUGIN], capture_output=True, text=True)
    names = re.findall(r" [A-Z] (\w+)", r.stdout)
    assert "gst_plugin_swin_get_desc" in names and all(name.startswith("gst_") for name in names)


# what comes out -----------------------------------------------------------------------------------

@pytest.mark.parametrize("width,height", SIZES)
@pytest.mark.parametrize("name", PACKED)
def test_ids_are_those_of_the_command_line(through, segment, name, width, height):
    picture = rgb_picture(3, width, height)
    out = through([packed(picture, name)], name, width, height, "output=ids")
    wanted, classes = segment(picture)
    assert (unpack(out, height, width)[0] == wanted).all() and len(classes) > 1


def test_size_and_threads(through, segment):
    picture = rgb_picture(3, 60, 44)
    for properties in ("size=90", "size=90 threads=1", "size=90 threads=7"):
        out = through([packed(picture, "RGB")], "RGB", 60, 44, f"output=ids {properties}")
        assert (unpack(out, 44, 60)[0] == segment(picture, "--size=90")[0]).all()


@pytest.mark.parametrize("width,height", SIZES)
@pytest.mark.parametrize("color", YUV)
def test_ids_of_yuv_are_those_of_stream(through, stream, color, width, height):
    colorimetry = YUV[color][0]
    for name, other, frame, tight in (
            ("YUY2", "yuyv422", lambda p: rows(yuy2(*p)), lambda p: yuy2(*p).tobytes()),
            ("NV12", "nv12", lambda p: nv12(*p),
             lambda p: b"".join(plane.tobytes() for plane in nv12_planes(*p)))):
        planes = yuv_planes(5, width, height, 2 if name == "NV12" else 1)
        out = through([frame(planes)], name, width, height, "output=ids", colorimetry)
        wanted = stream(tight(planes), other, width, height, color)
        assert (unpack(out, height, width)[0] == wanted).all() and len(set(wanted.flat)) > 1


def colors_of(classes):
    table = numpy.zeros((256, 3), int)
    for one in classes:
        table[one["id"]] = list(bytes.fromhex(one["color"][1:]))
    return table


def blend(picture, wanted, opacity):
    part = int(256 * opacity + 0.5)
    return (picture.astype(int) * (256 - part) + wanted * part + 128) // 256


@pytest.mark.parametrize("opacity", [0, 0.3, 1])
@pytest.mark.parametrize("name", PACKED)
def test_overlay(through, segment, name, opacity):
    picture = rgb_picture(3, 45, 33)
    ids, classes = segment(picture)
    out = unpack(through([packed(picture, name)], name, 45, 33, f"opacity={opacity}"), 33,
                 45 * len(PACKED[name])).reshape(33, 45, -1)
    wanted = numpy.full((33, 45, 4), 255)
    wanted[..., :3] = blend(picture, colors_of(classes)[ids], opacity)
    assert (out == wanted[..., PACKED[name]]).all()


def yuv_colors(table, red, blue, full):
    """Y, U and V of colours, before they are rounded."""
    r, g, b = (table[:, k].astype(float) for k in range(3))
    y = red * r + (1 - red - blue) * g + blue * b
    u, v = (b - y) / (2 * (1 - blue)), (r - y) / (2 * (1 - red))
    scale, offset = (255, 255, 255), (0, 128, 128)
    if not full:
        scale, offset = (219, 224, 224), (16, 128, 128)
    value = numpy.stack([y, u, v], -1) / 255 * scale + offset
    return numpy.clip(numpy.floor(value + 0.5), 0, 255).astype(int)


def mean_of(values, down):
    """Of the pixels [height][width] that share a U or a V; the last ones count twice."""
    height, width = values.shape
    whole = numpy.pad(values, [(0, -height % down), (0, width % 2)], "edge")
    sums = whole.reshape(len(whole) // down, down, -1, 2).sum((1, 3)) * (2 // down)
    return (sums + 2) // 4


@pytest.mark.parametrize("color", YUV)
@pytest.mark.parametrize("name", ["NV12", "YUY2"])
def test_overlay_in_yuv(through, segment, name, color):
    width, height, down = 45, 33, 2 if name == "NV12" else 1
    colorimetry, red, blue, full = YUV[color]
    planes = yuv_planes(5, width, height, down)
    frame = nv12(*planes) if name == "NV12" else rows(yuy2(*planes))
    ids = unpack(through([frame], name, width, height, "output=ids", colorimetry), height,
                 width)[0]
    out = through([frame], name, width, height, "opacity=0.4", colorimetry)
    classes = segment(rgb_picture(3, 90, 90))[1] + segment(rgb_picture(4, 90, 90))[1]
    assert set(ids.flat) <= {one["id"] for one in classes}
    colors = yuv_colors(colors_of(classes), red, blue, full)[ids]
    wanted = [blend(planes[0], colors[..., 0], 0.4)] + [
        blend(planes[k], mean_of(colors[..., k], down), 0.4) for k in (1, 2)]
    if name == "NV12":
        size = up(width, 4) * up(height, 2)
        assert (unpack(out[:size], height + 1, width)[0, :height] == wanted[0]).all()
        pairs = unpack(out[size:], (height + 1) // 2, width + 1)[0]
        assert (pairs == nv12_planes(*wanted)[1]).all()
    else:
        row = unpack(out, height, 2 * (width + 1))[0]
        used = numpy.arange(2 * (width + 1)) != 2 * width        # but for the Y beyond the edge
        assert (row == yuy2(*wanted))[:, used.nonzero()[0]].all()


def test_clip(through, segment):
    """Every frame of a clip, in order."""
    pictures = [rgb_picture(seed, 46, 34) for seed in range(5)]
    out = through([packed(picture, "BGR") for picture in pictures], "BGR", 46, 34, "output=ids")
    out = unpack(out, 34, 46)
    assert len(out) == 5
    for picture, ids in zip(pictures, out):
        assert (ids == segment(picture)[0]).all()


def test_between_converters(launch, model, tmp_path):
    """Formats that it does not take come through videoconvert; what comes after it, which offers
    buffers of its own, changes nothing."""
    source = ("videotestsrc pattern=ball num-buffers=3 ! video/x-raw,format=I420,width=48,height=34"
              f" ! videoconvert ! video/x-raw,format=RGB ! swinsegment model={model} ")
    for output, given, after in (("overlay", "RGB", "BGRx"), ("ids", "GRAY8", "RGB")):
        for name, rest in (("straight", f"video/x-raw,format={given}"),
                           ("converted", f"videoconvert ! video/x-raw,format={after}")):
            r = launch(f"{source} output={output} ! {rest} ! "
                       f"filesink location={tmp_path}/{name}.raw")
            assert r.returncode == 0, said(r)
        straight, converted = (numpy.fromfile(tmp_path / f"{name}.raw", numpy.uint8).reshape(
            3 * 34 * 48, -1) for name in ("straight", "converted"))
        if output == "overlay":
            assert (straight == converted[:, 2::-1]).all()
        assert converted.shape[1] > straight.shape[1] and len(set(straight.flat)) > 1


def test_late_frames_are_dropped(launch, model):
    """A clock that no computer keeps up with; every frame that is not shown is told."""
    r = launch("videotestsrc num-buffers=3000 ! video/x-raw,width=46,height=34,framerate=100000/1 "
               f"! swinsegment size=300 model={model} ! fakesink sync=true qos=true", "-m")
    assert r.returncode == 0, said(r)
    counts = re.findall(r'element "swinsegment0".*?\(qos\).*processed=\(guint64\)(\d+), '
                        r'dropped=\(guint64\)(\d+)', said(r))
    assert counts and int(counts[-1][1]) > 1000 and sum(map(int, counts[-1])) <= 3000


def test_benchmark(run, model):
    r = run(ROOT / "tools/bench/gst.py", "--model", model, "--width", 64, "--height", 48,
            "--frames", 3, "--turns", 1)
    assert r.returncode == 0, said(r)
    assert re.findall(r"^(\w+) +[\d.]+ frames/s +[\d.]+ % of stream", said(r), re.M) == [
        "stream", "overlay", "ids"]


# what is wrong ------------------------------------------------------------------------------------

@pytest.fixture
def fail(environment):
    """fail("a ! b"): what gst-launch-1.0 says of a pipeline that fails as it starts. That of
    GStreamer 1.22 may wait for ever after it said so, whichever element failed."""
    def start(line, **variables):
        command = ["gst-launch-1.0", *line.split()]
        with subprocess.Popen(command, env=environment | variables, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            late = threading.Timer(300, process.kill)
            late.start()
            for text in itertools.accumulate(process.stderr, initial=b""):
                if b"ERROR: pipeline doesn't want to preroll" in text:
                    break
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
            late.cancel()
            text = (text + process.stderr.read()).decode()
        assert process.returncode != 0, text
        return text
    return start


def refused(fail, properties, *words, **variables):
    text = fail("videotestsrc num-buffers=2 ! video/x-raw,format=RGB,width=46,height=34 ! "
                f"swinsegment {properties} ! fakesink", **variables)
    first = re.search(r"^ERROR: from element .*swinsegment0: (.*)$", text, re.M)
    assert first, text
    for word in words:
        assert word in first[1]


def test_model_that_is_not_there(launch, fail, model, tmp_path):
    refused(fail, "", "property model", "SWIN_MODEL")
    refused(fail, "", "property model", SWIN_MODEL="")
    refused(fail, f"model={tmp_path}/no.swin", "no.swin: No such file")
    refused(fail, f"model={tmp_path}", f"{tmp_path}: Is a directory")
    refused(fail, "", "elsewhere.swin", SWIN_MODEL="elsewhere.swin")
    r = launch("videotestsrc num-buffers=1 ! swinsegment ! fakesink", SWIN_MODEL=str(model))
    assert r.returncode == 0, said(r)


def test_damaged_model(fail, model, tmp_path):
    whole, broken = model.read_bytes(), tmp_path / "broken.swin"
    for size in (0, 7, 64, len(whole) // 2, len(whole) - 1):
        broken.write_bytes(whole[:size])
        refused(fail, f"model={broken}", "broken.swin: ")
    for at in (0, 100, len(whole) // 3, len(whole) - 1):
        broken.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1:])
        refused(fail, f"model={broken}", "broken.swin: ")


@pytest.mark.parametrize("case", ["fam-tv-swin-cls", "fam-timm-swin-features"])
def test_model_without_a_class_for_each_pixel(fail, convert, case):
    refused(fail, f"model={convert(case)}", "no class for each pixel")


def test_more_classes_than_a_byte_tells(launch, fail, convert, tmp_path):
    state = torch.load(GOLDEN / CASE / "checkpoint.pth", weights_only=True)
    for name, tensor in list(state.items()):
        if ".conv_seg." in name:
            state[name] = tensor.repeat(300, *[1] * (tensor.ndim - 1))[:300].clone()
    torch.save(state, tmp_path / "many.pth")
    model = convert(tmp_path / "many.pth")
    refused(fail, f"output=ids model={model}", "300 classes", "output=overlay")
    r = launch(f"videotestsrc num-buffers=1 ! swinsegment model={model} ! fakesink")
    assert r.returncode == 0, said(r)


def test_size_that_the_model_cannot_take(fail, convert):
    refused(fail, f"size=16384 model={convert(CASE)}", "46 x 34 pixels")


# a harness instead of neighbours ------------------------------------------------------------------

@pytest.fixture(scope="session")
def harness(tmp_path_factory):
    program = tmp_path_factory.mktemp("harness") / "gst_element"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "gstreamer-check-1.0",
                            "gstreamer-video-1.0"], check=True, text=True,
                           capture_output=True).stdout.split()
    r = subprocess.run(["gcc", "-g", "-O1", "-std=c99", *STRICT, ROOT / "tests/gst_element.c", "-o",
                        program, *flags], capture_output=True, text=True)
    assert r.returncode == 0, r.stderr
    return program


def whole(result):
    """All checks ran and passed."""
    assert result.returncode == 0, said(result)[-4000:]
    assert re.search(r"^\d\d+ passed, 0 failed$", said(result), re.M)


def test_element(run, harness, model, convert):
    whole(run(harness, model, convert(OTHER)))


def test_nothing_is_left_behind(run, harness, model, convert):
    """Objects, buffers and messages: GStreamer counts them itself."""
    r = run(harness, model, convert(OTHER), GST_TRACERS="leaks", GST_DEBUG="GST_TRACER:7")
    whole(r)
    assert not re.search(r"object-alive, type-name=\(string\)\w.*", said(r))


def test_memory(run, harness, model, convert):
    """Nothing is read or written outside of frames, read before it is written, or lost."""
    other = convert(OTHER)
    run("gst-inspect-1.0", "swinsegment")       # the list of plugins is made without valgrind
    whole(run("valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full",
              "--show-leak-kinds=definite", "--errors-for-leak-kinds=definite", harness, model,
              other, G_SLICE="always-malloc", G_DEBUG="gc-friendly"))
