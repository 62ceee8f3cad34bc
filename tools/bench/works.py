#!/usr/bin/env python3
"""works.py NAME FOLDER - writes what the engines need for one work of the benchmark into FOLDER:

    model.pth       the whole model's weights, random but the same every time, for tools/convert.py
    photos/N.png    the photos of examples/photos at the work's size, N from 0
    pictureN.npy    the same as the model's input [3,H,W]
    work.onnx       what the peers run, at its fixed size: the model, or a part of it alone
    inputs.npy      the inputs of work.onnx, one a photo
    expectedN.npz   its outputs, from PyTorch in float32

load(FOLDER) is the same as work.onnx for PyTorch.
"""

import dataclasses
import json
import pathlib
import sys
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import models  # noqa: E402

UPER = dict(type="UPerHead", channels=512, classes=150)
GLAM = dict(tokens=10, pe_rows=[4096, 2048, 1024, 512])
MASK2FORMER = dict(kind="Mask2Former", backbone={}, channels=256, masks=256, width=256, queries=100,
                   classes=150, heads=8, layers=9, hidden=2048,
                   pixels=dict(heads=8, layers=6, hidden=1024))
MIT_B0 = dict(embed_dim=(32, 64, 160, 256), depths=(2, 2, 2, 2), reductions=(8, 4, 2, 1))
MIT_B2 = dict(embed_dim=(64, 128, 320, 512), depths=(3, 4, 6, 3), reductions=(8, 4, 2, 1))
PHOTOS = sorted((ROOT / "examples" / "photos").glob("*.jpg"))
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)      # of pixels 0..255
STREET = json.loads((ROOT / "weights" / "street.json").read_text())["model"]


@dataclasses.dataclass
class Work:
    title: str
    outputs: str                # logits, classes, features or scores
    backbone: dict
    head: dict = None
    whole: type = models.Segmentor      # or another class of models.py: of `classes`, where told,
    classes: int = 0                    # and `backbone`
    size: tuple = (512, 512)    # of the picture: width, height
    start: str = None           # a part: begins with the step of swin.h of this name, and takes
    takes: str = None           # what the model has computed before: features or logits
    told: tuple = ()            # options of tools/convert.py that the weights need


WORKS = {
    "uper": Work("Swin-T + UPerNet to logits, 512x512", "logits", {}, UPER),
    "uper-classes": Work("Swin-T + UPerNet to the class map, 512x512", "classes", {}, UPER),
    "backbone": Work("Swin-T backbone, 512x512", "features", {}),
    "glam": Work("GLAM-Swin-T g=10 + UPerNet to logits, 512x512", "logits", GLAM, UPER),
    "street": Work("the shipped model (street) to the class map, 480x360", "classes",
                   STREET["backbone"], STREET["head"], size=(480, 360)),
    "classifier": Work("Swin-T classifier, 224x224", "scores", dict(image=224),
                       whole=models.Classifier, classes=1000, size=(224, 224)),
    "v2": Work("Swin V2-T classifier, window 8, 256x256", "scores",
               dict(image=256, version=2, window=8), whole=models.Classifier, classes=1000,
               size=(256, 256)),
    "unet": Work("Swin-Unet, 9 classes, to logits, 224x224", "logits",
                 dict(depths=(2, 2, 2, 2), image=224, fixed=True), whole=models.SwinUnet,
                 classes=9, size=(224, 224)),
    "segformer-b0": Work("SegFormer-B0, 150 classes, to logits, 512x512", "logits", MIT_B0,
                         dict(type="SegFormerHead", channels=256, classes=150)),
    "segformer-b2": Work("SegFormer-B2, 150 classes, to logits, 512x512", "logits", MIT_B2,
                         dict(type="SegFormerHead", channels=768, classes=150)),
    "mask2former": Work("Mask2Former over Swin-T, 150 classes, to the class map, 512x512",
                        "classes", MASK2FORMER, whole=models.QuerySegmentor),
    "smp-upernet": Work(
        "SMP's UPerNet over Swin-T, 150 classes, to logits before they are enlarged, 512x512",
        "logits", dict(decoder="UPerNet", head=dict(channels=512), image=512),
        whole=models.SmpModel, classes=150, told=("--image-size", "512x512")),
    "birefnet": Work("BiRefNet over Swin-T to logits, 1024x1024", "logits", {},
                     whole=models.BiRefNet, size=(1024, 1024), told=("--patch-order", "rows")),
    "convolution": Work(
        "3x3 convolution 512 to 512 channels, 128x128", "logits",
        dict(embed_dim=512, depths=(1,), num_heads=(16,), mlp_ratio=0.0625, out_indices=(0,)),
        dict(type="FCNHead", channels=512, classes=16, num_convs=1, concat_input=False),
        start="conv", takes="features"),
    "labels": Work(
        "150 classes upsampled 128x128 to 512x512, and the best of them", "classes",
        dict(embed_dim=32, depths=(1,), num_heads=(1,), out_indices=(0,)),
        dict(type="FCNHead", channels=32, classes=150, num_convs=0, concat_input=False),
        start="labels", takes="logits"),
}


