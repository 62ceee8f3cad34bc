"""Models of timm, torchvision, transformers and segmentation_models_pytorch, converted, against those
libraries themselves.

Each model has random weights, spread out so that mistakes show, and is saved by its library. What
build/tensor makes of the converted file is compared with what the library makes of the same input
in float64. Errors are max |difference| / max |value|. Runs in an interpreter of its own, with the
packages of tests/parity-requirements.txt.
"""

import copy
import math
import os
import re
import subprocess
import types
import unittest.mock

import numpy
import pytest
import torch
import torch.nn.functional as F
from torch import nn

# torchvision's compiled operators are made for another build of torch; these models use none.
operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms", "roi_align", "_roi_align_backward", "ps_roi_align",
             "_ps_roi_align_backward", "roi_pool", "_roi_pool_backward", "ps_roi_pool",
             "_ps_roi_pool_backward", "qroi_align", "deform_conv2d", "_deform_conv2d_backward"):
    operators.define(name + "(Tensor x) -> Tensor")
os.environ["HF_HUB_OFFLINE"] = "1"

import segmentation_models_pytorch as smp  # noqa: E402
import timm  # noqa: E402
import transformers  # noqa: E402
from timm.models import save_for_hf  # noqa: E402
from torchvision.models import swin_t, swin_v2_t  # noqa: E402
from torchvision.models.swin_transformer import (  # noqa: E402
    PatchMerging, PatchMergingV2, SwinTransformer, SwinTransformerBlockV2)
from transformers.models.mask2former import modeling_mask2former  # noqa: E402
from transformers.models.maskformer import modeling_maskformer  # noqa: E402
from transformers.models.oneformer import modeling_oneformer  # noqa: E402

from conftest import BUILD  # noqa: E402

DERIVED = ("relative_coords_table", "attn_mask", "k_bias")
LOGITS, FEATURES, NEAR_TIE = 5e-5, 1e-4, 1e-4
QUERY_SCORES = 1e-4
COSINES = 3e-4      # of all outputs where attention is of cosines: up to 100 times their rounding

torch.set_num_threads(1)
for module in (modeling_mask2former, modeling_maskformer, modeling_oneformer):
    module.requires_backends = lambda *_: None      # SciPy, for losses that none here computes


# Models -------------------------------------------------------------------------------------------

def spread(model):
    """Weights far from what a fresh model has, that keep the size of what passes through."""
    for name, x in [*model.named_parameters(), *model.named_buffers()]:
        if not x.is_floating_point() or name.endswith(DERIVED):
            continue
        if name.endswith("logit_scale"):
            x.data.uniform_(math.log(5), math.log(60))
            x.data.view(-1)[::2] = 5.2                  # beyond the clamp at ln 100
        elif "cpb_mlp" in name or "position_bias_mlp" in name:
            x.data.normal_(0, {2: 2.0, 512: 0.2}.get(x.shape[-1], 1.0))
        elif x.ndim == 1 and "bias" not in name and "mean" not in name:
            x.data.uniform_(0.5, 1.5)                   # norms' weights and variances
        elif x.ndim in (2, 4) and name.endswith("weight"):
            x.data.normal_(0, 1.4 / x[0].numel() ** 0.5)
        else:
            x.data.normal_(0, 0.5)                      # biases, tables, means
    return model.eval()


def chw(x):
    return x[0].permute(2, 0, 1)


class Timm:
    """Saved as for a hub: config.json and model.safetensors."""

    options = ()

    def __init__(self, name, **arguments):
        self.name, self.arguments = name, arguments
        self.model = timm.create_model(name, **arguments, dynamic_img_size=True)

    def save(self, folder):
        arguments = {key: value for key, value in self.arguments.items() if key != "num_classes"}
        save_for_hf(self.model, str(folder), model_args=arguments or None,
                    safe_serialization=True)
        return folder

    def run(self, x):
        model = copy.deepcopy(self.model).double()
        last, maps = model.forward_intermediates(x)
        outputs = {f"feature{i}": x[0] for i, x in enumerate(maps)}
        if model.num_classes:
            outputs["scores"] = model.forward_head(last)[0]
        return outputs


class TimmFeatures(Timm):
    """Without a head: the library has no format for it, people save the state."""

    def __init__(self, name, options, **arguments):
        super().__init__(name, features_only=True, **arguments)
        self.options = options

    def save(self, folder):
        torch.save(self.model.state_dict(), folder / "features.pth")
        return folder / "features.pth"

    def run(self, x):
        maps = copy.deepcopy(self.model).double()(x)
        return {f"feature{i}": chw(x) for i, x in enumerate(maps)}


