"""Trains a segmentation model of tools/models.py on folders of NAME.jpg and NAME.label.png.

    python3 tools/train.py weights/street.json --data DIR --out build/train/street

The configuration file says everything else: classes, model, sets, crops, optimiser, length. A run
that was stopped (SIGTERM: after writing a checkpoint) goes on when started again. The out folder
receives

    NAME.pth         the averaged (EMA) weights so far, for tools/convert.py
    checkpoint.pth   what going on needs
    log.csv  log.png the history

With --teacher the model also learns what larger networks say of the same views; --as-teacher
trains such a network (tools/teacher.py), by the same file; it sees the pictures `teacher_zoom`
times as large.

`progress` runs from 0 to 1 over `iterations` steps or `minutes` of training, whichever is used up
first; learning rate, phases and joining sets follow it, so that a slow machine also ends well.
"""

import argparse
import csv
import functools
import json
import math
import operator
import os
import signal
import threading
import time
from pathlib import Path

import require

require.python("train.py", 3, 9)
for module, name, debian in (("numpy", "NumPy", "python3-numpy"), ("PIL", "Pillow", "python3-pil"),
                             ("torch", "PyTorch", None), ("tqdm", "tqdm", "python3-tqdm")):
    require.package("train.py", module, name, debian, pip="pillow" if module == "PIL" else module)
import numpy as np                                                              # noqa: E402
import torch                                                                    # noqa: E402
import torch.nn.functional as F                                                 # noqa: E402
from PIL import Image                                                           # noqa: E402
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn           # noqa: E402
from tqdm import tqdm                                                           # noqa: E402

from miou import IGNORE, class_iou, confusion_matrix, table                     # noqa: E402
from models import Segmentor, from_state_dict                                   # noqa: E402


# Data ---------------------------------------------------------------------------------------------

class Folder:
    """The pictures and labels of one set, decoded once: [3, H, W] and [H, W], 8 bit.

    mapping: CSV in the folder whose columns own_id, street_id translate its labels
    absent:  classes that this set does not label: its pixels say nothing about them
    share:   part of the training samples, relative to the other sets
    start:   progress at which the set joins
    only, but: pattern of the names that belong to it, and of those that do not
    shrink:  its pictures are used at 1/shrink of their size
    """

    def __init__(self, data, folder, mapping=None, absent=(), share=1, start=0, only="*", but="",
                 shrink=1, name=None):
        self.name, self.absent, self.share, self.start = name or folder, absent, share, start
        translate = np.arange(256, dtype=np.uint8)
        if mapping:
            with open(data / folder / mapping, newline="") as file:
                for row in csv.DictReader(file):
                    translate[int(row["own_id"])] = int(row["street_id"])
        self.frames = []
        for path in sorted((data / folder).glob(only + ".label.png")):
            if path.match(but + ".label.png"):
                continue
            image = Image.open(path.with_name(path.name.replace(".label.png", ".jpg")))
            label = Image.fromarray(translate[np.asarray(Image.open(path))])
            size = image.width // shrink, image.height // shrink
            image = np.array(image.convert("RGB").resize(size, Image.BOX))
            label = np.array(label.resize(size, Image.NEAREST))
            self.frames.append((torch.from_numpy(image).permute(2, 0, 1), torch.from_numpy(label)))
        if not self.frames:
            raise SystemExit(f"train: no NAME.label.png in {data / folder}")