class Task(nn.Module):
    """What is timed: from the picture, or from what the model computed before, to the outputs."""

    def __init__(self, model, work):
        super().__init__()
        self.work = work
        self.model = None if isinstance(model, models.Segmentor) else model
        if self.model:
            return
        self.backbone = None if work.takes else model.backbone
        self.head = None if work.takes == "logits" else model.decode_head

    def forward(self, x):
        if self.model:
            logits = self.model(x)[1]
            return logits.argmax(1) if self.work.outputs == "classes" else logits
        if self.backbone:
            x = self.backbone(x)
        if self.work.outputs == "features":
            return tuple(x)
        if self.head:
            x = self.head([x] if self.work.takes else x)
        if self.work.outputs == "logits":
            return x
        width, height = self.work.size
        return F.interpolate(x, (height, width), mode="bilinear").argmax(1)


def plain_attention(q, k, v, bias=None, scale=None):
    """models.attention as two products, which engines know, and a bias that is not repeated."""
    scores = (q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.transpose(-2, -1)
    return (scores if bias is None else scores + bias).softmax(-1) @ v


def deform(self, x):
    """models.DeformableConv.forward as the one operator that ONNX has for it."""
    k = self.kernel
    shape = (len(x), self.regular_conv.weight.shape[0], *x.shape[2:])
    return torch.onnx.ops.symbolic(
        "DeformConv", (x, self.regular_conv.weight, self.offset_conv(x), None,
                       2 * self.modulator_conv(x).sigmoid()),
        {"kernel_shape": [k, k], "pads": [k // 2] * 4}, dtype=x.dtype, shape=shape, version=19)


def export(task, x, outputs, path):
    names = [f"output{i}" for i in range(len(outputs))]
    with (mock.patch.object(models, "attention", plain_attention),
          mock.patch.object(models.DeformableConv, "forward", deform)):
        torch.onnx.export(task, (x,), path, input_names=["input"], output_names=names,
                          opset_version=20, external_data=False, dynamo=True, verbose=False)


def make_model(work):
    torch.manual_seed(0)
    model = (models.Segmentor(work.backbone, work.head) if work.whole is models.Segmentor
             else work.whole(*[work.classes][:bool(work.classes)], **work.backbone)).eval()
    for norm in (m for m in model.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean, std=0.1)     # as after some training
        nn.init.uniform_(norm.running_var, 0.5, 1.5)
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
    for predictor in (m for m in model.modules() if isinstance(m, models.Predictor)):
        nn.init.normal_(predictor.class_embed.weight, std=0.25)     # queries see other things
        for layer in predictor.mask_embed.layers:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model


def load(folder):
    """The task that write() left there, as PyTorch runs it."""
    work = WORKS[folder.name]
    model = make_model(work)
    model.load_state_dict(torch.load(folder / "model.pth")["state_dict"])
    return Task(model, work).eval()


def write_pictures(size, folder):
    """The photos as inputs [1,3,H,W]."""
    (folder / "photos").mkdir()
    for i, path in enumerate(PHOTOS):
        photo = Image.open(path).convert("RGB").resize(size)
        photo.save(folder / "photos" / f"{i}.png")
        floats = (np.asarray(photo, np.float32) - np.float32(MEAN)) / np.float32(STD)
        picture = np.ascontiguousarray(floats.transpose(2, 0, 1))
        np.save(folder / f"picture{i}.npy", picture)
        yield torch.from_numpy(picture)[None]


@torch.inference_mode()
def write(work, folder):
    model = make_model(work)
    torch.save({"state_dict": model.state_dict()}, folder / "model.pth")
    task, inputs = Task(model, work).eval(), []
    for i, picture in enumerate(write_pictures(work.size, folder)):
        features, logits = model(picture)
        x = {None: picture, "features": features[0], "logits": logits}[work.takes].contiguous()
        outputs = task(x)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        np.savez(folder / f"expected{i}.npz", *(o.numpy() for o in outputs))
        inputs.append(x)
    np.save(folder / "inputs.npy", torch.stack(inputs).numpy())
    export(task, inputs[0], outputs, folder / "work.onnx")


if __name__ == "__main__":
    write(WORKS[sys.argv[1]], pathlib.Path(sys.argv[2]))
