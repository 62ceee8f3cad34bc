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

from conftest import ROOT

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
    """tools/train.py as a module; its name is this file's, too."""
    import importlib.util
    spec = importlib.util.spec_from_file_location("swin_train", TOOLS / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
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
    assert image.size == label.size == (32, 24)
    assert numpy.array_equal(numpy.unique(label), [0, 1, 255])


def test_a_sets_own_classes_are_translated(train, data):
    plain, other = (numpy.asarray(train.Folder(data, "halves", mapping=mapping).frames[0][1])
                    for mapping in (None, "classes.csv"))
    assert numpy.array_equal(plain == 0, other == 1) and numpy.array_equal(plain == 1, other == 0)


def test_a_folder_without_labels_is_refused(train, data):
    with pytest.raises(SystemExit, match="no NAME.label.png"):
        train.Folder(data, "halves", only="nothing*")


def test_views_keep_picture_and_label_together(train, data):
    image, label = train.Folder(data, "halves").frames[2]
    options = dict(CONFIG["augment"], colour=0)
    for seed in range(20):
        rng = numpy.random.default_rng(seed)
        view, seen = train.augment(image, label, rng, (24, 24), (0.5, 2), options)
        pixels, seen = numpy.asarray(view).astype(int), numpy.asarray(seen)
        assert pixels.shape == (24, 24, 3) and seen.shape == (24, 24)
        for k in (0, 1):
            if (seen == k).sum() > 100:         # its edges are mixed with their neighbours
                assert pixels[seen == k].mean(0).argmax() == k


def test_a_tint_keeps_the_order_of_a_channels_levels(train):
    ramp = Image.fromarray(numpy.stack([numpy.arange(256, dtype=numpy.uint8)[None]] * 3, -1))
    rng = numpy.random.default_rng(0)
    assert numpy.array_equal(train.tint(ramp, rng, 0), ramp)
    for _ in range(20):
        tinted = numpy.asarray(train.tint(ramp, rng, 0.2)).astype(int)[0]
        assert (numpy.diff(tinted, axis=0) >= 0).all() and (tinted[:, 0] != tinted[:, 1]).any()


def test_a_mix_lays_half_of_the_other_views_classes_over_a_view(train):
    below = Image.new("RGB", (4, 1), "black"), Image.fromarray(numpy.uint8([[7, 7, 7, 255]]))
    above = Image.new("RGB", (4, 1), "white"), Image.fromarray(numpy.uint8([[0, 1, 255, 1]]))
    seen = set()
    for seed in range(10):
        image, label = map(numpy.asarray, train.mix(below, above, numpy.random.default_rng(seed)))
        assert numpy.array_equal(image[..., 0] == 255, label < 2)
        seen.add(tuple(label[0]))
    assert seen == {(0, 7, 7, 255), (7, 1, 7, 1)}


def test_views_are_mixed_among_sets_that_label_the_same_classes(train, data):
    folders = [train.Folder(data, "halves"), train.Folder(data, "later", absent=[1])]
    for value, folder in enumerate(folders):
        folder.frames = [(image, Image.new("L", image.size, value)) for image, _ in folder.frames]
    config = dict(CONFIG, augment=dict(CONFIG["augment"], mix=1, rotate=0))
    batches, drawn = train.Batches(config, folders, 1), set()
    for k in range(8):
        image, label, absent = batches.sample((1, k), 0, CONFIG["phases"][0])
        assert image.shape == (3, 32, 32) and label.shape == (32, 32)
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
    assert torch.allclose(train.imitation_loss(logits, lesson), by_hand)
    assert train.imitation_loss(lesson, lesson) < train.imitation_loss(-lesson, lesson)


def test_a_run_learns_from_a_teacher_too(train, data, tmp_path, monkeypatch):
    (tmp_path / "small.json").write_text(json.dumps(CONFIG))
    shared = (TOOLS / "train.py", tmp_path / "small.json", "--data", data, "--threads", 1)
    changes = ("--set", "iterations=2", "muon=false", "watch=[]")
    taught = run(*shared, "--out", tmp_path / "teacher", "--as-teacher", *changes)
    assert taught.returncode == 0, taught.stderr
    scored = run(*shared, "--out", tmp_path / "teacher", "--as-teacher", "--evaluate", "halves")
    assert scored.returncode == 0 and "mean IoU" in scored.stdout, scored.stderr
    weights = tmp_path / "teacher" / "small.pth"
    done = run(*shared, "--out", tmp_path / "cli", "--teacher", weights, *changes)
    assert done.returncode == 0, done.stderr

    def step(name, teacher):
        (tmp_path / name).mkdir()
        run = train.Run(CONFIG, data, tmp_path / name, torch.device("cpu"))
        if teacher:
            run.learn_from(torch.load(weights, weights_only=True)["state_dict"])
        folders = [train.Folder(data, **entry) for entry in CONFIG["sets"]]
        batch = [sample.result() for sample in train.Batches(CONFIG, folders, 1).request(0, 0)]
        images = torch.stack([sample[0] for sample in batch])
        images = images.contiguous(memory_format=torch.channels_last)
        logits = run.model.train()(images)[1].detach()
        return run, images, logits, run.step([train.Batches(CONFIG, folders, 1).request(0, 0)])

    monkeypatch.setattr(train, "has_bfloat16", lambda device: False)
    _, _, _, alone = step("alone", False)
    taught, images, logits, both = step("taught", True)
    state = torch.load(weights, weights_only=True)["state_dict"]
    for name, x in taught.teacher.state_dict().items():
        assert torch.equal(x, state[name]), name        # batch norm's averages among them
    lesson = taught.teacher(images)[1]
    assert both == pytest.approx(0.5 * alone + float(train.imitation_loss(logits, lesson)), 1e-4)


def test_bfloat16_changes_a_step_by_no_more_than_its_rounding(train, data, tmp_path, monkeypatch):
    losses = []
    for half in (False, True):
        monkeypatch.setattr(train, "has_bfloat16", lambda device: half)
        (tmp_path / f"{half}").mkdir()
        run = train.Run(CONFIG, data, tmp_path / f"{half}", torch.device("cpu"))
        source = train.Batches(CONFIG, [train.Folder(data, "halves")], 1)
        losses.append([run.step([source.request(i, 0)]) for i in range(4)])
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
        source = train.Batches(run.config, folders, 1)
        for i in range(first, last):
            run.step([source.request(i, run.progress)])

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
