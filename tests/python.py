"""The Python package of examples/python, built from the checkout and used as an installed one."""

import concurrent.futures
import gc
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib

import cffi
import numpy as np
import pytest
from PIL import Image

from conftest import GOLDEN, ROOT

PACKAGE = ROOT / "examples" / "python"
STREET = ROOT / "weights" / "street.swin"
HEIGHT, WIDTH = 96, 128


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    """A folder with the package in it; SWINH_INSTALLED names one that is there already."""
    if "SWINH_INSTALLED" in os.environ:
        return pathlib.Path(os.environ["SWINH_INSTALLED"])
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run([sys.executable, "-m", "pip", "install", "--no-deps",
                           "--no-build-isolation", "--no-index", "--target", folder, PACKAGE],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    return folder


@pytest.fixture(scope="session")
def swinh(installed):
    sys.path.insert(0, str(installed))
    import swinh
    assert pathlib.Path(swinh.__file__).is_relative_to(installed)
    return swinh


@pytest.fixture(scope="session")
def street(swinh):
    return swinh.Model(STREET)


@pytest.fixture
def command(installed):
    """command(argument...): the outcome of `swinh argument...`."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}

    def run(*arguments, **options):
        return subprocess.run([sys.executable, "-m", "swinh._cli", *map(str, arguments)],
                              capture_output=True, text=True, env=environment, **options)
    return run


def picture(seed=0, height=HEIGHT, width=WIDTH):
    """Smooth colours with texture: [height][width][3] uint8."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 16 + 1, width // 16 + 1, 3), np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.BILINEAR))
    return (smooth // 2 + random.integers(0, 128, smooth.shape, np.uint8)).astype(np.uint8)


# --- declarations ---------------------------------------------------------------------------------

def members(kind):
    """The names of an enumeration's elements but their count; of a struct's fields, in order, with
    those of structs in it that have no name ($) of their own."""
    if kind.kind == "enum":
        return {element for element in kind.elements.values() if not element.endswith("_COUNT")}
    return [(name, "$" in field.type.cname and members(field.type)) for name, field in kind.fields]


def test_nothing_of_the_header_s_structs_and_enumerations_is_left_out(swinh, tmp_path):
    """That what is declared is right is checked by the compiler."""
    for name in ("stddef.h", "stdint.h"):       # what these declare is known to cffi
        (tmp_path / name).touch()
    header = cffi.FFI()
    header.cdef(subprocess.run(["gcc", "-E", "-P", "-nostdinc", "-I", tmp_path, ROOT / "swin.h"],
                               check=True, stdout=subprocess.PIPE, text=True).stdout)
    declared = swinh._core.ffi
    names = {*declared.list_types()[0], "enum swin_output", "enum swin_run_flag"}
    # others have fields that are private, or none
    names -= {"swin_model", "swin_context", "swin_task", "swin_parallel_for"}
    for name in names:
        assert members(declared.typeof(name)) == members(header.typeof(name)), name


# --- models ---------------------------------------------------------------------------------------

def test_a_model_tells_its_names_palette_and_description(street):
    assert street.names[0] == "sky" and len(street.names) == 11
    assert street.palette.shape == (11, 3) and street.palette.dtype == np.uint8
    assert street.info["head"] == "uper" and street.info["classes"] == 11
    assert street.info["notes"]["licence"]
    json.dumps(street.info)


def test_a_model_in_memory_gives_the_same_classes(swinh, street):
    blob = STREET.read_bytes()
    wanted = street.segment(picture()).classes
    for source in (blob, bytearray(blob), memoryview(b"x" + blob)[1:]):
        assert (swinh.Model(source).segment(picture()).classes == wanted).all()


def test_bytes_that_can_be_changed_are_copied(swinh, street):
    blob = bytearray(STREET.read_bytes())
    model = swinh.Model(blob)
    blob[:] = bytes(len(blob))
    assert (model.segment(picture()).classes == street.segment(picture()).classes).all()


def damaged(change):
    blob = bytearray(STREET.read_bytes())
    change(blob)
    return bytes(blob)


@pytest.mark.parametrize("blob", [
    b"", b"no model", STREET.read_bytes()[:-64], STREET.read_bytes()[:100],
    damaged(lambda blob: blob.__setitem__(len(blob) // 2, blob[len(blob) // 2] ^ 1)),
], ids=["empty", "text", "cut", "head only", "one bit"])
def test_a_damaged_model_is_refused_by_name(swinh, tmp_path, blob):
    path = tmp_path / "damaged.swin"
    path.write_bytes(blob)
    with pytest.raises(swinh.ModelError, match="damaged.swin: "):
        swinh.Model(path)
    with pytest.raises(swinh.ModelError, match="the model: "):
        swinh.Model(blob)


def test_a_missing_model_is_an_os_error_with_its_name(swinh, tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.swin"):
        swinh.Model(tmp_path / "nothing.swin")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        swinh.Model(tmp_path)


def test_a_model_may_come_through_a_pipe(swinh, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(STREET.read_bytes()))
    writer.start()
    assert len(swinh.Model(pipe).names) == 11
    writer.join()


@pytest.mark.parametrize("arguments, error, text", [
    ({"threads": 0}, ValueError, "threads=0"), ({"threads": 1.5}, TypeError, "threads=1.5"),
    ({"cpu": "mmx"}, ValueError, "scalar"), ({"memory_limit": -1}, ValueError, "memory_limit"),
])
def test_arguments_of_a_model_are_checked(swinh, arguments, error, text):
    with pytest.raises(error, match=text):
        swinh.Model(STREET, **arguments)


def test_what_is_neither_path_nor_bytes_is_refused(swinh):
    with pytest.raises(TypeError, match="not dict"):
        swinh.Model({})


# --- pictures -------------------------------------------------------------------------------------

def layouts(rgb):
    """The same picture, as many programs hold it: (array, format)."""
    alpha = np.full((*rgb.shape[:2], 1), 7, np.uint8)
    rgba = np.concatenate([rgb, alpha], 2)
    wide = np.zeros((rgb.shape[0], rgb.shape[1] + 5, 3), np.uint8)
    wide[:, 2:-3] = rgb
    sparse = np.zeros((rgb.shape[0], 2 * rgb.shape[1], 3), np.uint8)
    sparse[:, ::2] = rgb
    return {
        "rows apart": (wide[:, 2:-3], None),
        "pixels apart": (sparse[:, ::2], None),
        "upwards": (rgb[::-1].copy()[::-1], None),
        "mirrored": (rgb[:, ::-1].copy()[:, ::-1], None),
        "planes of bytes": (rgb.transpose(2, 0, 1).copy().transpose(1, 2, 0), None),
        "read-only": (np.frombuffer(rgb.tobytes(), np.uint8).reshape(rgb.shape), None),
        "bgr": (rgb[..., ::-1].copy(), "BGR"),
        "bgr as a view": (rgb[..., ::-1], "BGR"),
        "rgb of bgr as a view": (rgb[..., ::-1].copy()[..., ::-1], "RGB"),
        "rgba": (rgba, None),
        "rgb of rgba": (rgba[..., :3], None),
        "bgra": (rgba[..., [2, 1, 0, 3]], "BGRA"),
        "PIL": (Image.fromarray(rgb), None),
    }


@pytest.mark.parametrize("name", layouts(picture()))
def test_every_layout_of_pixels_gives_the_same_classes(street, name):
    rgb = picture()
    given, format = layouts(rgb)[name]
    result = street.segment(given, format=format, logits=True)
    wanted = street.segment(rgb, logits=True)
    assert (result.logits == wanted.logits).all()
    assert (result.overlay() == wanted.overlay()).all()


@pytest.mark.parametrize("grey", [picture()[..., 0], picture()[..., :1], picture()[::2, ::2, 1]])
def test_grey_is_rgb_of_three_equal_channels(street, grey):
    rgb = np.repeat(grey.reshape(*grey.shape[:2], 1), 3, 2)
    assert (street.segment(grey).classes == street.segment(rgb).classes).all()


def test_float_planes_are_what_the_library_makes_of_a_picture(street):
    rgb = picture(height=64, width=64)
    mean, std = (np.float32(street.info[key]) for key in ("mean", "std"))
    planes = ((rgb - mean) / std).transpose(2, 0, 1).astype(np.float32)
    apart = np.zeros((6, 64, 70), np.float32)[::2, :, 3:-3]
    apart[:] = planes
    wanted = street.segment(planes, format="planes", logits=True)
    assert wanted.classes.shape == (64, 64)
    assert (street.segment(apart, format="planes", logits=True).logits == wanted.logits).all()
    with pytest.raises(ValueError, match="planes"):
        wanted.overlay()
    assert wanted._repr_png_().startswith(b"\x89PNG")


WRONG = {
    "floats": (np.zeros((8, 8, 3)), {}, TypeError, "uint8.*float64.*planes"),
    "16 bits": (np.zeros((8, 8), np.uint16), {}, TypeError, "uint8"),
    "planes of bytes": (np.zeros((3, 8, 9), np.uint8), {}, ValueError, "transpose"),
    "two channels": (np.zeros((8, 8, 2), np.uint8), {}, ValueError, r"\(8, 8, 2\)"),
    "a batch": (np.zeros((1, 8, 8, 3), np.uint8), {}, ValueError, "shape"),
    "empty": (np.zeros((0, 8, 3), np.uint8), {}, ValueError, "none of them 0"),
    "too wide": (np.zeros((1, 20000, 3), np.uint8), {}, ValueError, "20000"),
    "None": (None, {}, TypeError, "object"),
    "text of bytes": (b"photo", {}, TypeError, "uint8"),
    "a format that is none": (picture(), {"format": "rgb"}, ValueError, "'rgb'.*RGB"),
    "channels of another": (picture(), {"format": "RGBA"}, ValueError, "4 channels"),
    "pixels as planes": (picture(), {"format": "planes"}, ValueError, "planes"),
    "double planes": (np.zeros((3, 64, 64)), {"format": "planes"}, TypeError, "float32"),
    "threshold": (picture(), {"threshold": 2}, ValueError, "threshold"),
    "no threshold": (picture(), {"threshold": "x"}, TypeError, "threshold"),
    "NaN": (picture(), {"threshold": float("nan")}, ValueError, "threshold"),
    "size": (picture(), {"size": "big"}, TypeError, "size"),
    "huge size": (picture(), {"size": 1 << 29}, ValueError, "16384|large|pixels"),
    "crop": (picture(), {"crop": 512}, TypeError, "crop"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_pictures_and_options_are_named(street, name):
    given, options, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        street.segment(given, **options)
    assert street.segment(picture()).classes.shape == (HEIGHT, WIDTH)


def test_a_file_is_read_upright_and_grey_of_16_bits_by_its_upper_8(street, tmp_path):
    rgb = picture()
    turned = Image.fromarray(np.rot90(rgb).copy())
    exif = Image.Exif()
    exif[0x112] = 6
    turned.save(tmp_path / "turned.png", exif=exif)
    assert (street.segment(tmp_path / "turned.png").classes == street.segment(rgb).classes).all()
    grey = rgb[..., 0]
    Image.fromarray(grey.astype(np.uint16) * 256 + 200).save(tmp_path / "deep.png")
    assert (street.segment(tmp_path / "deep.png").classes == street.segment(grey).classes).all()


@pytest.mark.parametrize("mode", ["1", "P", "LA", "CMYK", "YCbCr"])
def test_images_of_other_modes_become_rgb(street, mode):
    image = Image.fromarray(picture()).convert(mode)
    wanted = street.segment(np.asarray(image.convert("RGB"))).classes
    assert (street.segment(image).classes == wanted).all()


def test_images_whose_range_is_not_known_are_refused(street):
    with pytest.raises(TypeError, match="mode F"):
        street.segment(Image.fromarray(picture()[..., 0].astype(np.float32)))


def test_files_that_are_no_pictures_are_named(swinh, street, tmp_path):
    whole = tmp_path / "whole.png"
    Image.fromarray(picture()).save(whole)
    for name, content in (("text.png", b"text"), ("empty.jpg", b""),
                          ("cut.png", whole.read_bytes()[:-5000])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(swinh.PictureError, match=name):
            street.segment(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="none.png"):
        street.segment(tmp_path / "none.png")


# --- results --------------------------------------------------------------------------------------

def owner(array):
    """The class of what keeps an array's memory."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return type(array.base).__name__


def test_results_are_views_with_the_shapes_that_are_promised(street):
    result = street.segment(picture(), logits=True, confidence=True, features=True)
    assert result.classes.shape == (HEIGHT, WIDTH) and result.classes.dtype == np.uint8
    assert result.confidence.shape == (HEIGHT, WIDTH) and result.confidence.dtype == np.float32
    assert 0 < result.confidence.min() and result.confidence.max() <= 1
    assert result.logits.shape[0] == 11 and result.logits.dtype == np.float32
    assert len(result.features) == len(street.info["stages"])
    for feature, stage in zip(result.features, street.info["stages"]):
        assert feature.shape[0] == stage["width"]
    arrays = [result.classes, result.confidence, result.logits, *result.features]
    assert {owner(array) for array in arrays} == {"Lease"}
    assert result.scores is None
    assert street.segment(picture()).logits is None


def test_segments(swinh, street, convert):
    path = convert("seg-mask2former-hf-v5", "--things", "0,2", "--object-score", "0",
                   "--overlap-share", "0", "--mean", "0,0,0", "--std", "1,1,1")
    model = swinh.Model(path)
    result = model.segment(picture(), segments=True).copy()
    ids = result.segment_map
    assert ids.shape == (HEIGHT, WIDTH) and ids.dtype == np.uint16 and len(result.segments) > 1
    for i, s in enumerate(result.segments, 1):
        y, x = np.nonzero(ids == s.id)
        assert s.id == i and s.area == len(x) and 0 < s.score < 1
        assert s.box == (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)
        assert s.name == model.names[s.class_id] and s.thing == (s.class_id in (0, 2))
    assert model.segment(picture()).segments is None
    with pytest.raises(ValueError, match="segments of a model that does not give them"):
        street.segment(picture(), segments=True)


def test_instances_overlap(swinh, convert):
    path = convert("seg-mask2former-d2", "--segments", "instance", "--mean", "0,0,0", "--std",
                   "1,1,1")
    result = swinh.Model(path).segment(picture(), segments=True)
    shown = np.bincount(result.segment_map.ravel(), minlength=len(result.segments) + 1)
    assert len(result.segments) > 1 and (result.segment_map <= len(result.segments)).all()
    for s, pixels in zip(result.segments, shown[1:]):
        assert s.thing and 0 < s.score < 1 and pixels <= s.area
        y, x = np.nonzero(result.segment_map == s.id)
        left, top, width, height = s.box
        assert (left <= x).all() and (x < left + width).all()
        assert (top <= y).all() and (y < top + height).all()
    assert sum(s.area for s in result.segments) > shown[1:].sum()


@pytest.mark.parametrize("page, anchor", [("README.md", "### Python"),
                                          ("examples/python/README.md", "# swinh")])
def test_what_a_readme_shows_runs(swinh, monkeypatch, page, anchor):
    section = re.split(r"\n##+ ", (ROOT / page).read_text().split(anchor)[1])[0]
    monkeypatch.chdir(ROOT)
    names = {}
    for code in re.findall(r"```python\n(.*?)```", section, re.S):
        exec(code, names)
    assert 0 < sum(names["result"].shares().values()) <= 1 + 1e-9


def test_features_end_at_the_picture_s_last_stage_with_finite_numbers(street):
    assert all(np.isfinite(f).all() for f in street.segment(picture(), features=True).features)


def test_a_view_keeps_its_numbers_while_other_pictures_run(swinh):
    model = swinh.Model(STREET)
    classes = model.segment(picture(1)).classes
    before = classes.copy()
    for seed in range(2, 6):
        model.segment(picture(seed))
    assert (classes == before).all()
    del model
    gc.collect()
    assert (classes == before).all()


def test_memory_is_used_again_when_its_results_are_gone(swinh):
    model = swinh.Model(STREET)
    places = set()
    for seed in range(8):
        places.add(model.segment(picture(seed)).classes.__array_interface__["data"][0])
    assert len(places) <= 2


def test_many_living_results_become_copies(swinh):
    model = swinh.Model(STREET)
    results = [model.segment(picture(seed)) for seed in range(8)]
    kinds = [owner(result.classes) for result in results]
    assert kinds == ["Lease"] * 4 + ["NoneType"] * 4
    for seed, result in enumerate(results):
        assert (result.classes == model.segment(picture(seed)).classes).all()
    del results, result
    assert owner(model.segment(picture()).classes) == "Lease"


def test_a_copy_owns_its_memory(street):
    assert owner(street.segment(picture(), copy=True).classes) == "NoneType"
    result = street.segment(picture(), features=True)
    copied = result.copy()
    assert owner(copied.features[0]) == "NoneType"
    assert (copied.features[0] == result.features[0]).all()


def test_a_threshold_takes_pixels_out(street):
    result = street.segment(picture(), threshold=0.9, confidence=True)
    assert ((result.classes == 255) == (result.confidence < np.float32(0.9))).all()
    unknown = result.classes == 255
    assert unknown.any() and (result.overlay()[unknown] == picture()[unknown]).all()
    assert (result.colors()[unknown] == 0).all()
    assert sum(result.shares().values()) == pytest.approx(1 - unknown.mean())


def test_colours_overlay_and_notebook_picture(street):
    result = street.segment(picture())
    colors = street.palette[result.classes]
    assert (result.colors() == colors).all()
    assert (result.overlay(0) == picture()).all() and (result.overlay(1) == colors).all()
    half = (picture() + (colors.astype(float) - picture()) * 0.5 + 0.5).astype(np.uint8)
    assert (result.overlay() == half).all()
    assert result._repr_png_().startswith(b"\x89PNG")
    assert "128x96" in repr(result)


def test_a_size_changes_what_the_network_sees(street):
    small = street.segment(picture(), size=64, logits=True)
    assert small.classes.shape == (HEIGHT, WIDTH)
    assert street.input_shape(HEIGHT, WIDTH, size=64) == (48, 64)
    assert small.logits.shape[2] < street.segment(picture(), logits=True).logits.shape[2]


def test_a_sliding_window_is_another_result(street):
    big = picture(height=160, width=224)
    slid = street.segment(big, crop=(128, 128), stride=(96, 96), logits=True).logits
    assert slid.shape[1:] == street.input_shape(160, 224)


def test_sizes_may_change_from_call_to_call(street):
    for height, width in ((40, 56), (96, 33), (1, 1), (40, 56)):
        assert street.segment(picture(5, height, width)).classes.shape == (height, width)


def test_memory_limit_is_a_memory_error(swinh):
    with pytest.raises(MemoryError):
        swinh.Model(STREET, memory_limit=1000).segment(picture())


def test_threads_share_a_model_and_give_the_same_bits(swinh):
    model = swinh.Model(STREET)
    pictures = [picture(seed, 64 + 16 * (seed % 3), 96) for seed in range(6)]
    wanted = [model.segment(rgb).classes.copy() for rgb in pictures]
    wrong = []

    def work(first):
        for turn in range(12):
            k = (first + turn) % len(pictures)
            result = model.segment(pictures[k])
            if not (result.classes == wanted[k]).all():
                wrong.append(k)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_other_threads_go_on_while_a_picture_is_segmented(swinh):
    model = swinh.Model(STREET, cpu="scalar")
    turns = []
    done = threading.Event()

    def count():
        while not done.is_set():
            turns.append(1)
            done.wait(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    model.segment(picture(), size=64)
    done.set()
    thread.join()
    assert len(turns) > 5


def test_threads_and_instruction_sets_give_the_same_bits(swinh, street, cpus):
    wanted = street.segment(picture(), size=64, logits=True).logits
    for options in [{"threads": 3}] + [{"cpu": cpu} for cpu in cpus]:
        logits = swinh.Model(STREET, **options).segment(picture(), size=64, logits=True).logits
        assert (logits == wanted).all()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_has_threads_and_locks_of_its_own(swinh):
    model = swinh.Model(STREET, threads=2)
    wanted = zlib.crc32(model.segment(picture()).classes)
    lock = model._contexts.lock
    lock.acquire()                      # as another thread of the parent may
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(zlib.crc32(model.segment(picture()).classes) != wanted)
    lock.release()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_ctrl_c_ends_a_long_run(installed):
    code = f"""
import _thread, threading, numpy, swinh
model = swinh.Model({str(STREET)!r}, cpu="scalar")
threading.Timer(1, _thread.interrupt_main).start()
try:
    model.segment(numpy.zeros((1000, 1000, 3), numpy.uint8), size=640)
except KeyboardInterrupt:
    print("interrupted", model.segment(numpy.zeros((8, 8, 3), numpy.uint8), size=32).classes.shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(installed)}, timeout=300)
    assert done.stdout == "interrupted (8, 8)\n", done.stderr


# --- the converter --------------------------------------------------------------------------------

@pytest.fixture
def hugging_face():
    """A stored checkpoint that is a folder with its config."""
    return next(case for case in sorted(GOLDEN.iterdir()) if (case / "config.json").exists())


def test_convert_makes_the_model_that_the_tool_makes(swinh, tmp_path, convert, hugging_face):
    path = swinh.convert(hugging_face, tmp_path / "model.swin")
    assert path == tmp_path / "model.swin"
    assert path.read_bytes() == convert(hugging_face.name).read_bytes()
    assert swinh.Model(path).info["bytes"] == path.stat().st_size


def test_convert_names_the_model_after_its_checkpoint(swinh, tmp_path, hugging_face):
    shutil.copytree(hugging_face, tmp_path / "copy")
    assert swinh.convert(tmp_path / "copy", note={"purpose": "a test"}) == tmp_path / "copy.swin"
    assert b"a test" in (tmp_path / "copy.swin").read_bytes()


def test_convert_says_what_the_tool_says(swinh, tmp_path):
    with pytest.raises(swinh.ConvertError, match="nothing.pth"):
        swinh.convert(tmp_path / "nothing.pth")
    (tmp_path / "text.pth").write_text("text")
    with pytest.raises(swinh.ConvertError, match="text.pth: "):
        swinh.convert(tmp_path / "text.pth")
    with pytest.raises(TypeError, match="no-such-option"):
        swinh.convert(tmp_path / "text.pth", no_such_option=1)
    with pytest.raises(TypeError, match="7x"):
        swinh.convert(tmp_path / "text.pth", image_size="7x")


def test_a_classifier_gives_scores_in_words(swinh, tmp_path, hugging_face, command):
    path = swinh.convert(hugging_face, tmp_path / "classifier.swin")
    model = swinh.Model(path)
    result = model.segment(picture(height=64, width=64))
    assert result.classes is None and result.scores.shape == (len(model.names),)
    likeliest = result.top(3)
    assert [name for name, _ in likeliest] == [model.names[k]
                                               for k in np.argsort(-result.scores)[:3]]
    assert likeliest[0][1] > likeliest[1][1] > 0
    assert result._repr_png_() is None and "Result" in repr(result)
    for ask in (result.colors, result.shares, result.overlay):
        with pytest.raises(ValueError, match="class map"):
            ask()
    done = command("map", tmp_path, "-m", path, "-o", tmp_path / "out")
    assert done.returncode == 3 and "class map" in done.stderr


# --- the command ----------------------------------------------------------------------------------

@pytest.fixture
def photos(tmp_path):
    """A folder of six small pictures, one of them in a folder below."""
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for number in range(5):
        Image.fromarray(picture(number, 32, 48)).save(folder / f"{number}.png")
    Image.fromarray(picture(9, 32, 48)).save(folder / "below" / "0.png")
    (folder / "notes.txt").write_text("no picture")
    return folder


def results(folder):
    """Names of results; parts of what is being written, or was by a killed worker, aside."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png")
                  if path.parent.name != ".swinh-parts")


EXPECTED = sorted([*(f"{number}.png.ids.png" for number in range(5)), "below/0.png.ids.png"])


def test_map_writes_a_result_for_each_picture_of_a_folder(command, photos, tmp_path, street):
    out = tmp_path / "out"
    done = command("map", photos, "-m", STREET, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "6 written, 0 were there, 0 failed" in done.stderr
    assert results(out) == EXPECTED
    ids = np.asarray(Image.open(out / "below" / "0.png.ids.png"))
    assert (ids == street.segment(picture(9, 32, 48)).classes).all()


def test_map_started_again_does_what_is_missing_or_old(command, photos, tmp_path):
    out = tmp_path / "out"
    command("map", photos, "-m", STREET, "-o", out)
    (out / EXPECTED[0]).unlink()
    later = (out / EXPECTED[1]).stat().st_mtime + 10
    os.utime(photos / EXPECTED[1].replace(".ids.png", ""), (later, later))
    done = command("map", photos, "-m", STREET, "-o", out)
    assert "2 written, 4 were there, 0 failed" in done.stderr


def test_map_goes_on_when_a_picture_is_bad(command, photos, tmp_path):
    (photos / "2.png").write_bytes(b"text")
    done = command("map", photos, "-m", STREET, "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "2.png is no picture" in done.stderr and "5 written" in done.stderr
    assert len(results(tmp_path / "out")) == 5


def test_map_leaves_nothing_half_written(command, photos, tmp_path):
    out = tmp_path / "out"
    (out / "0.png.ids.png").mkdir(parents=True)
    done = command("map", photos, "-m", STREET, "-o", out)
    assert done.returncode == 1 and "0.png" in done.stderr
    assert not [path for path in (out / ".swinh-parts").iterdir()]


def test_map_removes_the_parts_of_a_run_that_was_killed_long_ago(command, photos, tmp_path):
    parts = tmp_path / "out" / ".swinh-parts"
    parts.mkdir(parents=True)
    for name, age in (("old.png", 10000), ("new.png", 0)):
        (parts / name).write_bytes(b"half")
        if age:
            os.utime(parts / name, (1, 1))
    command("map", photos, "-m", STREET, "-o", tmp_path / "out")
    assert [path.name for path in parts.iterdir()] == ["new.png"]


def test_map_takes_patterns_manifests_and_shards(command, photos, tmp_path):
    manifest = tmp_path / "list.txt"
    manifest.write_text(f"{photos}/1.png\n\n{photos}/below/0.png\n{photos}/1.png\n")
    command("map", "--manifest", manifest, "-m", STREET, "-o", tmp_path / "listed")
    assert results(tmp_path / "listed") == ["1.png.ids.png", "below/0.png.ids.png"]
    command("map", f"{photos}/**/0.png", "-m", STREET, "-o", tmp_path / "matched")
    assert results(tmp_path / "matched") == ["0.png.ids.png", "below/0.png.ids.png"]
    counts = []
    for index in range(3):
        command("map", photos, "-m", STREET, "-o", tmp_path / "parts", "--shard", f"{index}/3")
        counts.append(len(results(tmp_path / "parts")))
    assert counts[0] < 6 and results(tmp_path / "parts") == EXPECTED


def test_map_leaves_its_own_results_out(command, photos):
    for _ in range(2):
        done = command("map", photos, "-m", STREET, "-o", photos / "out")
        assert done.returncode == 0
    assert "0 written, 6 were there" in done.stderr
    assert command("map", photos, "-m", STREET, "-o", photos).returncode == 2


def test_map_does_not_mix_results_of_different_options(command, photos, tmp_path):
    out = tmp_path / "out"
    command("map", photos, "-m", STREET, "-o", out)
    for options in (["--kind", "mask"], ["--size", "32"], ["-m", ROOT / "weights/aerial.swin"]):
        done = command("map", photos, "-m", STREET, "-o", out, *options)
        assert done.returncode == 2 and "swinh.json" in done.stderr


def test_runs_that_start_at_once_agree_on_what_a_folder_holds(swinh, tmp_path):
    from swinh._cli import claim_output
    from swinh._listing import ListingError
    from swinh._writing import Job

    def claim(task):
        folder, model = task
        try:
            claim_output(Job(str(tmp_path / str(folder))), {"model": model})
            return task
        except ListingError:
            return None

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        tasks = [(number // 8, number % 2) for number in range(400)]
        done = [task for task in pool.map(claim, tasks) if task]
    assert len(done) == 200 and len(set(done)) == 50
    assert not [path for path in tmp_path.glob("*/.swinh-parts/*")]


@pytest.mark.parametrize("arguments, status, text", [
    (["map", "nowhere", "-m", STREET, "-o", "out"], 2, "there is no nowhere"),
    (["map", ".", "-m", STREET, "-o", "out"], 2, "no pictures"),
    (["map", "-m", STREET, "-o", "out"], 2, "name pictures"),
    (["map", "*.jpg", "-m", STREET, "-o", "out"], 2, "nothing matches"),
    (["map", ".", "-m", "none.swin", "-o", "out"], 3, "none.swin"),
    (["map", ".", "-m", __file__, "-o", "out"], 3, "python.py"),
    (["map", ".", "-m", STREET, "-o", "out", "--shard", "3/3"], 2, "3/3"),
    (["map", ".", "-m", STREET, "-o", "out", "--size", "-1"], 2, "'-1' is no number from 1"),
    (["map", ".", "-m", STREET, "-o", "out", "--crop", "0x8"], 2, "'0x8' has a side"),
    (["map", "--manifest", "none.txt", "-m", STREET, "-o", "out"], 2, "none.txt"),
    (["map", ROOT / "examples/photos", "-m", STREET, "-o", "out", "--address", "here"], 2,
     "Ray at here: "),
    (["info", "none.swin"], 3, "none.swin"),
])
def test_wrong_commands_are_one_sentence(command, tmp_path, arguments, status, text):
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == status and text in done.stderr
    assert "Traceback" not in done.stderr


def test_ray_that_is_not_installed_is_named(installed, photos, tmp_path):
    (tmp_path / "ray.py").write_text("raise ImportError")
    done = subprocess.run(
        [sys.executable, "-m", "swinh._cli", "map", photos, "-m", STREET, "-o", tmp_path / "out",
         "--ray"], capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{installed}"})
    assert done.returncode == 2 and done.stderr == "swinh: --ray needs Ray: pip install ray\n"


def children_named(name, ancestor):
    """Processes below `ancestor` whose command begins with `name`."""
    parents, commands = {}, {}
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2]
                                            .split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().decode("latin-1")
        except (OSError, ValueError):
            continue

    def is_below(process):
        while process in parents and process != ancestor:
            process = parents[process]
        return process == ancestor
    return [process for process, command in commands.items()
            if command.startswith(name) and is_below(process)]


def test_ray_loses_nothing_when_a_worker_is_killed(installed, tmp_path):
    photos, out = tmp_path / "photos", tmp_path / "out"
    photos.mkdir()
    for number in range(64):
        Image.fromarray(picture(number, 240, 320)).save(photos / f"{number}.png")
    (photos / "bad.png").write_bytes(b"text")
    run = subprocess.Popen(
        [sys.executable, "-m", "swinh._cli", "map", photos, "-m", STREET, "-o", out, "--size",
         "640", "--ray", "--workers", "2"], stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(installed), "RAY_USAGE_STATS_ENABLED": "0"})
    workers = []
    while run.poll() is None and not (workers and len(results(out)) >= 8):
        workers = children_named("ray::process_batch", run.pid)
        time.sleep(0.05)
    assert run.poll() is None and len(results(out)) < 64, "it was over before the worker was killed"
    os.kill(workers[0], signal.SIGKILL)
    said = run.communicate(timeout=900)[1]
    assert run.returncode == 1 and "bad.png is no picture" in said, said
    assert "64 written, 0 were there, 1 failed" in said
    assert results(out) == sorted(f"{number}.png.ids.png" for number in range(64))


def test_info_is_json(command):
    assert json.loads(command("info", STREET).stdout)["classes"] == 11


def test_swinh_convert_is_the_tool(command, tmp_path):
    done = command("convert", tmp_path / "none.pth", "-o", tmp_path / "model.swin")
    assert done.returncode == 1 and done.stderr.startswith("convert.py: ")
    assert "--max-size" in command("convert", "--help").stdout
