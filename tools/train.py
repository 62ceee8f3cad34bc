"""Trains a segmentation model of tools/models.py on folders of NAME.jpg and NAME.label.png.

    python3 tools/train.py weights/street.json --data DIR --out build/train/street

The configuration file says everything else: classes, model, sets, crops, optimiser, length. A run
that was stopped (SIGTERM: after writing a checkpoint) goes on when started again. The out folder
receives

    NAME.pth         the averaged (EMA) weights so far, for tools/convert.py
    checkpoint.pth   what going on needs
    log.csv  log.png the history

With --teacher the model also learns what a larger network says of the same views; --as-teacher
trains that network (tools/teacher.py), by the same file.

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
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageEnhance
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm import tqdm

from miou import IGNORE, class_iou, confusion_matrix, table
from models import Segmentor, from_state_dict


# Data ---------------------------------------------------------------------------------------------

class Folder:
    """The pictures and labels of one set, decoded once and kept as 8-bit images.

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
            self.frames.append((image.convert("RGB").resize(size, Image.BOX),
                                label.resize(size, Image.NEAREST)))
        if not self.frames:
            raise SystemExit(f"train: no NAME.label.png in {data / folder}")


def augment(image, label, rng, crop, scale, options):
    """A random view of a frame, crop = (height, width), as a pair of PIL images."""
    if rng.random() < options["rotate"]:
        angle = rng.uniform(-options["degrees"], options["degrees"])
        image = image.rotate(angle, Image.BILINEAR)
        label = label.rotate(angle, Image.NEAREST, fillcolor=IGNORE)

    # The part of the frame that fills the crop; it is never larger than the frame.
    zoom = math.exp(rng.uniform(*map(math.log, scale)))
    stretch = math.exp(rng.uniform(-1, 1) * math.log(options["stretch"]) / 2)
    height, width = crop[0] / zoom / stretch, crop[1] / zoom * stretch
    shrink = min(1, image.height / height, image.width / width)
    height, width = height * shrink, width * shrink

    # Where it lies: anywhere, or around a pixel of a class drawn evenly from those present.
    y, x = rng.uniform(0, image.height), rng.uniform(0, image.width)
    if rng.random() < options["balance"]:
        pixels = np.asarray(label)
        present = np.flatnonzero(np.bincount(pixels.ravel(), minlength=256)[:IGNORE])
        if len(present):
            place = rng.choice(np.flatnonzero(pixels == rng.choice(present)))
            y, x = divmod(place, label.width)
            y, x = y + rng.uniform(-0.4, 0.4) * height, x + rng.uniform(-0.4, 0.4) * width
    top = max(0, min(y - height / 2, image.height - height))
    left = max(0, min(x - width / 2, image.width - width))
    box = (left, top, left + width, top + height)
    image = image.resize(crop[::-1], Image.BILINEAR, box)
    label = label.resize(crop[::-1], Image.NEAREST, box)

    if rng.random() < 0.5:
        image, label = (x.transpose(Image.FLIP_LEFT_RIGHT) for x in (image, label))
    if options.get("turn") and crop[0] == crop[1]:      # seen from above nothing is upright
        turned = rng.choice([None, Image.ROTATE_90, Image.ROTATE_180, Image.ROTATE_270])
        if turned is not None:
            image, label = (x.transpose(turned) for x in (image, label))
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        image = enhance(image).enhance(rng.uniform(1 - options["colour"], 1 + options["colour"]))
    return tint(image, rng, options.get("tint", 0)), label


def tint(image, rng, strength):
    """Other light and air: each channel has a gamma, a black and a white point of its own."""
    gamma = np.exp(rng.uniform(-2, 2, 3) * strength)
    black, white = rng.uniform(-0.5, 1, 3) * strength, 1 - rng.uniform(-0.5, 1, 3) * strength
    levels = black + (white - black) * np.linspace(0, 1, 256)[:, None] ** gamma
    return image.point(np.clip(255 * levels + 0.5, 0, 255).astype(np.uint8).T.ravel().tolist())