class Views:
    """Batches of random views of the sets' frames, drawn on the device that trains.

    Batch number i depends on the seed and i alone, so that a resumed run sees the same ones.
    """

    def __init__(self, config, folders, device):
        self.config, self.folders, self.device = config, folders, device
        frames = [frame for folder in folders for frame in folder.frames]
        self.sizes = [label.shape for _, label in frames]
        self.canvas = tuple(map(max, zip(*self.sizes)))     # every frame in its top left corner
        self.images = torch.zeros(len(frames), 3, *self.canvas, dtype=torch.uint8)
        self.labels = torch.full((len(frames), *self.canvas), IGNORE, dtype=torch.uint8)
        for k, (image, label) in enumerate(frames):
            height, width = label.shape
            self.images[k, :, :height, :width], self.labels[k, :height, :width] = image, label
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        self.firsts = np.cumsum([0] + [len(folder.frames) for folder in folders])
        rng = np.random.default_rng(config["seed"])
        self.places = [places_of_classes(label.numpy(), rng) for _, label in frames]
        self.absent = torch.zeros(len(folders), len(config["classes"]), dtype=torch.bool)
        for k, folder in enumerate(folders):
            self.absent[k, list(folder.absent)] = True

    def batch(self, i, progress):
        """Normalised images [B, 3, H, W], labels [B, H, W], and absent classes [B, K]."""
        phase = next(p for p in self.config["phases"] if progress <= p["until"])
        options, rng = self.config["augment"], np.random.default_rng((self.config["seed"], i))
        shares = np.array([f.share * (f.start <= progress) for f in self.folders])
        sets = rng.choice(len(shares), phase["batch"], p=shares / shares.sum())
        frames = [rng.integers(self.firsts[k], self.firsts[k + 1]) for k in sets]
        thetas = [view(self.sizes[k], self.places[k], self.canvas, rng, phase, options)
                  for k in frames]
        images, labels = self.look(frames, np.float32(thetas), phase["crop"])
        absent = self.absent[sets]
        if options.get("mix"):
            images, labels = mix(images, labels, *self.mixture(absent, rng, options["mix"]))
        images = normalise(tint(recolour(images, rng, options["colour"]), rng,
                                options.get("tint", 0)), self.config)
        return images, labels, absent.to(self.device)

    def look(self, frames, thetas, crop):
        """The views that affine maps from a view's to the canvas' coordinates (-1 to 1) choose."""
        grid = F.affine_grid(torch.from_numpy(thetas).to(self.device), (len(frames), 3, *crop),
                             align_corners=False)
        images = F.grid_sample(self.images[frames].float(), grid, "bilinear", "border", False)
        labels = self.labels[frames, None].float() - IGNORE     # outside, zeros: ignored
        labels = F.grid_sample(labels, grid, "nearest", "zeros", False) + IGNORE
        return images, labels.squeeze(1).long()

    def mixture(self, absent, rng, chance):
        """For mix(): another view of the batch that labels the same classes, and what it gives."""
        others = [rng.choice(np.flatnonzero((absent == own).all(1))) for own in absent]
        taken = rng.random(absent.shape) < 0.5
        taken &= rng.random((len(absent), 1)) < chance
        taken = F.pad(torch.from_numpy(taken), (0, IGNORE + 1 - taken.shape[1]))
        return others, taken.to(self.device)


def places_of_classes(label, rng, count=200):
    """For each class in a label some of its pixels, (y, x) each."""
    places = []
    for k in np.setdiff1d(label, IGNORE):
        pixels = np.flatnonzero(label == k)
        places.append(np.stack(np.divmod(rng.choice(pixels, count), label.shape[1]), 1))
    return places


def view(size, places, canvas, rng, phase, options):
    """A random view of a frame: affine map [2, 3] from its coordinates to the canvas'."""
    # The part of the frame that fills the crop, height and width; never larger than the frame.
    zoom = math.exp(rng.uniform(*map(math.log, phase["scale"])))
    stretch = math.exp(rng.uniform(-1, 1) * math.log(options["stretch"]) / 2)
    part = np.array(phase["crop"]) / zoom * (1 / stretch, stretch)
    part *= min(1, *(size / part))

    # Where it lies: anywhere, or around a pixel of a class drawn evenly from those present.
    middle = rng.uniform(0, size)
    if rng.random() < options["balance"] and places:
        middle = rng.choice(places[rng.integers(len(places))]) + rng.uniform(-0.4, 0.4, 2) * part
    middle = np.clip(middle, part / 2, size - part / 2)

    matrix = np.diag(part[::-1] / 2)                    # x before y from here on
    if rng.random() < options["rotate"]:
        angle = math.radians(rng.uniform(-options["degrees"], options["degrees"]))
        matrix = rotation(angle) @ matrix
    if options.get("turn") and phase["crop"][0] == phase["crop"][1]:
        matrix = matrix @ rotation(rng.integers(4) * math.pi / 2)   # from above nothing is upright
    matrix[:, 0] *= rng.choice([-1, 1])
    half = np.array(canvas[::-1]) / 2
    return np.column_stack([matrix, middle[::-1] - half]) / half[:, None]


def rotation(angle):
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def mix(images, labels, others, taken):
    """ClassMix (Olsson et al., 2021): the taken classes of other views lie over the views."""
    over = taken.gather(1, labels[others].flatten(1)).view(labels.shape)
    return images[others].where(over[:, None], images), labels[others].where(over, labels)


def uniform(rng, low, high, shape, like):
    return torch.from_numpy(np.float32(rng.uniform(low, high, shape))).to(like.device)


