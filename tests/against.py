"""segment --against: two models on the same pictures, with and without labels; segment --info."""

import re
import shutil

import numpy
import pytest
import torch
from PIL import Image

from checkpoints.convert import blob
from cli import CASE, GOLDEN, NORMALISATION, SEGMENT, load, names, pixels, refused, run
from conftest import ROOT, load_tool

miou = load_tool("miou")
CLASSES, UNKNOWN = 5, 255
LINE = re.compile(r"(.*): (\d+) of (\d+) pixels change, ([\d.]+) %"
                  r"(?:; mean IoU ([\d.]+), (.*) ([\d.]+))?")


@pytest.fixture(scope="module")
def model(convert):
    return convert(CASE, *NORMALISATION)


@pytest.fixture(scope="module")
def other(convert, tmp_path_factory):
    """The same network with a head that says other classes in places."""
    state = torch.load(GOLDEN / CASE / "checkpoint.pth", weights_only=True)["state_dict"]
    weight = state["decode_head.conv_seg.weight"]
    weight += 0.3 * weight.std() * torch.randn(weight.shape,
                                               generator=torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("other") / "other.pth"
    torch.save({"state_dict": state}, path)
    return convert(path, *NORMALISATION)


@pytest.fixture
def pictures(tmp_path):
    """Two pictures of different sizes."""
    folder = tmp_path / "in"
    folder.mkdir()
    paths = [folder / "a.png", folder / "b.c.ppm"]
    Image.fromarray(pixels(60, 44)).save(paths[0])
    Image.fromarray(pixels(50, 70)[::-1]).save(paths[1])
    return paths


@pytest.fixture
def ids(tmp_path):
    """ids(model, picture, options...): the class map that the model gives."""
    def make(which, picture, *options):
        r = run(SEGMENT, "-m", which, "--ids", *options, "-o", tmp_path / "ids.png", picture)
        assert r.returncode == 0, r.stderr
        return load(tmp_path / "ids.png")

    return make


@pytest.fixture
def compare(model, other):
    return lambda *arguments, **more: run(SEGMENT, "-m", model, "--against", other, *arguments,
                                          **more)


def lines(result, status=0):
    assert result.returncode == status, result.stderr
    return [LINE.fullmatch(line).groups() for line in result.stdout.decode().splitlines()]


def write_labels(picture, rng, unknown=0.2):
    """Random labels beside a picture."""
    width, height = Image.open(picture).size
    labels = rng.integers(0, CLASSES - 1, (height, width)).astype("u1")     # a class is nowhere
    labels[rng.random(labels.shape) < unknown] = UNKNOWN
    Image.fromarray(labels).save(label_path(picture))
    return labels


def label_path(picture):
    return picture.with_suffix(".label.png")


@pytest.mark.parametrize("options", [
    (), ("--size=40", "--threads=1"), ("--flip", "--scales=0.75,1"),
    ("--slide=24x32", "--stride=20x16", "--threads=3"), ("--cpu=scalar", "--whole", "-q")])
def test_changed_pixels_are_those_of_the_class_maps(compare, model, other, ids, pictures, options):
    before = names(pictures[0].parent)
    found = lines(compare(*options, *pictures))
    wanted, whole = [], 0
    for picture in pictures:
        changed = ids(model, picture, *options) != ids(other, picture, *options)
        wanted.append((str(picture), int(changed.sum()), changed.size))
        whole += changed.size
    assert all(0 < changed < size for _, changed, size in wanted)
    wanted.append(("in all", sum(changed for _, changed, _ in wanted), whole))
    assert [(what, int(n), int(size)) for what, n, size, *_ in found] == wanted
    for (_, changed, size), (*_, share, iou, _, _) in zip(wanted, found, strict=True):
        assert float(share) == pytest.approx(100 * changed / size, abs=5.1e-4) and iou is None
    assert names(pictures[0].parent) == before          # nothing is written


def test_a_model_against_itself(model, pictures):
    r = run(SEGMENT, "-m", model, "--against", model, *pictures)
    assert [(changed, share) for _, changed, _, share, *_ in lines(r)] == [("0", "0.000")] * 3


def test_mean_ious_are_those_of_the_tool(compare, model, other, ids, pictures):
    """Of each picture and, by counts that are summed first, of all that have labels."""
    rng = numpy.random.default_rng(2)
    unlabelled = pictures[0].with_name("u.png")
    shutil.copy(pictures[0], unlabelled)
    sums = {which: numpy.zeros((CLASSES, CLASSES), int) for which in (model, other)}
    wanted = []
    for picture in pictures:
        labels = write_labels(picture, rng)
        found = {which: miou.confusion_matrix(ids(which, picture), labels, CLASSES)
                 for which in sums}
        for which, matrix in found.items():
            sums[which] += matrix
        wanted.append([numpy.nanmean(miou.class_iou(matrix)) for matrix in found.values()])
    wanted.append([numpy.nanmean(miou.class_iou(matrix)) for matrix in sums.values()])
    first, none, second, whole = lines(compare(pictures[0], unlabelled, pictures[1]))
    assert none[4:] == (None, None, None)
    for (*_, iou, name, of_other), figures in zip((first, second, whole), wanted, strict=True):
        assert name == str(other)
        assert [float(iou), float(of_other)] == pytest.approx(figures, abs=5.1e-5)
    assert first[4] != first[6] and whole[4] not in (first[4], second[4])


def test_labels_that_know_nothing_are_none(compare, pictures):
    write_labels(pictures[0], numpy.random.default_rng(0), unknown=1)
    assert [line[4] for line in lines(compare(pictures[0]))] == [None, None]


def spoil_size(path):
    Image.open(path).resize((60, 43), Image.NEAREST).save(path)


def spoil_class(path):
    labels = load(path).copy()
    labels[3, 4] = CLASSES
    Image.fromarray(labels).save(path)


def spoil_depth(path):
    Image.fromarray(load(path).astype("u2")).save(path)


def spoil_bits(path):
    Image.fromarray(load(path) > 0).save(path)      # one bit a pixel: the reader makes it 0 and 255


def spoil_palette(path):
    Image.open(path).convert("P").save(path)


def spoil_end(path):
    path.write_bytes(path.read_bytes()[:-30])


def spoil_format(path):
    Image.open(path).save(path, "JPEG")


def spoil_kind(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil,words", [
    (spoil_size, "is 60x43, and its picture 60x44"),
    (spoil_class, "holds class 5, and the models have 5"), (spoil_depth, "grey PNG of 8 bits"),
    (spoil_bits, "grey PNG of 8 bits"), (spoil_palette, "grey PNG of 8 bits"),
    (spoil_end, "cut short"), (spoil_format, "grey PNG of 8 bits"), (spoil_kind, "directory")])
