"""tools/train.py and tools/miou.py: what they read, what they count, and that training goes on.

The pictures are drawn here: red is class 0, green class 1, and what is blue is not labelled.
"""

import csv
import json
import subprocess
import sys

import numpy
import pytest
import torch
from PIL import Image

from conftest import ROOT, load_tool

sys.path.append(str(ROOT / "tools"))
import miou  # noqa: E402

TOOLS = ROOT / "tools"
COLOURS = {0: (200, 40, 40), 1: (40, 200, 40), 255: (40, 40, 200)}
CONFIG = {
    "name": "small", "classes": ["red", "green"], "palette": [[255, 0, 0], [0, 255, 0]],
    "mean": [120, 120, 120], "std": [60, 60, 60],
    "model": {"backbone": {"embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2], "window": 4,
                           "mlp_ratio": 2, "tokens": 1, "opti": True, "out_indices": [0, 1]},
              "head": {"type": "FCNHead", "channels": 16, "classes": 2, "num_convs": 1,
                       "in_index": [0]},
              "auxiliary": {"type": "FCNHead", "channels": 16, "classes": 2, "num_convs": 1,
                            "concat_input": False, "in_index": [1]}},
    "sets": [{"folder": "halves", "share": 1}, {"folder": "later", "share": 1, "start": 0.5},
             {"folder": "halves", "but": "1*", "shrink": 2, "share": 0, "name": "watched"}],
    "watch": ["watched"], "class_weights": [1, 1],
    "phases": [{"until": 0.5, "crop": [32, 32], "scale": [0.7, 1.5], "batch": 2},
               {"until": 1, "crop": [40, 48], "scale": [0.9, 1.1], "batch": 2}],
    "augment": {"rotate": 0.5, "degrees": 10, "stretch": 1.2, "balance": 0.5, "colour": 0.2,
                "turn": True},
    "iterations": 40, "save_minutes": 60, "watch_minutes": 60, "accumulate": 1, "dice": 0.5,
    "lr": 0.005, "warmup": 0.1, "weight_decay": 0.01, "clip": 5, "muon": True, "ema": 0.8,
    "seed": 1}


@pytest.fixture(scope="module")
def train():
    module = load_tool("train")
    torch.set_num_threads(1)
    return module