def recolour(images, rng, strength):
    """Changes brightness, contrast and saturation of images [B, 3, H, W], 0 to 255."""
    brightness, contrast, saturation = uniform(rng, 1 - strength, 1 + strength,
                                               (3, len(images), 1, 1, 1), images)
    weights = images.new_tensor([0.299, 0.587, 0.114])[:, None, None]
    images = images * brightness
    mean = (images * weights).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    images = mean.lerp(images, contrast)
    grey = (images * weights).sum(1, keepdim=True)
    return grey.lerp(images, saturation).clamp(0, 255)


def tint(images, rng, strength):
    """Other light and air: each channel has a gamma, a black and a white point of its own."""
    shape = len(images), 3, 1, 1
    gamma = uniform(rng, -2 * strength, 2 * strength, shape, images).exp()
    black = uniform(rng, -0.5 * strength, strength, shape, images)
    white = 1 - uniform(rng, -0.5 * strength, strength, shape, images)
    return 255 * black.lerp(white, (images / 255) ** gamma).clamp(0, 1)


def normalise(images, config):
    mean, std = (images.new_tensor(config[key])[:, None, None] for key in ("mean", "std"))
    return (images - mean) / std


# Training -----------------------------------------------------------------------------------------

def segmentation_loss(logits, labels, absent, weights, dice):
    """Cross entropy at the labels' size over the classes that the picture's set labels, and
    `dice` times one minus the batch's soft Dice coefficient, mean over the classes in it."""
    logits = logits.float().masked_fill(absent[:, :, None, None], -1e4)
    logits = F.interpolate(logits, labels.shape[1:], mode="bilinear")
    loss = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
    if dice:
        classes = torch.arange(logits.shape[1], device=logits.device)[:, None, None]
        predicted = logits.softmax(1) * (labels != IGNORE)[:, None]
        actual = labels[:, None] == classes
        overlap, found, there = (x.sum((0, 2, 3)) for x in (predicted * actual, predicted, actual))
        present = there > 0
        loss = loss + dice * (1 - 2 * overlap[present] / (found + there)[present]).mean()
    return loss


def imitation_loss(logits, lessons):
    """Cross entropy to what the teachers answer on average, at the model's resolution."""
    answers = [F.interpolate(lesson.float(), logits.shape[2:], mode="bilinear").softmax(1)
               for lesson in lessons]
    return F.cross_entropy(logits.float(), sum(answers) / len(answers))


def orthogonalise(gradient, coefficients, steps, eps):
    """Muon's Newton-Schulz iteration in float32.

    PyTorch's own takes bfloat16, which is thirty times slower on processors that emulate it.
    """
    a, b, c = coefficients
    x = gradient / gradient.norm().clamp(min=eps)
    wide = x.shape[0] <= x.shape[1]
    x = x if wide else x.T
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x if wide else x.T


def make_optimizers(model, config):
    """Muon for the backbone's matrices, AdamW for the rest; only weights of layers decay."""
    undecayed = ("bias", "table", "pe", "global_token", "pos_embed")
    matrices, weights, others = [], [], []
    for name, parameter in model.named_parameters():
        if parameter.ndim < 2 or name.endswith(undecayed):
            others.append(parameter)
        elif parameter.ndim == 2 and config["muon"]:
            matrices.append(parameter)
        else:
            weights.append(parameter)
    groups = [{"params": weights}, {"params": others, "weight_decay": 0}]
    optimizers = [torch.optim.AdamW(groups, config["lr"], (0.9, 0.98),
                                    weight_decay=config["weight_decay"])]
    if matrices:
        if matrices[0].device.type == "cpu":
            torch.optim._muon._zeropower_via_newtonschulz = orthogonalise
        optimizers.append(torch.optim.Muon(matrices, config["lr"], config["weight_decay"],
                                           adjust_lr_fn="match_rms_adamw"))
    return optimizers


def schedule(progress, warmup):
    """Factor of the learning rate: linear warmup, then half a cosine to zero."""
    if progress < warmup:
        return (progress + 1e-4) / (warmup + 1e-4)
    return 0.5 * (1 + math.cos(math.pi * min(1, (progress - warmup) / (1 - warmup))))


@torch.no_grad()
def evaluate(model, folder, config, device, stride=1):
    """Confusion matrix over every stride-th picture, whole and at its own size."""
    model.eval()
    classes = len(config["classes"])
    confusion = np.zeros((classes, classes), np.int64)
    for image, label in folder.frames[::stride]:
        _, logits = model(normalise(image[None].to(device).float(), config))
        logits = F.interpolate(logits, label.shape, mode="bilinear")
        confusion += confusion_matrix(logits[0].argmax(0).cpu().numpy(), label.numpy(), classes)
    return confusion


