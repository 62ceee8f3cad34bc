"""build/stream: streams and folders as programs write them, cameras, signals, pipes, memory."""

import json
import os
import signal
import subprocess
import time

import numpy
import pytest
from PIL import Image

from conftest import BUILD, ROOT

STREAM, SEGMENT = BUILD / "stream", BUILD / "segment"
CASE = "seg-swin-fcn-w3"
WIDTH, HEIGHT = 46, 34


def run(*arguments, data=b"", **options):
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "timeout": 120, **options}
    return subprocess.run([STREAM, *map(str, arguments)], input=data, **options)


def lines(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


def failed(result, status, *words):
    text = result.stderr.decode()
    assert result.returncode == status, text
    for word in words:
        assert word in text
    return result.stdout.splitlines()


def smooth_noise(seed, *shape):
    """Bytes that change little from pixel to pixel."""
    coarse = numpy.random.default_rng(seed).integers(16, 236, [(n + 7) // 8 for n in shape])
    for axis, n in enumerate(shape):
        coarse = numpy.repeat(coarse, 8, axis).take(range(n), axis)
    return coarse.astype(numpy.uint8)


def planes(seed, width=WIDTH, height=HEIGHT, across=2, down=2):
    """Y, U and V of a frame."""
    small = (height + down - 1) // down, (width + across - 1) // across
    return (smooth_noise(seed, height, width), smooth_noise(seed + 100, *small),
            smooth_noise(seed + 200, *small))


def y4m(frames, header=f"W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420jpeg"):
    data = [b"YUV4MPEG2 " + header.encode() + b"\n"]
    for frame in frames:
        data += [b"FRAME\n", *(plane.tobytes() for plane in frame)]
    return b"".join(data)


def nv12(frame):
    luma, u, v = frame
    return luma.tobytes() + numpy.stack([u, v], -1).tobytes()


def yuyv(frame):
    luma, u, v = frame
    pairs = luma.reshape(*u.shape, 2)
    return numpy.stack([pairs[..., 0], u, pairs[..., 1], v], -1).tobytes()


def rgb(frame, full=False, red=0.299, blue=0.114):
    """The frame's red, green and blue by the definition of BT.601 or another matrix, in float64."""
    luma, u, v = (plane.astype(float) for plane in frame)
    u, v = (numpy.repeat(numpy.repeat(plane, 2, 0), 2, 1)[:luma.shape[0], :luma.shape[1]]
            if plane.shape[0] < luma.shape[0]
            else numpy.repeat(plane, 2, 1)[:, :luma.shape[1]] for plane in (u, v))
    light = luma / 255 if full else (luma - 16) / 219
    scale = 255 if full else 224
    r, b = light + 2 * (1 - red) * (v - 128) / scale, light + 2 * (1 - blue) * (u - 128) / scale
    g = (light - red * r - blue * b) / (1 - red - blue)
    return numpy.clip(255 * numpy.stack([r, g, b], -1), 0, 255)


@pytest.fixture(scope="module")
def model(convert):
    return convert(CASE)


@pytest.fixture
def stream(model):
    return lambda *arguments, **options: run("-m", model, *arguments, **options)


def ids_of(result, width=WIDTH, height=HEIGHT):
    assert result.returncode == 0, result.stderr
    return numpy.frombuffer(result.stdout, numpy.uint8).reshape(-1, height, width)


# --- what comes in --------------------------------------------------------------------------------

def test_every_frame_gives_a_line(stream):
    result = stream("--all", data=y4m(planes(seed) for seed in range(5)))
    told = lines(result)
    assert [line["frame"] for line in told] == [0, 1, 2, 3, 4]
    assert all(line["dropped"] == 0 for line in told)
    assert all(line["width"] == WIDTH and line["height"] == HEIGHT for line in told)
    for line in told:
        assert sum(entry["share"] for entry in line["classes"]) == pytest.approx(1, abs=1e-5)
        assert 0 < line["ms"]["network"] <= line["ms"]["latency"]
        assert abs(line["time"] - time.time()) < 600
    times = [line["monotonic"] for line in told]
    assert times == sorted(times)
    summary = result.stderr.decode()
    assert "5 frames" in summary and "0 dropped" in summary
    for word in ("p50", "p99", "max"):
        assert word in summary


def test_all_forms_of_one_frame_agree(stream):
    """YUV4MPEG2, NV12, and YUYV where each row of chroma is there twice: the same class map."""
    frame = planes(3)
    tall = [frame[0], *(numpy.repeat(plane, 2, 0) for plane in frame[1:])]
    raw = ["--frame-size", f"{WIDTH}x{HEIGHT}", "--ids", "-", "--all"]
    expected = ids_of(stream("--ids", "-", "--all", data=y4m([frame])))
    assert len(numpy.unique(expected)) > 1
    for result in (
            stream(*raw, "--format", "nv12", data=nv12(frame)),
            stream(*raw, "--format", "yuyv422", data=yuyv(tall)),
            stream("--ids", "-", "--all",
                   data=y4m([tall], f"W{WIDTH} H{HEIGHT} F25:1 C422 XYSCSS=422"))):
        assert (ids_of(result) == expected).all()


@pytest.mark.parametrize("width, height", [(45, 33), (46, 33), (45, 34), (40, 1)])
def test_odd_sizes(stream, width, height):
    size = ["--frame-size", f"{width}x{height}", "--format", "nv12"]
    frame = planes(5, width, height)
    expected = ids_of(stream("--ids", "-", data=y4m([frame], f"W{width} H{height} F1:1")), width,
                      height)
    luma, chroma = frame[0], numpy.stack(frame[1:], -1)
    found = stream("--ids", "-", *size, data=luma.tobytes() + chroma.tobytes())
    assert (ids_of(found, width, height) == expected).all()


@pytest.mark.parametrize("name, order", [("rgb24", [0, 1, 2]), ("bgr24", [2, 1, 0]),
                                         ("rgba", [0, 1, 2, 0]), ("bgra", [2, 1, 0, 0])])
def test_raw_pixels_are_segmented_like_a_picture(stream, model, tmp_path, name, order):
    picture = numpy.stack([smooth_noise(seed, HEIGHT, WIDTH) for seed in range(3)], -1)
    Image.fromarray(picture).save(tmp_path / "a.png")
    subprocess.run([SEGMENT, "-m", model, "--ids", "-o", tmp_path / "ids.png", tmp_path / "a.png"],
                   check=True)
    expected = numpy.asarray(Image.open(tmp_path / "ids.png"))
    data = picture[..., order].tobytes()
    found = ids_of(stream("--frame-size", f"{WIDTH}x{HEIGHT}", "--format", name, "--ids", "-",
                          data=data))
    assert (found[0] == expected).all()


def test_a_folder_in_the_order_of_names(stream, tmp_path):
    for seed in (2, 0, 1):
        Image.fromarray(smooth_noise(seed, HEIGHT, WIDTH)).save(tmp_path / f"{seed}.png")
    (tmp_path / ".hidden").write_text("not looked at")
    found = ids_of(stream(tmp_path, "--ids", "-"))
    grey = b"".join(smooth_noise(seed, HEIGHT, WIDTH).tobytes() for seed in range(3))
    expected = ids_of(stream("--frame-size", f"{WIDTH}x{HEIGHT}", "--format", "gray", "--ids", "-",
                             "--all", data=grey))
    assert found.shape == expected.shape and (found == expected).all()


def test_colors_of_the_header_and_of_the_option(stream):
    """The overlay shows which matrix and range was taken."""
    frame = planes(4)
    size = f"W{WIDTH} H{HEIGHT} F25:1"
    for header, option, expected in (
            (size, [], rgb(frame)), (f"{size} XCOLORRANGE=FULL", [], rgb(frame, True)),
            (f"{size} XCOLORRANGE=LIMITED", [], rgb(frame)),
            (size, ["--color", "bt709"], rgb(frame, False, 0.2126, 0.0722)),
            (f"{size} XCOLORRANGE=FULL", ["--color", "bt709-full"],
             rgb(frame, True, 0.2126, 0.0722))):
        result = stream("--overlay", "-", "--opacity", "0", *option, data=y4m([frame], header))
        shown = numpy.frombuffer(result.stdout, numpy.uint8).reshape(HEIGHT, WIDTH, 3)
        assert abs(shown - expected).max() < 0.51


def test_the_newest_frame_wins(stream):
    """A stream that is faster than the network: frames are dropped, and counted."""
    frames = [planes(seed % 7, 320, 240) for seed in range(7)] * 40
    told = lines(stream("--threads", "1", data=y4m(frames, "W320 H240 F25:1")))
    assert told[-1]["dropped"] > 0
    assert len(told) + told[-1]["dropped"] == len(frames)


def test_frames_stops(stream):
    """While the reader waits with the next one, which is not dropped but never wanted."""
    data = y4m(planes(seed) for seed in range(9))
    result = stream("--all", "--frames", "2", "--size", "400", data=data)
    assert len(lines(result)) == 2 and b"0 dropped" in result.stderr


# --- what goes out --------------------------------------------------------------------------------

def test_several_results_on_descriptors(stream, tmp_path):
    frames = [planes(seed) for seed in range(3)]
    with open(tmp_path / "overlay", "wb") as overlay:
        result = stream("--all", "--ids", tmp_path / "ids", "--overlay", overlay.fileno(),
                        data=y4m(frames), pass_fds=[overlay.fileno()])
    told = lines(result)
    ids = numpy.fromfile(tmp_path / "ids", numpy.uint8).reshape(3, HEIGHT, WIDTH)
    assert (tmp_path / "overlay").stat().st_size == 3 * 3 * HEIGHT * WIDTH
    for line, map_ in zip(told, ids):
        shares = {entry["id"]: entry["share"] for entry in line["classes"]}
        found, counts = numpy.unique(map_, return_counts=True)
        assert shares == {int(k): pytest.approx(n / map_.size, abs=1e-6)
                          for k, n in zip(found, counts)}


def test_overlay_is_the_frame_and_the_classes_colors(stream, tmp_path):
    frame = planes(6)
    result = stream("--overlay", "-", "--opacity", "1", "--ids", tmp_path / "ids",
                    data=y4m([frame]))
    shown = numpy.frombuffer(result.stdout, numpy.uint8).reshape(-1, 3)
    ids = numpy.fromfile(tmp_path / "ids", numpy.uint8)
    for k in numpy.unique(ids):
        assert len(numpy.unique(shown[ids == k], axis=0)) == 1
    plain = stream("--overlay", "-", "--opacity", "0", data=y4m([frame])).stdout
    half = stream("--overlay", "-", data=y4m([frame])).stdout
    mean = (numpy.frombuffer(plain, numpy.uint8).reshape(-1, 3) + shown.astype(float)) / 2
    assert abs(numpy.frombuffer(half, numpy.uint8).reshape(-1, 3) - mean).max() <= 1


def test_free_space(stream, tmp_path):
    frame = planes(8)
    told = lines(stream("--ids", tmp_path / "ids", data=y4m([frame])))[0]
    ids = numpy.fromfile(tmp_path / "ids", numpy.uint8).reshape(HEIGHT, WIDTH)
    names = {entry["id"]: entry["name"] for entry in told["classes"]}
    for wanted in ([int(ids[-1, 0])], list(names)[:2], list(names)):
        line = lines(stream("--free", ",".join(names[k] for k in wanted), data=y4m([frame])))[0]
        taken = ~numpy.isin(ids[::-1], wanted)
        reach = numpy.where(taken.any(0), taken.argmax(0), HEIGHT)
        assert line["free"] == reach.tolist()


def test_overlay_shows_where_free_space_ends(stream, tmp_path):
    data = y4m([planes(8)])
    name = lines(stream(data=data))[0]["classes"][0]["name"]
    plain = numpy.frombuffer(stream("--overlay", "-", data=data).stdout, numpy.uint8)
    shown = numpy.frombuffer(stream("--overlay", "-", "--free", name, "--json", tmp_path / "json",
                                    data=data).stdout, numpy.uint8).reshape(HEIGHT, WIDTH, 3)
    reach = numpy.array(json.loads((tmp_path / "json").read_text())["free"])
    columns = numpy.flatnonzero(reach)
    expected = plain.reshape(HEIGHT, WIDTH, 3).copy()
    expected[HEIGHT - reach[columns], columns] = 255
    assert len(columns) and (shown == expected).all()


def test_smoothing_calms_a_flicker(stream):
    """Noise over a still picture: fewer pixels change from frame to frame."""
    still = planes(1)
    noise = numpy.random.default_rng(1)
    frames = [(numpy.clip(still[0] + noise.normal(0, 40, still[0].shape), 0, 255)
               .astype(numpy.uint8), *still[1:]) for _ in range(12)]
    changes = []
    for smooth in ("0", "0.8"):
        ids = ids_of(stream("--ids", "-", "--all", "--smooth", smooth, data=y4m(frames)))
        changes.append((ids[4:] != ids[3:-1]).mean())
    assert 0 < changes[1] < changes[0] / 2


def test_the_first_smooth_frame_is_as_without(stream):
    data = y4m([planes(2)])
    assert (ids_of(stream("--ids", "-", "--smooth", "0.7", data=data))
            == ids_of(stream("--ids", "-", data=data))).all()


# --- what goes wrong ------------------------------------------------------------------------------

def test_a_stream_cut_in_a_frame(stream):
    data = y4m(planes(seed) for seed in range(3))
    told = failed(stream("--all", data=data[:-7]), 1, "standard input",
                  "middle of frame 2", "bytes")
    assert len(told) == 2
    told = failed(stream("--all", "--frame-size", "8x8", data=bytes(3 * 64 + 5)), 1,
                  "middle of frame 1", "after 5 of its 192")
    assert len(told) == 1


def test_a_size_that_changes(stream):
    first = y4m(planes(seed) for seed in range(2))
    told = failed(stream("--all", data=first + y4m([planes(0, 20, 10)], "W20 H10 F25:1")), 1,
                  f"{WIDTH} x {HEIGHT}", "20 x 10", "2 frames")
    assert len(told) == 2
    assert len(lines(stream("--all", data=first + first))) == 4


def test_a_folder_of_several_sizes_and_a_damaged_picture(stream, tmp_path):
    for name, side in (("a", 24), ("c", 30), ("d", 24)):
        Image.fromarray(smooth_noise(1, side, side)).save(tmp_path / f"{name}.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:50])
    told = failed(stream(tmp_path), 1, "b.png", "c.png", "30 x 30", "24 x 24")
    assert len(told) == 2


@pytest.mark.parametrize("data, words", [
    (b"", ["is empty"]),
    (b"RIFF....AVI ", ["no YUV4MPEG2", "--frame-size"]),
    (b"x" * 5000, ["no YUV4MPEG2"]),
    (b"YUV4MPEG2 W10 F25:1\n", ["width and height"]),
    (b"YUV4MPEG2 W0 H5\n", ["width and height"]),
    (b"YUV4MPEG2 W-4 H5\n", ["width and height"]),
    (b"YUV4MPEG2 W99999999999999999999 H5\n", ["width and height"]),
    (b"YUV4MPEG2 W10 H10 C420p10\n", ["C420p10", "yuv420p"]),
    (b"YUV4MPEG2 W10 H10 C444\n", ["C444", "yuv420p"]),
    (b"YUV4MPEG2 W8 H8\nHELLO\n", ["something else"]),
    (b"YUV4MPEG2 W8 H8\nFRAME", ["something else"]),
])
def test_what_is_no_stream(stream, data, words):
    assert not failed(stream(data=data), 1, "standard input", *words)


@pytest.mark.parametrize("damage", [
    lambda blob: blob[:1000], lambda blob: b"", lambda blob: b"x" * 99,
    lambda blob: blob[:9000] + bytes([blob[9000] ^ 4]) + blob[9001:]])
def test_a_damaged_model(model, tmp_path, damage):
    path = tmp_path / "bad.swin"
    path.write_bytes(damage(model.read_bytes()))
    assert not failed(run("-m", path, data=y4m([planes(0)])), 3, "bad.swin")


def test_a_missing_model():
    assert not failed(run("-m", "/no/such.swin"), 3, "/no/such.swin", "No such file")
    environment = {k: v for k, v in os.environ.items() if k != "SWIN_MODEL"}
    assert not failed(run(env=environment), 2, "SWIN_MODEL")


@pytest.mark.parametrize("options, status, words", [
    (["--free", "no such class"], 2, ["no such class"]),
    (["--frame-size", "640"], 2, ["640x480"]),
    (["--smooth", "1"], 2, ["0.99"]),
    (["--opacity", "nan"], 2, ["0 to 1"]),
    (["--format", "yuv420p", "--frame-size", "8x8"], 2, ["nv12"]),
    (["--format", "nv12"], 1, ["--frame-size"]),
    (["--color", "bt2020"], 2, ["bt709"]),
    (["--ids", "-", "--overlay", "-"], 2, ["standard output"]),
    (["--ids", "77"], 2, ["77", "descriptor"]),
    (["--ids", "/no/such/file"], 2, ["/no/such/file"]),
    (["--cpu", "mmx"], 2, ["mmx"]),
    (["a", "b"], 2, ["only one"]),
    (["/dev/null"], 1, ["/dev/null", "no camera"]),
    (["/no/such/camera"], 1, ["/no/such/camera", "No such file"]),
    (["--bogus"], 2, ["bogus"]),
])
def test_options_that_are_wrong(stream, options, status, words):
    assert not failed(stream(*options), status, *words)


def start(model, *arguments, **options):
    return subprocess.Popen([STREAM, "-m", model, *map(str, arguments)], stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def test_a_reader_that_goes_away(model):
    with start(model, "--all", "--ids", "-") as process:
        process.stdout.close()
        try:
            process.stdin.write(y4m(planes(seed % 5) for seed in range(200)))
        except BrokenPipeError:
            pass
        assert process.wait(60) == 1
        assert b"closed the pipe" in process.stderr.read()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["before the header", "between frames", "in a frame"])
def test_signals_end_it_cleanly(model, number, when):
    """While it waits for its input, which goes on to be open."""
    data = y4m([planes(1)]) + {"in a frame": b"FRAME\nabc"}.get(when, b"")
    with start(model) as process:
        if when != "before the header":
            process.stdin.write(data)
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["frame"] == 0
        else:
            time.sleep(0.3)
        process.send_signal(number)
        assert process.wait(20) == 0
        told = process.stderr.read()
        assert b"1 frames" in told or when == "before the header"


def test_a_signal_ends_the_run_at_work(model):
    """Of a frame that takes long, nothing is written."""
    size = "--frame-size", "1500x1500", "--size", "1500", "--cpu", "scalar", "--threads", "1"
    with start(model, *size) as process:
        process.stdin.write(bytes(3 * 1500 * 1500))
        process.stdin.flush()
        time.sleep(1)
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        out, told = process.communicate()
        assert process.returncode == 0 and not out and b"0 frames" in told
        assert time.monotonic() - begun < 20


def test_realtime_says_what_it_got(stream):
    result = stream("--realtime", data=y4m([planes(1)]))
    assert len(lines(result)) == 1
    assert b"memory is" in result.stderr and b"scheduling is" in result.stderr


@pytest.mark.parametrize("threads, told", [(1, b"threads are bound"),
                                           (os.cpu_count() + 1, b"threads could not be bound")])
def test_realtime_binds_threads_where_there_are_enough_processors(stream, threads, told):
    result = stream("--realtime", "--threads", str(threads), data=y4m([planes(1)]))
    assert len(lines(result)) == 1
    assert told in result.stderr


# --- memory ---------------------------------------------------------------------------------------

COUNTER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
static int calls;
void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *malloc(size_t n) { __atomic_add_fetch(&calls, 1, 0); return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { __atomic_add_fetch(&calls, 1, 0); return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { __atomic_add_fetch(&calls, 1, 0); return __libc_realloc(p, n); }
int posix_memalign(void **p, size_t a, size_t n)
{
    __atomic_add_fetch(&calls, 1, 0);
    return !(*p = __libc_memalign(a, n));
}
void *mmap(void *p, size_t n, int prot, int flags, int fd, off_t at)
{
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "mmap");
    __atomic_add_fetch(&calls, 1, 0);
    return next(p, n, prot, flags, fd, at);
}
__attribute__((destructor)) static void tell(void)
{
    FILE *f = fopen(getenv("COUNT"), "w");
    fprintf(f, "%d", calls - 1);
    fclose(f);
}
"""


def library(folder, source):
    """A shared library to be loaded before all others."""
    (folder / "library.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", folder / "library.c", "-o",
                    folder / "library.so", "-ldl"], check=True)
    return {**os.environ, "LD_PRELOAD": str(folder / "library.so")}


def test_memory_is_fixed_after_the_start(stream, tmp_path):
    """As many allocations for a hundred frames as for one, with every result asked for."""
    environment = library(tmp_path, COUNTER) | {"COUNT": str(tmp_path / "count")}
    told = lines(stream("--all", data=y4m([planes(0)])))[0]
    counts = []
    for frames in (1, 100):
        result = stream("--all", "--smooth", "0.5", "--free", told["classes"][0]["name"], "--ids",
                        tmp_path / "ids", "--overlay", tmp_path / "overlay", "--threads", "2",
                        data=y4m(planes(seed % 9) for seed in range(frames)), env=environment)
        assert len(lines(result)) == frames
        counts.append(int((tmp_path / "count").read_text()))
    assert counts[0] == counts[1] > 10


# --- cameras --------------------------------------------------------------------------------------

# A camera made of a library that answers for /dev/camera: rows of `PADDING` bytes more than they
# need, as many frames as FRAMES says, then it is unplugged.
CAMERA = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
enum { BUFFERS = 4 };
static int fd = -1, given, queue[BUFFERS], queued, on;
static unsigned stride, height, fourcc;
static size_t length;
static unsigned char *memory[BUFFERS];
static unsigned number(const char *name) { return (unsigned)atoi(getenv(name)); }
int open(const char *path, int flags, ...)
{
    static int (*next)(const char *, int, ...);
    va_list list;
    va_start(list, flags);
    int mode = flags & O_CREAT ? va_arg(list, int) : 0;
    va_end(list);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "open");
    if (strcmp(path, "/dev/camera")) return next(path, flags, mode);
    return fd = next("/dev/zero", O_RDWR, 0);
}
static int format(struct v4l2_format *f)
{
    int nv12 = !strcmp(getenv("GIVES"), "NV12");
    fourcc = nv12 ? V4L2_PIX_FMT_NV12 : strcmp(getenv("GIVES"), "YUYV") ? V4L2_PIX_FMT_MJPEG
                                                                        : V4L2_PIX_FMT_YUYV;
    f->fmt.pix.pixelformat = fourcc;
    f->fmt.pix.width = number("W");
    f->fmt.pix.height = height = number("H");
    f->fmt.pix.bytesperline = stride = number("W") * (nv12 ? 1 : 2) + number("PADDING");
    f->fmt.pix.quantization = number("FULL") ? V4L2_QUANTIZATION_FULL_RANGE : 0;
    length = f->fmt.pix.sizeimage = stride * (nv12 ? height + (height + 1) / 2 : height);
    return 0;
}
static int fill(struct v4l2_buffer *b)
{
    struct timespec now;
    if (given == (int)number("FRAMES")) return errno = ENODEV, -1;
    if (!queued) return errno = EAGAIN, -1;
    b->index = (unsigned)queue[0];
    memmove(queue, queue + 1, sizeof queue - sizeof *queue);
    queued--;
    FILE *f = fopen(getenv("DATA"), "rb");
    fseek(f, (long)(length * (size_t)given++), SEEK_SET);
    b->bytesused = (unsigned)fread(memory[b->index], 1, length, f);
    fclose(f);
    clock_gettime(CLOCK_MONOTONIC, &now);
    b->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
    b->timestamp.tv_sec = now.tv_sec;
    b->timestamp.tv_usec = now.tv_nsec / 1000;
    usleep(number("PAUSE"));
    return 0;
}
int ioctl(int which, unsigned long request, ...)
{
    va_list list;
    va_start(list, request);
    void *argument = va_arg(list, void *);
    struct v4l2_buffer *b = argument;
    va_end(list);
    if (which != fd || fd < 0) return errno = ENOTTY, -1;
    if (request == VIDIOC_QUERYCAP)
        return ((struct v4l2_capability *)argument)->capabilities = V4L2_CAP_VIDEO_CAPTURE, 0;
    if (request == VIDIOC_S_FMT) return format(argument);
    if (request == VIDIOC_REQBUFS) return 0;
    if (request == VIDIOC_QUERYBUF)
        return b->length = (unsigned)length, b->m.offset = b->index * 65536 * 16, 0;
    if (request == VIDIOC_QBUF) return queue[queued++] = (int)b->index, 0;
    if (request == VIDIOC_DQBUF) return fill(b);
    return 0;
}
void *mmap(void *p, size_t n, int prot, int flags, int from, off_t at)
{
    static void *(*next)(void *, size_t, int, int, int, off_t);
    if (!next) *(void **)&next = dlsym(RTLD_NEXT, "mmap");
    if (from != fd || fd < 0) return next(p, n, prot, flags, from, at);
    return memory[at / 65536 / 16] = next(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                                          -1, 0);
}
"""


@pytest.fixture
def camera(stream, tmp_path):
    """camera(frames, format, arguments...): a run on a camera that gives these frames."""
    preload = library(tmp_path, CAMERA)

    def see(frames, gives, *arguments, padding=10, **more):
        rows = b""
        for frame in frames:
            step = WIDTH * (1 if gives == "NV12" else 2)
            data = {"NV12": nv12, "YUYV": yuyv}.get(gives, nv12)(frame)
            rows += b"".join(data[i:i + step] + bytes(padding) for i in range(0, len(data), step))
        (tmp_path / "data").write_bytes(rows)
        environment = {"DATA": str(tmp_path / "data"), "GIVES": gives, "W": str(WIDTH),
                       "H": str(HEIGHT), "PADDING": str(padding), "FRAMES": str(len(frames)),
                       "FULL": "0", "PAUSE": "1000"}
        return stream("/dev/camera", *arguments, env=preload | environment | more)

    return see


@pytest.mark.parametrize("gives, down", [("YUYV", 1), ("NV12", 2)])
@pytest.mark.parametrize("padding", [0, 10])
def test_a_camera_gives_what_a_stream_gives(stream, camera, tmp_path, gives, down, padding):
    """Rows with bytes between them; then it is unplugged, and what was done stays."""
    frames = [planes(seed, down=down) for seed in range(4)]
    name = {"YUYV": "yuyv422", "NV12": "nv12"}[gives]
    data = b"".join((yuyv if down == 1 else nv12)(frame) for frame in frames)
    expected = ids_of(stream("--frame-size", f"{WIDTH}x{HEIGHT}", "--format", name, "--all",
                             "--ids", "-", data=data))
    result = camera(frames, gives, "--all", "--ids", tmp_path / "ids", padding=padding)
    told = failed(result, 1, "/dev/camera", "no more frames after 4", "No such device")
    found = numpy.fromfile(tmp_path / "ids", numpy.uint8).reshape(-1, HEIGHT, WIDTH)
    assert len(told) == 4 and (found == expected).all()


def test_a_camera_says_its_range(camera, tmp_path):
    frame = planes(4)
    for full in (False, True):
        camera([frame], "NV12", "--all", "--overlay", tmp_path / "shown", "--opacity", "0",
               FULL=str(int(full)))
        shown = numpy.fromfile(tmp_path / "shown", numpy.uint8).reshape(HEIGHT, WIDTH, 3)
        assert abs(shown - rgb(frame, full)).max() < 0.51


def test_a_slow_program_drops_a_cameras_frames(camera):
    """Buffers go back to the driver: as many frames come as it has, and none is lost count of."""
    frames = [planes(seed % 3) for seed in range(150)]
    told = [json.loads(line) for line in failed(camera(frames, "NV12", "--size", "300", "--threads",
                                                       "1", PAUSE="10"), 1, "after 150")]
    assert told[-1]["dropped"] > 0 and len(told) + told[-1]["dropped"] == len(frames)


def test_a_camera_of_other_formats(camera):
    assert not failed(camera([planes(0)], "MJPG"), 1, "/dev/camera", "YUYV", "MJPG")
    assert not failed(camera([planes(0)], "NV12", "--format", "yuyv422"), 1, "NV12")
