"""Swin Transformer and GLAM segmentation models in plain PyTorch.

These classes load the checkpoints of Swin-Transformer-Semantic-Segmentation and of GLAM as they
are: modules carry the names of the keys (`backbone.`, `decode_head.`). They are what tools/train.py
trains and what the tests compare swin.h with.

    model = from_state_dict(torch.load("checkpoint.pth")["state_dict"])
    features, logits = model(images)                    # images [B, 3, H, W], normalised

Shapes in comments: B pictures, H x W a map, C channels, w window, nW windows of a map, g global
tokens of a window (0: plain Swin), n heads, d channels of a head, K classes.
"""

import re
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import nn


# Attention ----------------------------------------------------------------------------------------

class Attention(nn.Module):
    """Multi-head self-attention over the last but one axis, with an optional bias on the scores."""

    def __init__(self, dim, heads, qkv_bias=True):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, bias=None):                    # x [..., N, C], bias [..., n, N, N]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).movedim((-3, -2), (0, -3))
        x = F.scaled_dot_product_attention(q, k, v, bias)           # [..., n, N, d]
        return self.proj(x.transpose(-3, -2).flatten(-2))


class WindowAttention(Attention):
    """W-MSA: attention inside each window, g global tokens before the w² pixels."""

    def __init__(self, dim, heads, window, qkv_bias=True):
        super().__init__(dim, heads, qkv_bias)
        self.window = window
        table = torch.empty((2 * window - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.register_buffer("relative_position_index", relative_position_index(window),
                             persistent=False)

    def forward(self, x, mask=None):                    # x [B, nW, g+w², C], mask [nW, 1, w², w²]
        pixels = self.window ** 2
        bias = self.relative_position_bias_table[self.relative_position_index]
        bias = bias.view(pixels, pixels, -1).permute(2, 0, 1)       # [n, w², w²]
        if mask is not None:
            bias = bias + mask
        g = x.shape[-2] - pixels
        return super().forward(x, F.pad(bias, (g, 0, g, 0)))        # tokens: no bias, no mask


def relative_position_index(window):
    """Row of the bias table for each (query pixel, key pixel) of a window: [w²·w²]."""
    rows, columns = torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows + window - 1
    right = columns[:, None] - columns + window - 1
    return (down * (2 * window - 1) + right).flatten()


@lru_cache(maxsize=64)
def shift_mask(height, width, window, shift, device):
    """-100 between pixels of a rolled window that are no neighbours in the map: [nW, 1, w², w²]."""
    def labels(size):
        position = torch.arange(size, device=device)
        return (position >= size - window).int() + (position >= size - shift).int()

    regions = 3 * labels(height)[:, None] + labels(width)
    regions = partition(regions[None, :, :, None], window).squeeze()     # [nW, w²]
    regions = regions.view(-1, window ** 2)
    return -100.0 * (regions[:, :, None] != regions[:, None, :])[:, None]


def partition(x, window):
    """[B, H, W, C] -> [B, nW, w², C], windows and their pixels row by row."""
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def unpartition(x, height, width, window):
    """[B, nW, w², C] -> [B, H, W, C]."""
    x = x.unflatten(2, (window, window)).unflatten(1, (height // window, width // window))
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


# Backbone -----------------------------------------------------------------------------------------

class Mlp(nn.Module):
    def __init__(self, dim, hidden):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Swin block; with `gt_attn` its windows' tokens also attend to one another (G-MSA)."""

    def __init__(self, dim, heads, window, shift, mlp_ratio, qkv_bias, gt_attn):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window, qkv_bias)
        if gt_attn:
            self.gt_attn = Attention(dim, heads, qkv_bias)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x, tokens):                       # x [B, H, W, C], tokens [B, nW, g, C]
        (_, H, W, _), w, s = x.shape, self.window, self.shift
        y = F.pad(self.norm1(x), (0, 0, 0, -W % w, 0, -H % w))
        Hp, Wp = y.shape[1:3]
        mask = None
        if s:
            y = y.roll((-s, -s), (1, 2))
            mask = shift_mask(Hp, Wp, w, s, y.device)
        g = tokens.shape[2]
        y = self.attn(torch.cat([tokens.to(y.dtype), partition(y, w)], 2), mask)
        tokens, y = y[:, :, :g], unpartition(y[:, :, g:], Hp, Wp, w)
        if s:
            y = y.roll((s, s), (1, 2))
        x = x + y[:, :H, :W]
        return x + self.mlp(self.norm2(x)), tokens

    def mix_tokens(self, tokens, pe):                   # tokens [B, nW, g, C], pe [m, C]
        B, nW, g, C = tokens.shape
        start = len(pe) // 2 - nW * g // 2
        tokens = tokens.reshape(B, nW * g, C) + pe[start:start + nW * g]
        return self.gt_attn(tokens).view(B, nW, g, C)


class PatchMerging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):                               # [B, H, W, C] -> [B, H/2, W/2, 2C]
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        cell = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(cell, -1)))