def mix(view, other, rng):
    """ClassMix (Olsson et al., 2021): half of the other view's classes lie over the view."""
    classes = np.setdiff1d(other[1], IGNORE)
    taken = rng.permutation(classes)[:(len(classes) + 1) // 2]
    mask = Image.fromarray(np.isin(other[1], taken))
    return tuple(Image.composite(above, below, mask) for above, below in zip(other, view))


class Batches:
    """Batch number i depends on the seed and i alone, so that a resumed run sees the same ones."""

    def __init__(self, config, folders, threads):
        self.config, self.folders = config, folders
        self.pool = ThreadPoolExecutor(threads)

    def request(self, i, progress):
        """Starts to make batch i; the result's items become ready in the background."""
        phase = next(p for p in self.config["phases"] if progress <= p["until"])
        return [self.pool.submit(self.sample, (self.config["seed"], i, k), progress, phase)
                for k in range(phase["batch"])]

    def sample(self, seed, progress, phase):
        rng = np.random.default_rng(seed)
        options = self.config["augment"]

        def view(folders):
            shares = np.array([f.share for f in folders])
            folder = folders[rng.choice(len(folders), p=shares / shares.sum())]
            frame = folder.frames[rng.integers(len(folder.frames))]
            return folder, augment(*frame, rng, phase["crop"], phase["scale"], options)

        folders = [f for f in self.folders if f.start <= progress]
        folder, (image, label) = view(folders)
        if rng.random() < options.get("mix", 0):
            _, other = view([f for f in folders if f.absent == folder.absent])
            image, label = mix((image, label), other, rng)
        absent = torch.zeros(len(self.config["classes"]), dtype=torch.bool)
        absent[list(folder.absent)] = True
        return to_tensor(image, self.config), torch.tensor(np.asarray(label)).long(), absent


def to_tensor(image, config):
    """PIL image -> normalised [3, H, W]."""
    mean, std = (np.float32(config[key]) for key in ("mean", "std"))
    return torch.from_numpy((np.float32(image) - mean) / std).permute(2, 0, 1)


# Training -----------------------------------------------------------------------------------------

def segmentation_loss(logits, labels, absent, weights, dice):
    """Cross entropy at the labels' size over the classes that the picture's set labels, and
    `dice` times one minus the batch's soft Dice coefficient, mean over the classes in it."""
    logits = logits.float().masked_fill(absent[:, :, None, None], -1e4)
    logits = F.interpolate(logits, labels.shape[1:], mode="bilinear")
    loss = F.cross_entropy(logits, labels, weights, ignore_index=IGNORE)
    if dice:
        known = labels != IGNORE
        predicted = logits.softmax(1).movedim(1, 3)[known]
        actual = F.one_hot(labels[known], predicted.shape[1])
        present = actual.any(0)
        overlap, total = (predicted * actual).sum(0), predicted.sum(0) + actual.sum(0)
        loss = loss + dice * (1 - 2 * overlap[present] / total[present]).mean()
    return loss


def imitation_loss(logits, lesson):
    """Cross entropy to what the teacher answers, at the model's resolution."""
    lesson = F.interpolate(lesson, logits.shape[2:], mode="bilinear")
    return F.cross_entropy(logits.float(), lesson.float().softmax(1))


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
        label = np.asarray(label)
        _, logits = model(to_tensor(image, config)[None].to(device))
        logits = F.interpolate(logits, label.shape, mode="bilinear")
        confusion += confusion_matrix(logits[0].argmax(0).cpu().numpy(), label, classes)
    return confusion


def make_teacher(config):
    from teacher import Teacher         # what it needs is installed for teaching alone
    return Teacher(config)


def has_bfloat16(device):
    """Does it compute with bfloat16 itself, and so faster than with float32?"""
    return device.type == "cuda" or torch.cpu._is_avx512_bf16_supported()


class Run:
    """One training run and everything that a checkpoint has to hold."""

    def __init__(self, config, data, out, device, as_teacher=False):
        torch.manual_seed(config["seed"])
        self.config, self.data, self.out, self.device = config, data, out, device
        self.teacher = None
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

    def learn_from(self, weights):
        """Takes the weights of a run --as-teacher as those of the teacher."""
        self.teacher = make_teacher(self.config)
        self.teacher.load_state_dict(weights)
        self.teacher.eval().requires_grad_(False)
        self.teacher.to(self.device, memory_format=torch.channels_last)

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
        """One update from `accumulate` batches; the loss."""
        config = self.config
        self.model.train()
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config["lr"] * schedule(self.progress, config["warmup"])
            optimizer.zero_grad()
        total = 0.0
        for samples in batches:
            images, labels, absent = (torch.stack(x).to(self.device) for x
                                      in zip(*(sample.result() for sample in samples)))
            images = images.contiguous(memory_format=torch.channels_last)
            with torch.autocast(self.device.type, torch.bfloat16, has_bfloat16(self.device)):
                features, logits = self.model(images)
                loss = segmentation_loss(logits, labels, absent, self.weights, config["dice"])
                if self.model.auxiliary_head:
                    coarse = labels[:, 2::4, 2::4]
                    loss += 0.4 * segmentation_loss(self.model.auxiliary_head(features), coarse,
                                                    absent, self.weights, 0)
                if self.teacher:
                    loss = 0.5 * loss + imitation_loss(logits, self.teacher(images)[1])
            (loss / len(batches)).backward()
            total += loss.item() / len(batches)
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

    def train(self, threads):
        config = self.config
        folders = [Folder(self.data, **entry) for entry in config["sets"]]
        sets = {folder.name: folder for folder in folders}
        watched = [sets[name] for name in config["watch"]]
        source = Batches(config, folders, threads)

        def request(iteration):
            first = iteration * config["accumulate"]
            return [source.request(first + i, self.progress) for i in range(config["accumulate"])]

        bar = tqdm(total=100, initial=round(100 * self.progress, 2), mininterval=5,
                   bar_format="{n:.1f}% |{bar:20}| {elapsed}<{remaining} {postfix}")
        started = time.monotonic() - self.seconds
        stopped = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stopped.set())
        upcoming, losses = request(self.iteration), []
        saved = watched_at = time.monotonic()
        while self.progress < 1 and not stopped.is_set():
            batches, upcoming = upcoming, request(self.iteration + 1)
            losses.append(self.step(batches))
            self.seconds = time.monotonic() - started
            bar.set_postfix(iteration=self.iteration, loss=f"{losses[-1]:.3f}", refresh=False)
            bar.update(round(100 * self.progress, 2) - bar.n)
            now, done = time.monotonic(), self.progress == 1
            if now - saved > 60 * config["save_minutes"] or done:
                row = dict(iteration=self.iteration, minutes=round(self.seconds / 60, 1),
                           progress=round(self.progress, 4), loss=round(float(np.mean(losses)), 4))
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
    parser.add_argument("--teacher", type=Path, metavar="FILE", help="weights (.pth) of a run "
                        "--as-teacher: the model learns to answer as that network does, too")
    parser.add_argument("--as-teacher", action="store_true",
                        help="train the teacher of tools/teacher.py in the model's place")
    parser.add_argument("--threads", type=int, default=0, help="of PyTorch; 0: its own choice")
    parser.add_argument("--loaders", type=int, default=1, help="threads that make batches")
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
        if arguments.as_teacher:
            model = make_teacher(config)
            model.load_state_dict(saved["state_dict"])
        else:
            model = from_state_dict(saved["state_dict"])
        entry = next((entry for entry in config["sets"] if arguments.evaluate
                      == entry.get("name", entry["folder"])), {"folder": arguments.evaluate})
        folder = Folder(arguments.data, **entry)
        print(table(evaluate(model.to(device), folder, config, device), config["classes"]))
    else:
        run = Run(config, arguments.data, arguments.out, device, arguments.as_teacher)
        if arguments.start and run.iteration == 0:
            saved = torch.load(arguments.start, map_location=device, weights_only=True)
            print("starts from", run.start_from(saved["state_dict"]), "of", arguments.start)
        if arguments.teacher:
            saved = torch.load(arguments.teacher, map_location=device, weights_only=True)
            run.learn_from(saved["state_dict"])
        run.train(arguments.loaders)


if __name__ == "__main__":
    main()