class Torchvision:
    options = ()

    def __init__(self, model):
        self.model = model

    def save(self, folder):
        torch.save(self.model.state_dict(), folder / "model.pth")
        return folder / "model.pth"

    def run(self, x):
        model = copy.deepcopy(self.model).double()
        outputs = {}
        for i, stage in enumerate(model.features[1::2]):        # mergings lie between them
            def keep(module, arguments, result, key=f"feature{i}"):
                outputs[key] = chw(result)
            stage.register_forward_hook(keep)
        return outputs | {"scores": model(x)[0]}


class Transformers:
    """Saved by save_pretrained; every input meets a fresh model (Swin keeps a smaller window)."""

    options = ()

    def __init__(self, kind, config, dtype=torch.float32, **saving):
        self.model, self.saving = kind(config).to(dtype), saving

    def save(self, folder):
        self.model.save_pretrained(folder, **self.saving)
        self.model = type(self.model).from_pretrained(folder, dtype=torch.float32).eval()
        return folder


class TransformersModel(Transformers):
    """The stages' outputs before merging, and the logits of a classifier."""

    def run(self, x):
        model = copy.deepcopy(self.model).double()
        body = getattr(model, model.base_model_prefix, model)
        outputs, grid = {}, [-(-side // body.config.patch_size) for side in x.shape[2:]]
        for i, layer in enumerate(body.encoder.layers):
            def keep(module, arguments, result, key=f"feature{i}", grid=tuple(grid)):
                result = result[0] if isinstance(result, tuple) else result
                outputs[key] = chw(result.unflatten(1, grid))
            layer.blocks[-1].register_forward_hook(keep)
            grid = [(side + 1) // 2 for side in grid]
        classifies = hasattr(model, "classifier")
        result = (model if classifies else body)(x)
        if classifies:
            outputs["scores"] = result.logits[0]
        return outputs


class TransformersState(TransformersModel):
    """Saved as a state, whose names are not those of save_pretrained."""

    def save(self, folder):
        torch.save(self.model.state_dict(), folder / "state.pth")
        return folder / "state.pth"


class TransformersBackbone(Transformers):
    def run(self, x):
        model = copy.deepcopy(self.model).double()
        maps = model(x).feature_maps
        return {f"feature{int(name[5:]) - 1}": x[0]
                for name, x in zip(model.out_features, maps, strict=True)}


class TransformersUperNet(Transformers):
    """The library resizes its logits to the input."""

    def run(self, x):
        return {"resized": copy.deepcopy(self.model).double()(x).logits[0]}


class Smp:
    """Saved by save_pretrained; all but Unet enlarge their logits with corners aligned."""

    def __init__(self, decoder, encoder="swin_tiny_patch4_window7_224", options=(), **arguments):
        arguments = {"encoder_weights": None, "classes": 5, "dynamic_img_size": True, **arguments}
        self.model, self.options = decoder(f"tu-{encoder}", **arguments), options

    def save(self, folder):
        self.model.save_pretrained(folder)
        return folder

    def run(self, x):
        model = copy.deepcopy(self.model).double()
        maps = model.encoder(x)[2:]
        if hasattr(model.decoder, "feature_norms"):
            maps = [norm(x) for norm, x in zip(model.decoder.feature_norms, maps, strict=True)]
        enlarged = "logits" if isinstance(model, smp.Unet) else "aligned"
        return {**{f"feature{i}": x[0] for i, x in enumerate(maps)}, enlarged: model(x)[0]}


class SmpState(Smp):
    """Saved as a state dict, or with a prefix as Lightning has it."""

    def save(self, folder):
        torch.save({"state_dict": self.model.state_dict(prefix="model."), "epoch": 3},
                   folder / "last.ckpt")
        return folder / "last.ckpt"


class TransformersSegformer(Transformers):
    """Hidden states are the stages' normalised outputs, logits those of the head."""

    def run(self, x):
        model = copy.deepcopy(self.model).double()
        result = model(x, output_hidden_states=True)
        outputs = {f"feature{i}": state[0] for i, state in enumerate(result.hidden_states)}
        if hasattr(result, "logits"):
            name = "logits" if result.logits.ndim == 4 else "scores"
            outputs[name] = result.logits[0]
        return outputs


class TransformersSegformerState(TransformersSegformer, TransformersState):
    """Saved as a state."""
class TransformersQueries(Transformers):
    """Scores as the library's post-processing makes them, resized to the input."""

    options = ()
    task = [49406, 518, 10549, 533, 29119, 1550, 49407] + 70 * [0]      # "the task is semantic"

    def save(self, folder):
        """Mask logits, sums over the masks' channels, become of a size whose sigmoids differ."""
        for name, x in self.model.named_parameters():
            if re.search(r"mask_embed(der)?\.(layers\.)?2\.0\.", name):
                x.data /= 2 * len(x) ** 0.5
        return super().save(folder)

    def forward(self, x, model=None):
        model = model or copy.deepcopy(self.model).double()
        oneformer = model.config.model_type == "oneformer"
        return model(x, task_inputs=torch.tensor([self.task])) if oneformer else model(x)

    def run(self, x):
        result = self.forward(x)
        masks = result.masks_queries_logits
        if self.model.config.model_type == "mask2former":
            masks = F.interpolate(masks, (384, 384), mode="bilinear")
        shares = result.class_queries_logits.softmax(-1)[..., :-1]
        scores = torch.einsum("bqc,bqhw->bchw", shares, masks.sigmoid())
        return {"resized": F.interpolate(scores, x.shape[2:], mode="bilinear")[0]}


class TransformersQueriesState(TransformersQueries):
    """Saved as a state, whose names are not those of save_pretrained."""

    def __init__(self, kind, config, options):
        super().__init__(kind, config)
        self.options = options

    def save(self, folder):
        super().save(folder)
        torch.save(self.model.state_dict(), folder / "state.pth")
        return folder / "state.pth"


SMALL = dict(embed_dim=16, depths=[2, 2, 2], num_heads=[1, 2, 4])
TIMM = dict(SMALL, img_size=64, num_classes=9)
HF = dict(SMALL, image_size=64, window_size=4, num_labels=9)
NARROW = [4, 4, 8]                          # heads so narrow that masked pixels of V2 can win
STAGES = [f"stage{i}" for i in (1, 2, 3)]
ENCODER = dict(embed_dim=16, depths=[2, 2, 2, 2], num_heads=[1, 2, 4, 4], img_size=64,
               window_size=4)           # of SMP's models


def torchvision_v2():
    return SwinTransformer([4, 4], 16, [2, 2, 2], NARROW, [4, 4], num_classes=9,
                           block=SwinTransformerBlockV2, downsample_layer=PatchMergingV2)


def swin(**change):
    return transformers.SwinConfig(**{**HF, **change})


def swinv2(**change):
    return transformers.Swinv2Config(**{**HF, "num_heads": NARROW, **change})


def upernet(**change):
    backbone = {**HF, "depths": [2, 1, 2, 1], "num_heads": [1, 2, 4, 4],
                "out_features": ["stage1", "stage2", "stage3", "stage4"], **change}
    backbone = transformers.SwinConfig(**backbone)
    return transformers.UperNetConfig(backbone_config=backbone, hidden_size=32, num_labels=7,
                                      auxiliary_in_channels=4 * backbone.embed_dim)


def segformer(**change):
    """Narrow, or of the widths that are told."""
    return transformers.SegformerConfig(**{
        **dict(hidden_sizes=[8, 16, 40, 64], decoder_hidden_size=24, depths=[1, 2, 1, 1],
               num_labels=7, mlp_ratios=[4, 2, 4, 3]), **change})


B0 = dict(hidden_sizes=[32, 64, 160, 256], decoder_hidden_size=256, depths=[2, 2, 2, 2],
          mlp_ratios=[4, 4, 4, 4], num_labels=150)
def query_backbone(**change):
    return transformers.SwinConfig(**{**HF, "depths": [2, 1, 2, 1], "num_heads": [1, 2, 4, 4],
                                      "out_features": ["stage1", "stage2", "stage3", "stage4"],
                                      **change})


TINY = dict(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7)


def maskformer(backbone=None, width=48, pixels=64, heads=4, layers=3, **change):
    decoder = transformers.DetrConfig(d_model=width, decoder_attention_heads=heads,
                                      decoder_layers=layers, decoder_ffn_dim=2 * width,
                                      num_queries=11, use_timm_backbone=False,
                                      backbone_config=transformers.ResNetConfig())
    return transformers.MaskFormerConfig(backbone_config=backbone or query_backbone(),
                                         decoder_config=decoder, fpn_feature_size=pixels,
                                         mask_feature_size=pixels - 8, num_labels=7, **change)


def mask2former(backbone=None, **change):
    return transformers.Mask2FormerConfig(backbone_config=backbone or query_backbone(), **{**dict(
        feature_size=64, mask_feature_size=40, hidden_dim=32, encoder_feedforward_dim=96,
        encoder_layers=2, decoder_layers=5, num_attention_heads=4, dim_feedforward=64,
        num_queries=11, num_labels=7), **change})


def oneformer(backbone=None, **change):
    return transformers.OneFormerConfig(backbone_config=backbone or query_backbone(), **{**dict(
        conv_dim=64, mask_dim=64, hidden_dim=64, encoder_feedforward_dim=96, encoder_layers=2,
        decoder_layers=5, num_attention_heads=4, dim_feedforward=64, num_queries=11, num_labels=7,
        text_encoder_vocab_size=16, text_encoder_width=32, text_encoder_num_layers=1), **change})


# name: the model, sizes (height, width)
MODELS = {
    "timm swin": (lambda: Timm("swin_tiny_patch4_window7_224", window_size=4, **TIMM),
                  [(64, 64), (76, 52), (36, 100)]),
    "timm swin, stages no larger than the window": (
        lambda: Timm("swin_tiny_patch4_window7_224", window_size=8, **TIMM), [(64, 64), (100, 44)]),
    "timm swin 224": (lambda: Timm("swin_tiny_patch4_window7_224"), [(224, 224), (196, 260)]),
    "timm swinv2": (
        lambda: Timm("swinv2_tiny_window8_256", window_size=4,
                     **{**TIMM, "num_heads": NARROW}),
        [(64, 64), (76, 52)]),
    "timm swin, built for no square": (
        lambda: Timm("swin_tiny_patch4_window7_224", window_size=6,
                     **{**TIMM, "img_size": (48, 80)}), [(48, 80), (76, 52)]),
    "timm swinv2, pretrained windows": (
        lambda: Timm("swinv2_tiny_window8_256", window_size=8, pretrained_window_sizes=(6, 3, 2),
                     **TIMM), [(64, 64), (44, 100)]),
    "timm swinv2, built for no square": (
        lambda: Timm("swinv2_tiny_window8_256", window_size=6, qkv_bias=False,
                     pretrained_window_sizes=(0, 0, 0), **{**TIMM, "img_size": (48, 80)}),
        [(48, 80), (76, 52)]),
    "timm swin without classes": (
        lambda: Timm("swin_tiny_patch4_window7_224", window_size=4, **{**TIMM, "num_classes": 0}),
        [(64, 64), (52, 76)]),
    "timm swinv2 256": (lambda: Timm("swinv2_tiny_window8_256"), [(256, 256), (228, 276)]),
    "timm swin_s3": (lambda: Timm("swin_s3_tiny_224", window_size=(4, 8, 2), **TIMM),
                     [(64, 64), (84, 60)]),
    "timm swin_s3 224": (lambda: Timm("swin_s3_tiny_224"), [(224, 224)]),
    "timm swin features": (
        lambda: TimmFeatures("swin_tiny_patch4_window7_224", ["--image-size", "64x64"], img_size=64,
                             window_size=4, out_indices=(0, 1, 2), **SMALL),
        [(64, 64), (52, 76)]),
    "timm swinv2 features": (
        lambda: TimmFeatures("swinv2_tiny_window8_256",
                             ["--image-size", "64x64", "--window", "4",
                              "--pretrained-windows", "0,0,0"],
                             img_size=64, window_size=4, out_indices=(0, 1, 2), **SMALL),
        [(64, 64), (52, 76)]),

    "torchvision V1": (
        lambda: Torchvision(SwinTransformer([4, 4], 16, [2, 2, 2], [1, 2, 4], [4, 4],
                                            num_classes=9, downsample_layer=PatchMerging)),
        [(64, 64), (71, 93), (30, 47)]),
    "torchvision V1 224": (lambda: Torchvision(swin_t()), [(224, 224), (201, 250)]),
    "torchvision V2": (lambda: Torchvision(torchvision_v2()), [(64, 64), (71, 93), (30, 47)]),
    "torchvision V2 256": (lambda: Torchvision(swin_v2_t()), [(256, 256), (243, 277)]),

    "transformers SwinModel": (lambda: TransformersModel(transformers.SwinModel, swin()),
                               [(64, 64), (75, 90), (50, 131)]),
    "transformers SwinForImageClassification": (
        lambda: TransformersModel(transformers.SwinForImageClassification,
                                  swin(qkv_bias=False, layer_norm_eps=1e-3)),
        [(64, 64), (75, 90), (50, 131)]),
    "transformers SwinForImageClassification with positions, in shards": (
        lambda: TransformersModel(transformers.SwinForImageClassification,
                                  swin(use_absolute_embeddings=True), max_shard_size="60KB"),
        [(64, 64)]),
    "transformers SwinForImageClassification of half precision": (
        lambda: TransformersModel(transformers.SwinForImageClassification, swin(),
                                  dtype=torch.float16), [(64, 64), (50, 131)]),
    "transformers SwinForImageClassification as a state": (
        lambda: TransformersState(transformers.SwinForImageClassification, swin()),
        [(64, 64), (50, 131)]),
    "transformers SwinForMaskedImageModeling": (
        lambda: TransformersModel(transformers.SwinForMaskedImageModeling, swin(encoder_stride=16)),
        [(64, 64)]),
    "transformers SwinForImageClassification 224": (
        lambda: TransformersModel(transformers.SwinForImageClassification,
                                  transformers.SwinConfig(num_labels=1000)), [(224, 224)]),
    "transformers SwinBackbone": (
        lambda: TransformersBackbone(transformers.SwinBackbone, swin(out_features=STAGES)),
        [(64, 64), (75, 90), (19, 38)]),
    "transformers SwinBackbone, two features": (
        lambda: TransformersBackbone(transformers.SwinBackbone,
                                     swin(out_features=["stage1", "stage3"])),
        [(64, 64), (33, 101)]),
    "transformers Swinv2Model": (lambda: TransformersModel(transformers.Swinv2Model, swinv2()),
                                 [(64, 64), (75, 90), (50, 131)]),
    "transformers Swinv2ForImageClassification": (
        lambda: TransformersModel(
            transformers.Swinv2ForImageClassification,
            swinv2(window_size=8, pretrained_window_sizes=[6, 3, 2])), [(64, 64), (75, 90)]),
    "transformers Swinv2ForImageClassification of half precision": (
        lambda: TransformersModel(transformers.Swinv2ForImageClassification,
                                  swinv2(qkv_bias=False, layer_norm_eps=1e-3),
                                  dtype=torch.bfloat16), [(64, 64), (50, 131)]),
    "transformers Swinv2ForImageClassification 256": (
        lambda: TransformersModel(
            transformers.Swinv2ForImageClassification,
            transformers.Swinv2Config(image_size=256, window_size=8, num_labels=1000)),
        [(256, 256)]),
    "transformers Swinv2Backbone": (
        lambda: TransformersBackbone(transformers.Swinv2Backbone, swinv2(out_features=STAGES)),
        [(64, 64), (75, 90)]),
    "smp UPerNet": (lambda: Smp(smp.UPerNet, decoder_channels=24,
                                decoder_use_norm={"type": "batchnorm", "eps": 0.1}, **ENCODER),
                    [(64, 64), (96, 32), (128, 160)]),
    "smp UPerNet of Swin-T, one class": (lambda: Smp(smp.UPerNet, classes=1, dynamic_img_size=False),
                                         [(224, 224)]),
    "smp UPerNet over swin_s3, built for no square": (
        lambda: Smp(smp.UPerNet, "swin_s3_tiny_224", decoder_channels=32,
                    **{**ENCODER, "window_size": [4, 4, 5, 2], "img_size": [96, 64]}),
        [(96, 64), (64, 128)]),
    "smp Segformer": (lambda: Smp(smp.Segformer, decoder_segmentation_channels=24, **ENCODER),
                      [(64, 64), (96, 160)]),
    "smp Segformer over Swin V2, without norms": (
        lambda: Smp(smp.Segformer, "swinv2_tiny_window8_256", encoder_depth=4,
                    decoder_segmentation_channels=32,
                    pretrained_window_sizes=[6, 3, 3],
                    **{**ENCODER, "depths": [2, 2, 2], "num_heads": NARROW, "img_size": [48, 64],
                       "window_size": [4, 6]}),
        [(48, 64), (64, 32)]),
    "smp FPN": (lambda: Smp(smp.FPN, decoder_pyramid_channels=24, decoder_segmentation_channels=64,
                            **ENCODER), [(64, 64), (96, 160)]),
    "smp FPN, levels side by side, bilinear": (
        lambda: Smp(smp.FPN, decoder_merge_policy="cat", decoder_interpolation="bilinear",
                    decoder_pyramid_channels=16, decoder_segmentation_channels=32, **ENCODER),
        [(64, 64), (32, 96)]),
    "smp Unet": (lambda: Smp(smp.Unet, decoder_channels=(40, 32, 32, 16, 8), **ENCODER),
                 [(64, 64), (36, 52), (100, 76)]),
    "smp Unet of standard width": (lambda: Smp(smp.Unet, dynamic_img_size=False), [(224, 224)]),
    "smp Unet with scSE, bilinear, three stages": (
        lambda: Smp(smp.Unet, encoder_depth=4, decoder_channels=(40, 33, 17, 16),
                    decoder_attention_type="scse", decoder_interpolation="bilinear",
                    **{**ENCODER, "depths": [2, 2, 2], "num_heads": [1, 2, 4]}),
        [(64, 64), (44, 60)]),
    "smp Unet as a Lightning file, one class": (
        lambda: SmpState(smp.Unet, options=["--image-size", "64x64"], classes=1,
                         dynamic_img_size=False, decoder_channels=(32, 16, 16, 8, 8), **ENCODER),
        [(64, 64)]),
    "transformers UperNet": (
        lambda: TransformersUperNet(transformers.UperNetForSemanticSegmentation, upernet()),
        [(64, 64), (75, 90), (50, 131)]),
    "transformers UperNet of Swin-T": (
        lambda: TransformersUperNet(
            transformers.UperNetForSemanticSegmentation,
            upernet(**TINY)),
        [(224, 224), (150, 201)]),
    "transformers SegformerForSemanticSegmentation": (
        lambda: TransformersSegformer(transformers.SegformerForSemanticSegmentation, segformer()),
        [(64, 64), (75, 90), (29, 131)]),
    "transformers SegformerForSemanticSegmentation as a state": (
        lambda: TransformersSegformerState(transformers.SegformerForSemanticSegmentation,
                                           segformer()), [(64, 64), (29, 131)]),
    "transformers SegformerForSemanticSegmentation of other patches": (
        lambda: TransformersSegformer(transformers.SegformerForSemanticSegmentation,
                                      segformer(strides=[4, 2, 2, 3], patch_sizes=[9, 3, 5, 3],
                                                num_attention_heads=[2, 4, 5, 4])),
        [(64, 64), (29, 131)]),
    "transformers SegFormer-B0": (
        lambda: TransformersSegformer(transformers.SegformerForSemanticSegmentation,
                                      segformer(**B0)), [(256, 256), (150, 301)]),
    "transformers SegformerForImageClassification": (
        lambda: TransformersSegformer(transformers.SegformerForImageClassification, segformer()),
        [(64, 64), (75, 90)]),
    "transformers SegformerModel": (
        lambda: TransformersSegformer(transformers.SegformerModel, segformer()),
        [(64, 64), (50, 131)]),
    "transformers MaskFormer": (
        lambda: TransformersQueries(transformers.MaskFormerForInstanceSegmentation, maskformer()),
        [(64, 64), (75, 90)]),
    "transformers MaskFormer of standard widths": (
        lambda: TransformersQueries(
            transformers.MaskFormerForInstanceSegmentation,
            maskformer(query_backbone(**TINY), width=256, pixels=256, heads=8, layers=6)),
        [(128, 160), (101, 77)]),
    "transformers MaskFormer as a state": (
        lambda: TransformersQueriesState(transformers.MaskFormerForInstanceSegmentation,
                                         maskformer(), ["--decoder-heads", "4"]), [(64, 64)]),
    "transformers Mask2Former": (
        lambda: TransformersQueries(transformers.Mask2FormerForUniversalSegmentation,
                                    mask2former()), [(64, 64), (75, 90)]),
    "transformers Mask2Former of standard widths": (
        lambda: TransformersQueries(
            transformers.Mask2FormerForUniversalSegmentation,
            transformers.Mask2FormerConfig(backbone_config=query_backbone(**TINY), num_queries=100,
                                           num_labels=19)), [(128, 160), (101, 77)]),
    "transformers Mask2Former as a state": (
        lambda: TransformersQueriesState(transformers.Mask2FormerForUniversalSegmentation,
                                         mask2former(), ["--scores", "384"]), [(64, 64)]),
    "transformers OneFormer": (
        lambda: TransformersQueries(transformers.OneFormerForUniversalSegmentation, oneformer()),
        [(64, 64), (75, 90)]),
    "transformers OneFormer of standard widths": (
        lambda: TransformersQueries(
            transformers.OneFormerForUniversalSegmentation,
            transformers.OneFormerConfig(backbone_config=query_backbone(**TINY), num_queries=100,
                                         num_labels=19)), [(128, 160), (101, 77)]),
    "transformers OneFormer as a state": (
        lambda: TransformersQueriesState(transformers.OneFormerForUniversalSegmentation,
                                         oneformer(), []), [(64, 64)]),
}


# Comparing ----------------------------------------------------------------------------------------

def error(got, expected):
    assert got.shape == expected.shape and numpy.isfinite(got).all()
    return abs(got - expected).max() / abs(expected).max()


def check_classes(got, logits):
    if len(logits) == 1:                # one class, where its logit is above 0
        logits = numpy.concatenate([numpy.zeros_like(logits), logits])
    best = numpy.sort(logits, axis=0)
    clear = best[-1] - best[-2] > NEAR_TIE * (logits.max() - logits.min())
    assert got.shape == clear.shape and clear.mean() > 0.9
    assert (got == logits.argmax(0))[clear].all()


@pytest.mark.parametrize("name", MODELS)
def test_model(name, convert, tmp_path):
    make, sizes = MODELS[name]
    torch.manual_seed(len(name))
    library = make()
    spread(library.model)
    (tmp_path / "saved").mkdir()
    converted = convert(library.save(tmp_path / "saved"), *library.options)
    cosines = any(key.endswith("logit_scale") for key in library.model.state_dict())
    features, scores = (COSINES, COSINES) if cosines else (FEATURES, LOGITS)
    for height, width in sizes:
        x = torch.randn(1, 3, height, width)
        numpy.save(tmp_path / "in.npy", x[0].numpy())
        subprocess.run([BUILD / "tensor", converted, tmp_path / "in.npy", tmp_path / "out",
                        "--threads", "2"], check=True, capture_output=True, timeout=600)
        with torch.no_grad():
            outputs = {key: x.numpy() for key, x in library.run(x.double()).items()}
        assert outputs
        for output, expected in outputs.items():
            def load(output):
                return numpy.load(tmp_path / f"out.{output}.npy")
            if output in ("resized", "aligned"):
                got = F.interpolate(torch.from_numpy(load("logits"))[None].double(),
                                    (height, width), mode="bilinear",
                                    align_corners=output == "aligned")[0].numpy()
                check_classes(load("classes"), expected)
            else:
                got = load(output)
            limit = features if output.startswith("feature") else scores
            if isinstance(library, TransformersQueries):
                limit = QUERY_SCORES
            assert error(got, expected) <= limit, (output, height, width)


# name: a config, its model, what post-processes it, and options
PANOPTIC = {
    "MaskFormer": (maskformer, transformers.MaskFormerForInstanceSegmentation,
                   transformers.MaskFormerImageProcessor, []),
    "Mask2Former": (mask2former, transformers.Mask2FormerForUniversalSegmentation,
                    transformers.Mask2FormerImageProcessor, []),
    "OneFormer": (oneformer, transformers.OneFormerForUniversalSegmentation,
                  transformers.OneFormerImageProcessor, ["--task", "panoptic"]),
}
THINGS, SCORE, SHARE = (0, 2, 3), 0.25, 0.04


def tell_queries_apart(library):
    """Queries of random weights are nearly the same. The layers from them to classes and masks
    become such that their outputs differ from query to query."""
    inputs = {}
    for name, x in library.model.named_parameters():
        if re.search(r"quer\w+_(embedder|features)\.weight", name):
            x.data.normal_(0, 3)
    for name, layer in library.model.named_modules():
        if re.search(r"class_(predictor|embed)$|mask_embed(der)?\.(layers\.)?0\.0$", name):
            layer.register_forward_hook(lambda layer, x, _: inputs.update({layer: x[0]}))
    with torch.no_grad():
        library.forward(torch.randn(1, 3, 96, 96).double(), library.model.double())
        for layer, x in inputs.items():
            out = layer(x.reshape(-1, x.shape[-1]))
            factor = 2 / out.std(0).mean()
            layer.bias.data -= factor * out.mean(0) + (1 - factor) * layer.bias.data
            layer.weight.data *= factor
            layer._forward_hooks.clear()
    library.model.float()


def make_apart(name, words, seed):
    """A model of PANOPTIC whose queries differ, asked by the tokens of a task's last words."""
    config, kind, *_ = PANOPTIC[name]
    torch.manual_seed(seed)
    library = TransformersQueries(kind, config())
    spread(library.model)
    tell_queries_apart(library)
    task = TransformersQueries.task[:4] + words + [49407]
    library.task = task + (77 - len(task)) * [0]
    return library


def segments_of(library, converted, folder):
    """Of inputs of several sizes: the size, the library's outputs, our ids of pixels and list."""
    for size in ((64, 96), (101, 77), (160, 128), (96, 96), (70, 131)):
        x = torch.randn(1, 3, *size)
        numpy.save(folder / "in.npy", x[0].numpy())
        subprocess.run([BUILD / "tensor", converted, folder / "in.npy", folder / "out"],
                       check=True, capture_output=True, timeout=600)
        with torch.no_grad():
            result = library.forward(x.double())
        yield size, result, *(numpy.load(folder / f"out.{output}.npy")
                              for output in ("segments", "regions"))


def panoptic(processor, result, size):
    """What the library makes of a model's outputs, stuff of one class fused: ids of pixels, (class,
    score) of each, and where no two queries that compete for a pixel are as good as equal.

    Fusing is done here: after it the library goes on with an id that is taken."""
    answer, = processor.post_process_panoptic_segmentation(
        None, result, threshold=SCORE, overlap_mask_area_threshold=SHARE, label_ids_to_fuse=set(),
        target_sizes=[size])
    masks = result.masks_queries_logits
    if processor is transformers.Mask2FormerImageProcessor:
        masks = F.interpolate(masks, (384, 384), mode="bilinear")
    scores, labels = result.class_queries_logits[0].softmax(-1).max(-1)
    kept = (labels < 7) & (scores > SCORE)
    weighed = F.interpolate(masks.sigmoid()[:, kept], size, mode="bilinear")[0]
    best = (weighed * scores[kept][:, None, None]).topk(2, 0)[0]
    ids, fused, segments = numpy.zeros(size, int), {}, []
    for segment in answer["segments_info"]:
        label = segment["label_id"]
        new = len(segments) + 1
        own = new if label in THINGS else fused.setdefault(label, new)
        if own == new:
            segments.append((label, segment["score"]))
        ids[answer["segmentation"].numpy() == segment["id"]] = own
    return ids, segments, (best[0] - best[1] > NEAR_TIE).numpy()


@pytest.mark.parametrize("name", PANOPTIC)
def test_panoptic(name, convert, tmp_path):
    _, _, processor, options = PANOPTIC[name]
    library = make_apart(name, [1072, 24755], 3)
    (tmp_path / "saved").mkdir()
    converted = convert(library.save(tmp_path / "saved"), *options, "--things",
                        ",".join(map(str, THINGS)), "--object-score", str(SCORE),
                        "--overlap-share", str(SHARE))
    found = 0
    for size, result, got, regions in segments_of(library, converted, tmp_path):
        ids, segments, clear = panoptic(processor, result, size)
        assert [int(region[1]) for region in regions] == [label for label, _ in segments]
        assert numpy.allclose(regions[:, 3], [score for _, score in segments], atol=2e-4)
        assert (regions[:, 2] == [label in THINGS for label, _ in segments]).all()
        assert clear.mean() > 0.95 and (got == ids)[clear].all()
        for id, *_, area, left, top, width, height in regions:
            rows, columns = numpy.nonzero(got == id)
            assert len(rows) == area and (columns.min(), rows.min()) == (left, top)
            assert (numpy.ptp(columns) + 1, numpy.ptp(rows) + 1) == (width, height)
        found += len(segments)
    assert found > 5


def instances(name, result, size):
    """What the library makes of a model's outputs: ids of pixels, (class, score) of each, the
    pixels of each where they overlap, and where no pixel is about to be another's.

    Its lists fall in probability as they do for at least 64 classes, where topk sorts on its
    own."""
    processor, topk = PANOPTIC[name][2], torch.Tensor.topk
    this = types.SimpleNamespace(class_info_file="")
    masks, shares = result.masks_queries_logits, result.class_queries_logits[0].softmax(-1)
    told = {"overlap_mask_area_threshold": SHARE, "threshold": SCORE, "target_sizes": [size]}
    with unittest.mock.patch("torch.Tensor.topk", lambda x, k, sorted: topk(x, k)):
        answer, = processor.post_process_instance_segmentation(this, result, **told)
        covers = None
        if name != "OneFormer":
            covers, = processor.post_process_instance_segmentation(this, result, **told,
                                                                   return_binary_maps=True)
    listed = [(segment["label_id"], segment["score"]) for segment in answer["segments_info"]]
    ids = answer["segmentation"].numpy().astype(int)
    if covers:
        if name == "Mask2Former":
            masks = F.interpolate(masks, (384, 384), mode="bilinear")
        near = F.interpolate(masks.abs(), size, mode="nearest").min(1)[0][0]
        return ids + 1, listed, covers["segmentation"].numpy() == 1, (near > NEAR_TIE).numpy()
    pairs = shares[:, :-1].flatten()
    pairs, at = pairs.topk(len(shares))
    at = at[pairs > SCORE] // (shares.shape[1] - 1)
    weighed = F.interpolate(masks[:, at], size, mode="bilinear")[0]
    best = (weighed * pairs[pairs > SCORE][:, None, None]).topk(2, 0)[0]
    return ids, listed, [ids == i + 1 for i in range(len(listed))], (
        best[0] - best[1] > NEAR_TIE).numpy()


@pytest.mark.parametrize("name", PANOPTIC)
def test_instances(name, convert, tmp_path):
    library = make_apart(name, [34572], 4)
    (tmp_path / "saved").mkdir()
    options = ["--segments", "instance"]
    if name == "OneFormer":
        options = ["--task", "instance", "--overlap-share", str(SHARE)]
    converted = convert(library.save(tmp_path / "saved"), *options, "--object-score", str(SCORE))
    found = 0
    for size, result, got, regions in segments_of(library, converted, tmp_path):
        ids, listed, covers, clear = instances(name, result, size)
        assert [int(region[1]) for region in regions] == [label for label, _ in listed]
        assert numpy.allclose(regions[:, 3], [score for _, score in listed], atol=2e-4)
        assert clear.mean() > 0.95 and (got == ids)[clear].all()
        for (*_, area, left, top, width, height), cover in zip(regions, covers, strict=True):
            rows, columns = numpy.nonzero(cover)
            assert abs(len(rows) - area) <= (~clear).sum()
            if clear.all():
                assert (columns.min(), rows.min()) == (left, top)
                assert (numpy.ptp(columns) + 1, numpy.ptp(rows) + 1) == (width, height)
        found += len(listed)
    assert found > 5


# name: the model, a size that it does not take
REFUSED = {
    "timm takes whole patches": (
        lambda: Timm("swin_tiny_patch4_window7_224", window_size=4, **TIMM), (64, 66)),
    "SMP's UPerNet takes multiples of 32": (lambda: Smp(smp.UPerNet, **ENCODER), (64, 72)),
    "SMP's Unet takes whole patches": (lambda: Smp(smp.Unet, **ENCODER), (64, 66)),
    "SMP's models take the size that they were built for": (
        lambda: Smp(smp.FPN, dynamic_img_size=False, **ENCODER), (64, 96)),
    "SwinModel has no map smaller than the window": (
        lambda: TransformersModel(transformers.SwinModel, swin()), (64, 40)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name, convert, tmp_path):
    make, size = REFUSED[name]
    library = make()
    (tmp_path / "saved").mkdir()
    x = torch.randn(1, 3, *size)
    with torch.no_grad(), pytest.raises((AssertionError, RuntimeError)):
        library.run(x.double())
    numpy.save(tmp_path / "in.npy", x[0].numpy())
    command = [BUILD / "tensor", convert(library.save(tmp_path / "saved")),
               tmp_path / "in.npy", tmp_path / "out"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 1 and "in.npy" in done.stderr