class Stage(nn.Module):
    """Blocks of one width; the tokens start afresh from `global_token`."""

    def __init__(self, dim, depth, heads, window, mlp_ratio, qkv_bias, tokens, pe_rows, opti, last):
        super().__init__()
        if tokens:
            self.global_token = nn.Parameter(torch.randn(tokens, dim) * 0.02)
            self.pe = nn.Parameter(torch.randn(pe_rows, dim) * 0.02)
        self.blocks = nn.ModuleList(
            Block(dim, heads, window, j % 2 * (window // 2), mlp_ratio, qkv_bias,
                  gt_attn=bool(tokens) and not (opti and j == depth - 1))
            for j in range(depth))
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x):                               # [B, H, W, C]
        B, H, W, C = x.shape
        w = self.blocks[0].window
        nW = -(-H // w) * -(-W // w)
        tokens = getattr(self, "global_token", x.new_empty(0, C)).expand(B, nW, -1, -1)
        for j, block in enumerate(self.blocks):
            x, tokens = block(x, tokens)
            if tokens.shape[2] and j < len(self.blocks) - 1:    # nothing reads the last ones
                tokens = block.mix_tokens(tokens, self.pe)
        return x


class PatchEmbed(nn.Module):
    def __init__(self, dim, patch, norm):
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv2d(3, dim, patch, patch)
        self.norm = nn.LayerNorm(dim) if norm else nn.Identity()

    def forward(self, x):                               # [B, 3, H, W] -> [B, H/4, W/4, E]
        x = F.pad(x, (0, -x.shape[3] % self.patch, 0, -x.shape[2] % self.patch))
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class Backbone(nn.Module):
    """Swin V1 (tokens=0) or GLAM. Returns the normalised stage outputs in `out_indices`."""

    def __init__(self, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window=7,
                 mlp_ratio=4, patch=4, patch_norm=True, qkv_bias=True, ape=0, tokens=0,
                 opti=False, pe_rows=None, out_indices=(0, 1, 2, 3)):
        super().__init__()
        stages = range(len(depths))
        windows = [window] * len(depths) if isinstance(window, int) else window
        pe_rows = pe_rows or [(45 * tokens // 2 ** i) ** 2 for i in stages]
        self.widths = [embed_dim * 2 ** i for i in stages]
        self.out_indices = out_indices
        self.patch_embed = PatchEmbed(embed_dim, patch, patch_norm)
        if ape:                                         # ape: side of the position table
            self.absolute_pos_embed = nn.Parameter(torch.randn(1, embed_dim, ape, ape) * 0.02)
        self.layers = nn.ModuleList(
            Stage(self.widths[i], depths[i], num_heads[i], windows[i], mlp_ratio, qkv_bias, tokens,
                  pe_rows[i], opti, last=i == stages[-1])
            for i in stages)
        for i in out_indices:
            self.add_module(f"norm{i}", nn.LayerNorm(self.widths[i]))
        self.apply(init_linear)

    def forward(self, x):                               # [B, 3, H, W]
        x = self.patch_embed(x)
        if hasattr(self, "absolute_pos_embed"):
            table = F.interpolate(self.absolute_pos_embed, x.shape[1:3], mode="bicubic")
            x = x + table.permute(0, 2, 3, 1)
        features = []
        for i, stage in enumerate(self.layers):
            x = stage(x)
            if i in self.out_indices:
                feature = self.get_submodule(f"norm{i}")(x)
                features.append(feature.permute(0, 3, 1, 2))    # [B, C, H, W]
            if stage.downsample:
                x = stage.downsample(x)
        return features


def init_linear(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Heads --------------------------------------------------------------------------------------------

class ConvModule(nn.Module):
    """Convolution, batch norm, ReLU."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)), inplace=True)


class Head(nn.Module):
    """What all heads share: the features they read and the last 1x1 convolution."""

    def __init__(self, channels, classes, in_index, align_corners):
        super().__init__()
        self.in_index, self.align_corners = in_index, align_corners
        self.conv_seg = nn.Conv2d(channels, classes, 1)
        nn.init.normal_(self.conv_seg.weight, std=0.01)
        nn.init.zeros_(self.conv_seg.bias)

    def resize(self, x, size):
        return F.interpolate(x, size, mode="bilinear", align_corners=self.align_corners)


class UPerHead(Head):
    """Pyramid pooling on the last feature, then a feature pyramid, all levels fused."""

    def __init__(self, widths, channels, classes, pool_scales=(1, 2, 3, 6),
                 in_index=(0, 1, 2, 3), align_corners=False):
        super().__init__(channels, classes, in_index, align_corners)
        *lower, last = [widths[i] for i in in_index]
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), ConvModule(last, channels, 1))
            for s in pool_scales)
        self.bottleneck = ConvModule(last + len(pool_scales) * channels, channels, 3)
        self.lateral_convs = nn.ModuleList(ConvModule(c, channels, 1) for c in lower)
        self.fpn_convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in lower)
        self.fpn_bottleneck = ConvModule(len(in_index) * channels, channels, 3)

    def forward(self, features):
        *lower, last = [features[i] for i in self.in_index]
        pooled = [self.resize(psp(last), last.shape[2:]) for psp in self.psp_modules]
        levels = [conv(x) for conv, x in zip(self.lateral_convs, lower)]
        levels.append(self.bottleneck(torch.cat([last, *pooled], 1)))
        for l in range(len(levels) - 1, 0, -1):
            levels[l - 1] = levels[l - 1] + self.resize(levels[l], levels[l - 1].shape[2:])
        outs = [conv(x) for conv, x in zip(self.fpn_convs, levels)] + levels[-1:]
        outs = outs[:1] + [self.resize(x, outs[0].shape[2:]) for x in outs[1:]]
        return self.conv_seg(self.fpn_bottleneck(torch.cat(outs, 1)))


class FCNHead(Head):
    """Convolutions on one feature."""

    def __init__(self, widths, channels, classes, num_convs=2, kernel=3, concat_input=True,
                 in_index=(-1,), align_corners=False):
        super().__init__(channels, classes, in_index, align_corners)
        width = widths[in_index[0]]
        self.convs = nn.Sequential(*(
            ConvModule(channels if k else width, channels, kernel) for k in range(num_convs)))
        if concat_input:
            self.conv_cat = ConvModule(width + channels, channels, kernel)

    def forward(self, features):
        x = features[self.in_index[0]]
        y = self.convs(x)
        if hasattr(self, "conv_cat"):
            y = self.conv_cat(torch.cat([x, y], 1))
        return self.conv_seg(y)


HEADS = {"UPerHead": UPerHead, "FCNHead": FCNHead}


# Whole models -------------------------------------------------------------------------------------

class Segmentor(nn.Module):
    """Backbone and head. `auxiliary` is a second head that only training uses."""

    def __init__(self, backbone, head=None, auxiliary=None):
        super().__init__()
        def make(type, **options):
            return HEADS[type](self.backbone.widths, **options)

        self.backbone = Backbone(**backbone)
        self.decode_head = make(**head) if head else None
        self.auxiliary_head = make(**auxiliary) if auxiliary else None

    def forward(self, images):                          # [B, 3, H, W]
        features = self.backbone(images)                # [B, C_i, H_i, W_i] each
        logits = self.decode_head(features) if self.decode_head else None
        return features, logits                         # logits [B, K, H_0, W_0]


def from_state_dict(state, **head_options):
    """The model of a checkpoint, its configuration read from names and shapes.

    `head_options` say what no shape tells: pool_scales, align_corners.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    backbone = infer_backbone(state)
    head = infer_head(state, backbone)
    if head:
        head.update(head_options)
    model = Segmentor(backbone, head)
    wanted = model.state_dict()
    model.load_state_dict({name: state.get(name, wanted[name]) if name.endswith("batches_tracked")
                           else state[name] for name in wanted})
    return model.eval()


def infer_backbone(state):
    """Arguments of Backbone for the tensors named `backbone.…`."""
    def shape(name):
        return state["backbone." + name].shape

    def present(name):
        return "backbone." + name in state

    def count(pattern):
        found = [re.match(f"backbone\\.{pattern}", name) for name in state]
        return 1 + max(int(match[1]) for match in found if match)

    stages = range(count(r"layers\.(\d+)\."))
    depths = [count(rf"layers\.{i}\.blocks\.(\d+)\.") for i in stages]
    tables = [shape(f"layers.{i}.blocks.0.attn.relative_position_bias_table") for i in stages]
    E, _, patch, _ = shape("patch_embed.proj.weight")
    glam = present("layers.0.global_token")
    deepest = max(stages, key=lambda i: depths[i])
    return dict(
        embed_dim=E, depths=depths, patch=patch,
        num_heads=[heads for _, heads in tables],
        window=[(round(rows ** 0.5) + 1) // 2 for rows, _ in tables],
        mlp_ratio=shape("layers.0.blocks.0.mlp.fc1.weight")[0] / E,
        patch_norm=present("patch_embed.norm.weight"),
        qkv_bias=present("layers.0.blocks.0.attn.qkv.bias"),
        ape=shape("absolute_pos_embed")[2] if present("absolute_pos_embed") else 0,
        tokens=shape("layers.0.global_token")[0] if glam else 0,
        pe_rows=[shape(f"layers.{i}.pe")[0] for i in stages] if glam else None,
        opti=not present(f"layers.{deepest}.blocks.{depths[deepest] - 1}.gt_attn.qkv.weight"),
        out_indices=[i for i in stages if present(f"norm{i}.weight")])


def infer_head(state, backbone):
    """Arguments of the decode head, or None: its inputs are recognised by their widths."""
    def shape(name):
        return state["decode_head." + name].shape

    def count(pattern):
        return sum(bool(re.fullmatch(f"decode_head\\.{pattern}", name)) for name in state)

    def in_index(widths):
        known = [backbone["embed_dim"] * 2 ** i for i in backbone["out_indices"]]
        return [known.index(width) for width in widths]

    if "decode_head.conv_seg.weight" not in state:
        return None
    classes, channels = shape("conv_seg.weight")[:2]
    head = dict(channels=channels, classes=classes)
    if "decode_head.fpn_bottleneck.conv.weight" in state:
        laterals = range(count(r"lateral_convs\.\d+\.conv\.weight"))
        widths = [shape(f"lateral_convs.{l}.conv.weight")[1] for l in laterals]
        widths.append(shape("psp_modules.0.1.conv.weight")[1])
        return dict(head, type="UPerHead", in_index=in_index(widths))
    convs = count(r"convs\.\d+\.conv\.weight")
    kernel, width = 1, channels
    if convs:
        _, width, kernel, _ = shape("convs.0.conv.weight")
    return dict(head, type="FCNHead", num_convs=convs, kernel=kernel, in_index=in_index([width]),
                concat_input="decode_head.conv_cat.conv.weight" in state)