def test_labels_that_are_none_are_named_and_the_rest_goes_on(compare, pictures, spoil, words):
    for picture in pictures:
        write_labels(picture, numpy.random.default_rng(0))
    spoil(label_path(pictures[0]))
    r = compare(*pictures)
    text = r.stderr.decode()
    assert text.count("\n") == 1 and "a.label.png" in text and words in text
    second, whole = lines(r, 1)
    assert second[0] == str(pictures[1]) and whole[1:] == second[1:]


def test_pictures_that_cannot_be_read(compare, pictures):
    pictures[0].write_bytes(b"no picture")
    r = compare(*pictures)
    assert r.stderr.count(b"\n") == 1 and b"a.png" in r.stderr and len(lines(r, 1)) == 2
    r = compare(pictures[0])
    assert r.returncode == 1 and not r.stdout


def test_standard_input(compare, model, other, pictures):
    write_labels(pictures[0], numpy.random.default_rng(0))
    whole = lines(compare(pictures[0]))
    with open(pictures[0], "rb") as f:
        piped = lines(compare("-", stdin=f))
    assert piped[0][0] == "-" and piped[0][1:4] == whole[0][1:4] and piped[0][4] is None
    with open(other, "rb") as f:
        r = run(SEGMENT, "-m", model, "--against", "-", pictures[0], stdin=f)
    assert lines(r)[0][1] == whole[0][1]
    refused(run(SEGMENT, "-m", "-", "--against", "-", pictures[0]), 2, "standard input")
    refused(run(SEGMENT, "-m", model, "--against", "-", "-"), 2, "standard input")