def draw(folder, name, label):
    folder.mkdir(parents=True, exist_ok=True)
    picture = numpy.zeros((*label.shape, 3), numpy.uint8)
    for k, colour in COLOURS.items():
        picture[label == k] = colour
    Image.fromarray(picture).save(folder / f"{name}.jpg", quality=95)
    Image.fromarray(label).save(folder / f"{name}.label.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    for i, edge in enumerate((20, 30, 40, 50)):
        label = numpy.zeros((48, 64), numpy.uint8)
        label[:, edge:] = 1
        label[:6] = 255
        draw(data / "halves", f"{i}", label)
        draw(data / "later", f"{i}", label.copy()[:, ::-1])
    (data / "halves" / "classes.csv").write_text("own_id,own_name,street_id\n0,red,1\n1,green,0\n")
    return data


def run(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True)


# Sets ---------------------------------------------------------------------------------------------

def test_a_set_may_be_a_part_of_a_folder(train, data):
    whole = train.Folder(data, "halves")
    part = train.Folder(data, "halves", only="[12]*", but="2*", shrink=2, name="part")
    assert (whole.name, len(whole.frames)) == ("halves", 4)
    assert (part.name, len(part.frames)) == ("part", 1)
    image, label = part.frames[0]
    assert image.shape == (3, 24, 32) and label.shape == (24, 32)
    assert numpy.array_equal(numpy.unique(label), [0, 1, 255])


def test_a_sets_own_classes_are_translated(train, data):
    plain, other = (numpy.asarray(train.Folder(data, "halves", mapping=mapping).frames[0][1])
                    for mapping in (None, "classes.csv"))
    assert numpy.array_equal(plain == 0, other == 1) and numpy.array_equal(plain == 1, other == 0)


def test_a_folder_without_labels_is_refused(train, data):
    with pytest.raises(SystemExit, match="no NAME.label.png"):
        train.Folder(data, "halves", only="nothing*")


def views_of(train, folders, **changes):
    config = dict(CONFIG, augment=dict(CONFIG["augment"], colour=0, **changes))
    config["phases"] = [{"until": 1, "crop": [24, 24], "scale": [0.5, 2], "batch": 8}]
    return train.Views(config, folders, torch.device("cpu"))


def test_views_keep_picture_and_label_together(train, data):
    folder = train.Folder(data, "halves")
    folder.frames[1] = tuple(x[..., :30, :50] for x in folder.frames[1])    # a smaller frame
    views, seen = views_of(train, [folder], rotate=1), set()
    for i in range(6):
        images, labels, absent = views.batch(i, 0)
        assert images.shape == (8, 3, 24, 24) and labels.shape == (8, 24, 24)
        assert absent.shape == (8, 2) and not absent.any()
        for image, label in zip(images, labels, strict=True):
            for k in (0, 1):
                if (label == k).sum() > 100:    # its edges are mixed with their neighbours
                    seen.add(k)
                    assert image[:, label == k].mean(1).argmax() == k
    assert seen == {0, 1}


def test_a_batch_depends_on_its_number_and_the_seed_alone(train, data):
    first, again = (views_of(train, [train.Folder(data, "halves")], mix=1, tint=0.2)
                    for _ in range(2))
    first.batch(0, 0)
    for a, b in zip(first.batch(1, 0), again.batch(1, 0), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first.batch(1, 0)[0], first.batch(2, 0)[0])


def test_a_view_is_where_its_map_says(train):
    rows, columns = torch.meshgrid(torch.arange(40.0), torch.arange(60.0), indexing="ij")
    phase, options = {"crop": (20, 30), "scale": (1, 1)}, {"stretch": 1, "balance": 0, "rotate": 0}
    canvas, size = (50, 70), (40, 60)
    picture = torch.zeros(1, 2, *canvas)
    picture[0, :, :40, :60] = torch.stack([rows, columns])
    for seed in range(8):
        theta = train.view(size, [], canvas, numpy.random.default_rng(seed), phase, options)
        grid = torch.nn.functional.affine_grid(torch.tensor(theta[None]).float(), (1, 2, 20, 30),
                                               align_corners=False)
        y, x = torch.nn.functional.grid_sample(picture, grid, align_corners=False)[0]
        inner = slice(1, -1), slice(1, -1)              # one pixel is one pixel, mirrored or not
        assert torch.allclose(y[inner].diff(dim=0), torch.tensor(1.0), atol=1e-3)
        assert torch.allclose(x[inner].diff(dim=1).abs(), torch.tensor(1.0), atol=1e-3)
        assert 0 <= y[inner].min() and y.max() <= 39 and 0 <= x[inner].min() and x.max() <= 59


def test_what_lies_outside_a_frame_is_not_labelled(train, data):
    folder = train.Folder(data, "halves")
    folder.frames = [(image, torch.zeros_like(label)) for image, label in folder.frames]
    views = views_of(train, [folder], balance=0, degrees=45, rotate=1)
    labels = torch.cat([views.batch(i, 0)[1] for i in range(4)])
    assert set(labels.unique().tolist()) == {0, 255}
    assert (labels[:, 12, 12] == 0).all()


def test_colours_change_within_their_strength(train):
    images = torch.rand(16, 3, 8, 8) * 100 + 60
    rng = numpy.random.default_rng(0)
    assert torch.allclose(train.recolour(images, rng, 0), images, atol=1e-3)
    changed = train.recolour(images, rng, 0.2)
    ratio = changed.mean((1, 2, 3)) / images.mean((1, 2, 3))
    assert 0.79 < ratio.min() < 0.95 and 1.05 < ratio.max() < 1.21


def test_a_tint_keeps_the_order_of_a_channels_levels(train):
    ramp = torch.arange(256.0).expand(20, 3, 1, 256)
    rng = numpy.random.default_rng(0)
    assert torch.allclose(train.tint(ramp, rng, 0), ramp, atol=1e-3)
    tinted = train.tint(ramp, rng, 0.2)
    assert (tinted.diff(dim=3) >= 0).all()
    assert ((tinted[:, 0] - tinted[:, 1]).abs().amax((1, 2)) > 1).all()


def test_a_mix_lays_the_taken_classes_of_another_view_over_a_view(train):
    labels = torch.tensor([[[7, 7, 7, 255]], [[0, 1, 255, 1]]])
    images = torch.tensor([0.0, 1.0])[:, None, None, None].expand(2, 3, 1, 4)
    taken = torch.zeros(2, 256, dtype=torch.bool)
    taken[0, 1] = True
    mixed, seen = train.mix(images, labels, [1, 0], taken)
    assert seen.tolist() == [[[7, 1, 7, 1]], [[0, 1, 255, 1]]]
    assert mixed[:, 1].tolist() == [[[0, 1, 0, 1]], [[1, 1, 1, 1]]]


def test_views_are_mixed_among_sets_that_label_the_same_classes(train, data):
    folders = [train.Folder(data, "halves"), train.Folder(data, "later", absent=[1])]
    for value, folder in enumerate(folders):
        folder.start = 0
        folder.frames = [(image, torch.full_like(label, value)) for image, label in folder.frames]
    views, drawn = views_of(train, folders, mix=1, rotate=0), set()
    for i in range(4):
        for label, absent in zip(*views.batch(i, 0)[1:]):
            drawn.add((*label.unique().tolist(), absent[1].item()))
    assert drawn == {(0, False), (1, True)}


# The loss -----------------------------------------------------------------------------------------

def test_the_loss_of_a_right_answer_is_nothing(train):
    labels = torch.tensor([[[0, 0, 1, 255]]])
    logits = torch.tensor([[[[30.0, 30, -30, 0]], [[-30.0, -30, 30, 0]]]])
    absent = torch.zeros(1, 2, dtype=torch.bool)
    for dice in (0, 0.5):
        assert train.segmentation_loss(logits, labels, absent, torch.ones(2), dice) < 1e-6
    wrong = train.segmentation_loss(-logits, labels, absent, torch.ones(2), 0.5)
    assert wrong.item() == pytest.approx(60 + 0.5, rel=1e-5)        # cross entropy, and Dice of 0


def test_the_dice_coefficient(train):
    labels = torch.tensor([[[0, 1, 1, 255]]])
    logits = torch.zeros(1, 2, 1, 4)
    absent = torch.zeros(1, 2, dtype=torch.bool)
    plain, both = (train.segmentation_loss(logits, labels, absent, torch.ones(2), dice).item()
                   for dice in (0, 1))
    # halves everywhere: 2 * 0.5 / (1.5 + 1) of class 0, 2 * 1 / (1.5 + 2) of class 1
    assert both - plain == pytest.approx(1 - (0.4 + 2 / 3.5) / 2, rel=1e-5)


def test_classes_that_a_set_does_not_label_get_no_push(train):
    logits = torch.zeros(1, 3, 2, 2, requires_grad=True)
    labels = torch.tensor([[[0, 1], [1, 255]]])
    absent = torch.tensor([[False, False, True]])
    train.segmentation_loss(logits, labels, absent, torch.ones(3), 0.5).backward()
    assert logits.grad[:, 2].abs().max() == 0 and logits.grad[:, :2].abs().max() > 0


# Runs ---------------------------------------------------------------------------------------------

def test_a_run_learns_and_leaves_what_it_promises(data, tmp_path, convert):
    config, out = tmp_path / "small.json", tmp_path / "out"
    config.write_text(json.dumps(CONFIG))
    done = run(TOOLS / "train.py", config, "--data", data, "--out", out, "--threads", 1)
    assert done.returncode == 0, done.stderr
    with open(out / "log.csv", newline="") as file:
        last = list(csv.DictReader(file))[-1]
    assert int(last["iteration"]) == 40 and float(last["progress"]) == 1
    assert float(last["watched"]) > 0.8
    assert (out / "log.png").stat().st_size > 0 and (out / "checkpoint.pth").stat().st_size > 0
    scored = run(TOOLS / "train.py", config, "--data", data, "--out", out, "--evaluate", "watched")
    assert scored.returncode == 0 and "mean IoU 0.9" in scored.stdout, scored.stdout
    again = run(TOOLS / "train.py", config, "--data", data, "--out", out)
    assert again.returncode == 0 and "iteration" not in again.stderr    # it had come to its end
    assert convert(out / "small.pth").stat().st_size > 0


def test_a_run_may_start_from_another_models_weights(train, data, tmp_path):
    def start(name, **changes):
        (tmp_path / name).mkdir()
        return train.Run(dict(CONFIG, **changes), data, tmp_path / name, torch.device("cpu"))

    model = json.loads(json.dumps(CONFIG["model"]))
    model["head"]["channels"] = 8
    other, run = start("other", seed=2), start("run", model=model)
    old, before = other.model.state_dict(), run.model.state_dict()
    before = {name: x.clone() for name, x in before.items()}
    taken = run.start_from(old)
    fitting = [name for name in before if old[name].shape == before[name].shape]
    assert taken == f"{len(fitting)} of {len(before)} tensors" and len(fitting) < len(before)
    for state in (run.model.state_dict(), run.ema.module.state_dict()):
        for name, x in state.items():
            assert torch.equal(x, (old if name in fitting else before)[name]), name


def test_the_loss_of_imitation(train):
    logits, lesson = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4)
    wanted = torch.nn.functional.interpolate(lesson, (8, 8), mode="bilinear").softmax(1)
    by_hand = -(wanted * logits.log_softmax(1)).sum(1).mean()
    assert torch.allclose(train.imitation_loss(logits, [lesson]), by_hand)
    assert train.imitation_loss(lesson, [lesson]) < train.imitation_loss(-lesson, [lesson])
    other = torch.randn(2, 3, 8, 8)
    alone = train.imitation_loss(logits, [other])
    assert torch.allclose(train.imitation_loss(logits, [lesson, other]), (by_hand + alone) / 2)