def make_teacher(config):
    from teacher import Teacher         # what it needs is installed for teaching alone
    return Teacher(config)


def load_teacher(saved):
    teacher = make_teacher(json.loads(saved["meta"]["config"]))
    teacher.load_state_dict(saved["state_dict"])
    return teacher


def has_bfloat16(device):
    """Does it compute with bfloat16 itself, and so faster than with float32?"""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


class Run:
    """One training run and everything that a checkpoint has to hold."""

    def __init__(self, config, data, out, device, as_teacher=False):
        torch.manual_seed(config["seed"])
        self.config, self.data, self.out, self.device = config, data, out, device
        self.teachers = []
        self.model = make_teacher(config) if as_teacher else Segmentor(**config["model"])
        self.model.to(device, memory_format=torch.channels_last)
        self.ema = AveragedModel(self.model, multi_avg_fn=get_ema_multi_avg_fn(config["ema"]),
                                 use_buffers=True)
        self.optimizers = make_optimizers(self.model, config)
        self.weights = torch.tensor(config["class_weights"], dtype=torch.float32, device=device)
        self.iteration, self.seconds, self.history = 0, 0.0, []
        if (out / "checkpoint.pth").exists():
            self.load(torch.load(out / "checkpoint.pth", map_location=device, weights_only=True))

    @property
    def progress(self):
        spent = self.iteration / self.config["iterations"]
        if "minutes" in self.config:
            spent = max(spent, self.seconds / 60 / self.config["minutes"])
        return min(1.0, spent)

    def start_from(self, weights):
        """Takes those weights of another model whose names and shapes fit; says how many."""
        own = self.model.state_dict()
        fitting = {name: tensor for name, tensor in weights.items()
                   if name in own and own[name].shape == tensor.shape}
        self.model.load_state_dict(fitting, strict=False)
        self.ema.module.load_state_dict(fitting, strict=False)
        return f"{len(fitting)} of {len(own)} tensors"

    def learn_from(self, saved):
        """Takes what a run --as-teacher saved as a teacher."""
        teacher = load_teacher(saved).eval().requires_grad_(False)
        self.teachers.append(teacher.to(self.device, memory_format=torch.channels_last))

    def load(self, state):
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)
        self.iteration, self.seconds = state["iteration"], state["seconds"]
        self.history = state["history"]

    def save(self):
        write(self.out / "checkpoint.pth", {
            "model": self.model.state_dict(), "ema": self.ema.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "iteration": self.iteration, "seconds": self.seconds, "history": self.history})
        meta = {"CLASSES": self.config["classes"], "PALETTE": self.config["palette"],
                "config": json.dumps(self.config), "iter": self.iteration}
        write(self.out / (self.config["name"] + ".pth"), {
            "meta": meta, "state_dict": {name: tensor.cpu().contiguous() for name, tensor
                                         in self.ema.module.state_dict().items()}})
        with open(self.out / "log.csv", "w", newline="") as file:
            columns = list(dict.fromkeys(key for row in self.history for key in row))
            log = csv.DictWriter(file, columns)
            log.writeheader()
            log.writerows(self.history)

    def step(self, batches):
        """One update from `accumulate` batches; the loss, on the device."""
        config = self.config
        self.model.train()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config["lr"] * schedule(self.progress, config["warmup"])
            optimizer.zero_grad()
        total = 0
        for images, labels, absent in batches:
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, has_bfloat16(self.device)):
                features, logits = self.model(images)
                loss = segmentation_loss(logits, labels, absent, self.weights, config["dice"])
                if self.model.auxiliary_head:
                    coarse = labels[:, 2::4, 2::4]
                    loss += 0.4 * segmentation_loss(self.model.auxiliary_head(features), coarse,
                                                    absent, self.weights, 0)
                if self.teachers:
                    lessons = [teacher(images)[1] for teacher in self.teachers]
                    loss = 0.5 * loss + imitation_loss(logits, lessons)
            (loss / len(batches)).backward()
            total += loss.detach() / len(batches)
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), config["clip"])
        for optimizer in self.optimizers:
            optimizer.step()
        self.ema.update_parameters(self.model)
        self.iteration += 1
        return total

    def validate(self, folders):
        """Mean IoU of the averaged weights on some thirty pictures of each folder."""
        def score(folder):
            stride = max(1, len(folder.frames) // 30)
            return float(np.nanmean(class_iou(
                evaluate(self.ema.module, folder, self.config, self.device, stride))))
        return {folder.name: round(score(folder), 4) for folder in folders}

    def train(self):
        config = self.config
        folders = [Folder(self.data, **entry) for entry in config["sets"]]
        sets = {folder.name: folder for folder in folders}
        watched = [sets[name] for name in config["watch"]]
        views, accumulate = Views(config, folders, self.device), config["accumulate"]
        bar = tqdm(total=100, initial=round(100 * self.progress, 2), mininterval=5,
                   bar_format="{n:.1f}% |{bar:20}| {elapsed}<{remaining} {postfix}")
        started = time.monotonic() - self.seconds
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        losses = []
        saved = watched_at = time.monotonic()
        while self.progress < 1 and not stopped.is_set():
            first = self.iteration * accumulate
            losses.append(self.step([views.batch(first + i, self.progress)
                                     for i in range(accumulate)]))
            self.seconds = time.monotonic() - started
            bar.set_postfix(iteration=self.iteration, refresh=False)
            bar.update(round(100 * self.progress, 2) - bar.n)
            now, done = time.monotonic(), self.progress == 1
            if now - saved > 60 * config["save_minutes"] or done:
                loss = torch.stack(losses).mean().item()
                row = dict(iteration=self.iteration, minutes=round(self.seconds / 60, 1),
                           progress=round(self.progress, 4), loss=round(loss, 4))
                if now - watched_at > 60 * config["watch_minutes"] or done:
                    row.update(self.validate(watched))
                    watched_at = now
                self.history.append(row)
                self.save()
                bar.write(json.dumps(row))
                losses, saved = [], now
        if stopped.is_set():
            self.save()
        else:
            draw_history(self.history, watched, self.out / "log.png")


def write(path, state):
    """Saves so that the file is always either the old or the new one."""
    torch.save(state, f"{path}.part")
    os.replace(f"{path}.part", path)


def draw_history(history, watched, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4))
    iterations = [row["iteration"] for row in history]
    left.plot(iterations, [row["loss"] for row in history])
    left.set(xlabel="iteration", ylabel="training loss")
    for folder in watched:
        scores = [(row["iteration"], row[folder.name]) for row in history if folder.name in row]
        right.plot(*zip(*scores), label=folder.name)
        joined = next(row["iteration"] for row in history if row["progress"] >= folder.start)
        right.axvline(joined, color="grey", linestyle=":")
    right.set(xlabel="iteration (dotted: the set joins training)", ylabel="mean IoU, EMA weights")
    right.legend()
    figure.tight_layout()
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("config", type=Path)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds the sets")
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument("--start", type=Path, metavar="FILE", help="a new run starts from the "
                        "weights of FILE (.pth) where their names and shapes fit")
    parser.add_argument("--teacher", type=Path, nargs="+", default=[], metavar="FILE",
                        help="weights (.pth) of runs --as-teacher: the model learns to answer as "
                        "those networks do on average, too")
    parser.add_argument("--as-teacher", action="store_true",
                        help="train the teacher of tools/teacher.py in the model's place")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: its own choice")
    parser.add_argument("--set", metavar="KEY=VALUE", nargs="*", default=[],
                        help="changes to the configuration: minutes=30, model.backbone.tokens=5")
    parser.add_argument("--evaluate", metavar="SET",
                        help="score NAME.pth on a set of the file or a folder, and stop")
    arguments = parser.parse_args()

    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = json.loads(arguments.config.read_text())
    for change in arguments.set:
        path, value = change.split("=", 1)
        *parents, key = path.split(".")
        functools.reduce(operator.getitem, parents, config)[key] = json.loads(value)
    arguments.out.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if arguments.evaluate:
        saved = torch.load(arguments.out / (config["name"] + ".pth"), weights_only=True)
        model = (load_teacher(saved) if arguments.as_teacher
                 else from_state_dict(saved["state_dict"]))
        entry = next((entry for entry in config["sets"] if arguments.evaluate
                      == entry.get("name", entry["folder"])), {"folder": arguments.evaluate})
        folder = Folder(arguments.data, **entry)
        print(table(evaluate(model.to(device), folder, config, device), config["classes"]))
    else:
        run = Run(config, arguments.data, arguments.out, device, arguments.as_teacher)
        if arguments.start and run.iteration == 0:
            saved = torch.load(arguments.start, map_location=device, weights_only=True)
            print("starts from", run.start_from(saved["state_dict"]), "of", arguments.start)
        for teacher in arguments.teacher:
            run.learn_from(torch.load(teacher, map_location=device, weights_only=True))
        run.train()


if __name__ == "__main__":
    main()