def test_models_that_cannot_be_compared(convert, model, pictures, tmp_path):
    street = ROOT / "weights/street.swin"
    classifier = convert("fam-tv-swin-cls")
    refused(run(SEGMENT, "-m", model, "--against", street, *pictures), 3, "street.swin",
            "has 11 classes, and the model 5")
    refused(run(SEGMENT, "-m", model, "--against", classifier, *pictures), 3, str(classifier),
            "no map of classes")
    refused(run(SEGMENT, "-m", classifier, "--against", model, *pictures), 3, str(classifier),
            "is a classifier")
    refused(run(SEGMENT, "-m", model, "--against", features_of(convert), *pictures), 3,
            "no map of classes")
    refused(run(SEGMENT, "-m", model, "--against", tmp_path / "none.swin", *pictures), 3,
            "none.swin")
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    (tmp_path / "damaged.swin").write_bytes(data)
    refused(run(SEGMENT, "-m", model, "--against", tmp_path / "damaged.swin", *pictures), 3,
            "damaged.swin", "checksum")


def features_of(convert):
    return convert("fam-timm-swin-features")


@pytest.mark.parametrize("arguments", [
    ["--ids"], ["--overlay"], ["--mask"], ["--confidence"], ["--json"], ["-o", "x.png"],
    ["--threshold=0.5"], ["--attend=1,1"], ["--json", "-o", "x.json"]])
def test_nothing_else_is_written(compare, pictures, arguments):
    refused(compare(*arguments, pictures[0]), 2, "--against compares classes")
    assert names(pictures[0].parent) == ["a.png", "b.c.ppm"]


def test_mistaken_ways(compare, model, pictures):
    refused(compare(), 2, "no IMAGE")
    refused(run(SEGMENT, "-m", model, "--against", "", pictures[0]), 2, "--against", "expected")
    refused(run(SEGMENT, "-m", model, pictures[0], "--against"), 2, "--against", "value")
    for option in ("--self-test", "--record", "--info"):
        refused(compare(option), 2, "--against")


def test_what_cannot_be_written_is_told(compare, pictures):
    with open("/dev/full", "wb") as full:
        r = compare(pictures[0], stdout=full)
    assert r.returncode == 1 and b"standard output" in r.stderr


# --info -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("case", [CASE, "fam-tv-swin-cls", "features"])
def test_info_lists_every_tensor_and_sums_them(convert, case):
    path = features_of(convert) if case == "features" else convert(case, "--licence", "mine")
    read = blob.read(path)
    r = run(SEGMENT, "-m", path, "--info")
    assert r.returncode == 0 and not r.stderr
    listed, _, summary = r.stdout.decode().partition("\n\n")
    sizes = [blob.stored_bytes(spec) for spec in read.specs]
    for line, spec, size in zip(listed.splitlines(), read.specs, sizes, strict=True):
        type_, layout, shape, bytes_, share, percent, name = line.split()
        assert (type_, layout) == ("f32", blob.LAYOUT_NAMES[spec.layout])
        assert shape == "x".join(map(str, spec.form.shape)) and percent == "%"
        assert (int(bytes_), name) == (size, spec.name)
        assert float(share) == pytest.approx(100 * size / sum(sizes), abs=0.051)
    classes = read.description["classes"]
    assert f"{path}: {path.stat().st_size} bytes, {classes} classes\n" in summary
    assert "licence: mine\n" in summary or case == "features"
    assert summary.endswith(f"f32{sum(sizes):>13} bytes 100.0 %  in {len(sizes)} tensors\n")


def test_info_takes_nothing_else(model, pictures, tmp_path):
    refused(run(SEGMENT, "-m", model, "--info", pictures[0]), 2, "--info", "no IMAGE")
    refused(run(SEGMENT, "-m", model, "--info", "-o", "x"), 2, "-o")
    refused(run(SEGMENT, "-m", model, "--info", "--self-test"), 2, "one of them")
    refused(run(SEGMENT, "-m", tmp_path / "none", "--info"), 3, "none")
    with open("/dev/full", "wb") as full:
        assert run(SEGMENT, "-m", model, "--info", stdout=full).returncode == 1