def test_a_run_learns_from_a_teacher_too(train, data, tmp_path, monkeypatch):
    (tmp_path / "small.json").write_text(json.dumps(CONFIG))
    shared = (TOOLS / "train.py", tmp_path / "small.json", "--data", data, "--threads", 1)
    changes = ("--set", "iterations=2", "muon=false", "watch=[]")
    taught = run(*shared, "--out", tmp_path / "teacher", "--as-teacher", *changes,
                 "teacher_zoom=1.5")
    assert taught.returncode == 0, taught.stderr
    scored = run(*shared, "--out", tmp_path / "teacher", "--as-teacher", "--evaluate", "halves")
    assert scored.returncode == 0 and "mean IoU" in scored.stdout, scored.stderr
    weights = tmp_path / "teacher" / "small.pth"
    done = run(*shared, "--out", tmp_path / "cli", "--teacher", weights, weights, *changes)
    assert done.returncode == 0, done.stderr

    def step(name, teacher):
        (tmp_path / name).mkdir()
        run = train.Run(CONFIG, data, tmp_path / name, torch.device("cpu"))
        if teacher:
            run.learn_from(torch.load(weights, weights_only=True))
        folders = [train.Folder(data, **entry) for entry in CONFIG["sets"]]
        batch = train.Views(CONFIG, folders, torch.device("cpu")).batch(0, 0)
        images = batch[0].contiguous(memory_format=torch.channels_last)
        logits = run.model.train()(images)[1].detach()
        return run, images, logits, run.step([batch]).item()

    monkeypatch.setattr(train, "has_bfloat16", lambda device: False)
    _, _, _, alone = step("alone", False)
    taught, images, logits, both = step("taught", True)
    state = torch.load(weights, weights_only=True)["state_dict"]
    (teacher,) = taught.teachers
    assert teacher.zoom == 1.5 and teacher(images)[1].shape[2] == round(1.5 * logits.shape[2])
    for name, x in teacher.state_dict().items():
        assert torch.equal(x, state[name]), name        # batch norm's averages among them
    imitation = train.imitation_loss(logits, [teacher(images)[1]]).item()
    assert both == pytest.approx(0.5 * alone + imitation, 1e-4)


def test_bfloat16_changes_a_step_by_no_more_than_its_rounding(train, data, tmp_path, monkeypatch):
    losses = []
    for half in (False, True):
        monkeypatch.setattr(train, "has_bfloat16", lambda device: half)
        (tmp_path / f"{half}").mkdir()
        run = train.Run(CONFIG, data, tmp_path / f"{half}", torch.device("cpu"))
        views = train.Views(CONFIG, [train.Folder(data, "halves")], torch.device("cpu"))
        losses.append([run.step([views.batch(i, 0)]).item() for i in range(4)])
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.02)


def test_settings_are_changed_from_the_command_line(data, tmp_path):
    config, out = tmp_path / "small.json", tmp_path / "out"
    config.write_text(json.dumps(CONFIG))
    done = run(TOOLS / "train.py", config, "--data", data, "--out", out, "--threads", 1,
               "--set", "iterations=2", "model.backbone.tokens=0", "watch=[]")
    assert done.returncode == 0, done.stderr
    saved = torch.load(out / "small.pth", weights_only=True)
    assert json.loads(saved["meta"]["config"])["iterations"] == 2 == saved["meta"]["iter"]
    assert not any("global_token" in name for name in saved["state_dict"])


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(train, data, tmp_path):
    def steps(run, first, last):
        folders = [train.Folder(data, **entry) for entry in CONFIG["sets"]]
        views = train.Views(run.config, folders, torch.device("cpu"))
        for i in range(first, last):
            run.step([views.batch(i, run.progress)])

    def start(name):
        (tmp_path / name).mkdir(exist_ok=True)
        return train.Run(CONFIG, data, tmp_path / name, torch.device("cpu"))

    whole, stopped = start("whole"), start("stopped")
    steps(whole, 0, 5)
    steps(stopped, 0, 3)
    stopped.save()
    resumed = start("stopped")
    assert resumed.iteration == 3
    steps(resumed, 3, 5)
    for a, b in ((whole.model, resumed.model), (whole.ema, resumed.ema)):
        for name, x in a.state_dict().items():
            assert torch.equal(x, b.state_dict()[name]), name


# Measuring ----------------------------------------------------------------------------------------

def test_mean_iou_by_hand(tmp_path):
    labels, predicted = tmp_path / "labels", tmp_path / "predicted"
    labels.mkdir()
    predicted.mkdir()
    for name, label, found in (("a", [[0, 0, 1, 255]], [[0, 1, 1, 0]]), ("b", [[1, 1]], [[1, 0]])):
        Image.fromarray(numpy.uint8(label)).save(labels / f"{name}.label.png")
        Image.fromarray(numpy.uint8(found)).save(predicted / f"{name}.ids.png")
    done = run(TOOLS / "miou.py", "--pred", predicted, "--labels", labels, "--classes", 2,
               "--names", "no", "yes", "--confusion", tmp_path / "confusion.png")
    assert done.returncode == 0, done.stderr
    # class 0: 1 of {2 labelled, 2 found}: 1/3; class 1: 2 of {3, 3}: 2/4
    assert "mean IoU 0.4167   pixel accuracy 0.6000" in done.stdout
    assert Image.open(tmp_path / "confusion.png").size == (198, 198)

    (predicted / "b.ids.png").unlink()
    done = run(TOOLS / "miou.py", "--pred", predicted, "--labels", labels, "--classes", 2)
    assert done.returncode == 1 and "no prediction for b (1 of 2 missing)" in done.stderr


def test_counts_leave_out_what_is_ignored():
    label, found = numpy.array([0, 1, 255, 2]), numpy.array([0, 2, 1, 2])
    confusion = miou.confusion_matrix(found, label, 4)
    assert confusion.sum() == 3 and confusion[1, 2] == 1
    assert numpy.array_equal(miou.class_iou(confusion)[:3], [1, 0, 0.5])
    assert numpy.isnan(miou.class_iou(confusion)[3])
