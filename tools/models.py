"""Swin Transformer (V1, V2), Swin-Unet, GLAM and SegFormer models in plain PyTorch.

These classes load the authors' checkpoints as they are: modules carry the names of the keys.

    Segmentor   `backbone.`, `neck.`, `decode_head.`, as Swin-Transformer-Semantic-Segmentation,
                GLAM and SegFormer name them
    SwinUnet    GLAM's, and HuCaoFighting's for one size: state_dict(prefix="backbone.swin_unet."),
                state_dict(prefix="swin_unet.")
    Classifier  the official classification code's, V1 and V2
    BiRefNet    ZhengPeng7/BiRefNet's over Swin
    SmpModel    segmentation_models_pytorch's UPerNet, Segformer, FPN and Unet over timm's Swin

They are what tools/train.py trains and what the tests compare swin.h with.

    model = from_state_dict(torch.load("checkpoint.pth")["state_dict"])
    features, logits = model(images)                    # images [B, 3, H, W], normalised

Shapes in comments: B pictures, H x W a map, C channels, w window, nW windows of a map, g global
tokens of a window (0: plain Swin), n heads, d channels of a head, K classes.
"""

import math
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
        return self.join(attention(*self.split(self.qkv(x), 3), bias))

    def split(self, x, parts):                          # [..., N, parts·C] -> [..., n, N, d] each
        return x.unflatten(-1, (parts, self.heads, -1)).movedim((-3, -2), (0, -3))

    def join(self, x):                                  # [..., n, N, d] -> [..., N, C]
        return self.proj(x.transpose(-3, -2).flatten(-2))


def attention(q, k, v, bias=None, scale=None):
    """Of windows [B, nW, n, N, d] or rows [B, n, N, d], with a bias [n, N, M] or [nW, n, N, M].

    PyTorch's fast kernels know but one axis before the rows: nW·n heads.
    """
    if bias is not None:
        bias = bias.expand(q.shape[1:-1] + bias.shape[-1:]).flatten(0, -3)
    x = F.scaled_dot_product_attention(*(y.flatten(1, -3) for y in (q, k, v)), bias, scale=scale)
    return x.view(q.shape)


class WindowAttention(Attention):
    """W-MSA: attention inside each window, g global tokens before the w² pixels."""

    def __init__(self, dim, heads, window, qkv_bias=True):
        super().__init__(dim, heads, qkv_bias)
        self.window = window
        self.relative_position_bias_table = bias_table(window, heads)
        self.register_buffer("relative_position_index", relative_position_index(window),
                             persistent=False)

    def forward(self, x, mask=None):                    # x [B, nW, g+w², C], mask [nW, 1, w², w²]
        pixels = self.window ** 2
        bias = gather(self.relative_position_bias_table, self.relative_position_index, pixels)
        if mask is not None:
            bias = bias + mask
        g = x.shape[-2] - pixels
        return super().forward(x, F.pad(bias, (g, 0, g, 0)))        # tokens: no bias, no mask


class CosineWindowAttention(Attention):
    """W-MSA of Swin V2: scaled cosines, the bias a function of log-spaced offsets (CPB)."""

    def __init__(self, dim, heads, window, qkv_bias=True, pretrained=0):
        super().__init__(dim, heads, qkv_bias=False)
        self.window = window
        if qkv_bias:                                    # keys have none
            self.q_bias = nn.Parameter(torch.zeros(dim))
            self.v_bias = nn.Parameter(torch.zeros(dim))
        self.logit_scale = nn.Parameter(torch.full((heads, 1, 1), math.log(10)))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(inplace=True),
                                     nn.Linear(512, heads, bias=False))
        offsets = torch.arange(1 - window, window, dtype=torch.float64)
        offsets *= 8 / max((pretrained or window) - 1, 1)
        offsets = offsets.sign() * (offsets.abs() + 1).log2() / 3
        table = torch.stack(torch.meshgrid(offsets, offsets, indexing="ij"), -1)
        self.register_buffer("relative_coords_table", table[None].float())
        self.register_buffer("relative_position_index",
                             relative_position_index(window).view(window ** 2, -1))

    def forward(self, x, mask=None):                    # x [B, nW, w², C], mask [nW, 1, w², w²]
        bias = None
        if hasattr(self, "q_bias"):
            bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = self.split(F.linear(x, self.qkv.weight, bias), 3)
        q = F.normalize(q, dim=-1) * self.logit_scale.clamp(max=math.log(100)).exp()
        table = 16 * self.cpb_mlp(self.relative_coords_table).sigmoid()     # [1, 2w-1, 2w-1, n]
        bias = gather(table.flatten(0, 2), self.relative_position_index.flatten(), x.shape[-2])
        if mask is not None:
            bias = bias + mask
        return self.join(attention(q, F.normalize(k, dim=-1), v, bias, scale=1.0))


def bias_table(window, heads):
    table = torch.empty((2 * window - 1) ** 2, heads)
    return nn.Parameter(nn.init.trunc_normal_(table, std=0.02))


def gather(table, index, keys):
    """Rows of a table [rows, n] by index [queries·keys]: [n, queries, keys]."""
    return table[index].view(-1, keys, table.shape[1]).permute(2, 0, 1)


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

    def __init__(self, dim, attn, shift, mlp_ratio, gt_attn=None):
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = attn
        if gt_attn:
            self.gt_attn = gt_attn
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))
        self.roll_before_pad = False

    def forward(self, x, tokens):                       # x [B, H, W, C], tokens [B, nW, g, C]
        y, tokens = self.attend(self.norm1(x), tokens)
        x = x + y
        return x + self.mlp(self.norm2(x)), tokens

    def attend(self, x, tokens):
        H, W = x.shape[1:3]
        if self.roll_before_pad:
            x, tokens = self.attend_windows(self.pad(self.roll(x, -self.shift)), tokens)
            return self.roll(x[:, :H, :W], self.shift), tokens
        x, tokens = self.attend_windows(self.roll(self.pad(x), -self.shift), tokens)
        return self.roll(x, self.shift)[:, :H, :W], tokens

    def pad(self, x):
        (_, H, W, _), w = x.shape, self.attn.window
        return F.pad(x, (0, 0, 0, -W % w, 0, -H % w))

    def roll(self, x, by):
        return x.roll((by, by), (1, 2)) if by else x

    def attend_windows(self, x, tokens):                # x of whole windows
        (_, H, W, _), w, g = x.shape, self.attn.window, tokens.shape[2]
        mask = shift_mask(H, W, w, self.shift, x.device) if self.shift else None
        x = self.attn(torch.cat([tokens.to(x.dtype), partition(x, w)], 2), mask)
        return unpartition(x[:, :, g:], H, W, w), x[:, :, :g]

    def mix_tokens(self, tokens, pe):                   # tokens [B, nW, g, C], pe [m, C]
        B, nW, g, C = tokens.shape
        start = len(pe) // 2 - nW * g // 2
        tokens = tokens.reshape(B, nW * g, C) + pe[start:start + nW * g]
        return self.gt_attn(tokens).view(B, nW, g, C)


class PostNormBlock(Block):
    """Block of Swin V2: what is added to x is normalised, not what is read from it."""

    def forward(self, x, tokens):
        y, tokens = self.attend(x, tokens)
        x = x + self.norm1(y)
        return x + self.norm2(self.mlp(x)), tokens


class PatchMerging(nn.Module):
    def __init__(self, dim, merged, version):
        super().__init__()
        self.version = version
        self.norm = nn.LayerNorm(4 * dim if version == 1 else merged)
        self.reduction = nn.Linear(4 * dim, merged, bias=False)

    def forward(self, x):                       # [B, H, W, dim] -> [B, H/2, W/2, merged]
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        x = torch.cat([x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], -1)
        return self.reduction(self.norm(x)) if self.version == 1 else self.norm(self.reduction(x))


class Stage(nn.Module):
    """Blocks of one width; the tokens start afresh from `global_token`."""

    def __init__(self, dim, blocks, tokens=0, pe_rows=0, downsample=None, upsample=None):
        super().__init__()
        if tokens:
            self.global_token = nn.Parameter(torch.randn(tokens, dim) * 0.02)
            self.pe = nn.Parameter(torch.randn(pe_rows, dim) * 0.02)
        self.blocks = nn.ModuleList(blocks)
        self.downsample, self.upsample = downsample, upsample

    def forward(self, x):                               # [B, H, W, C]
        B, H, W, C = x.shape
        w = self.blocks[0].attn.window
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
    """Swin or GLAM. Returns the normalised stage outputs in `out_indices`.

    `image` is the side the model is built for: where a stage's map is no larger than the window,
    the map is the window and nothing shifts; 0: no such side, the windows stay. A `fixed` model
    takes no other size; it stores the masks and has its positions row by row. `embed_dim` is the
    width of stage 0, which doubles from stage to stage, or a list of the stages' widths.
    """

    def __init__(self, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window=7,
                 mlp_ratio=4, patch=4, patch_norm=True, qkv_bias=True, ape=0, tokens=0,
                 opti=False, pe_rows=None, out_indices=(0, 1, 2, 3), version=1, pretrained=0,
                 image=0, fixed=False):
        super().__init__()
        stages = range(len(depths))

        def each(value):                                # one value for all stages, or one for each
            return [value] * len(depths) if isinstance(value, int) else value

        self.widths = ([embed_dim * 2 ** i for i in stages] if isinstance(embed_dim, int)
                       else embed_dim)
        self.depths, self.heads, self.windows = depths, num_heads, each(window)
        self.grids = [image // patch // 2 ** i for i in stages]
        self.mlp_ratio, self.qkv_bias = mlp_ratio, qkv_bias
        self.tokens, self.opti = tokens, opti
        self.pe_rows = pe_rows or [(45 * tokens // 2 ** i) ** 2 for i in stages]
        self.version, self.pretrained = version, each(pretrained)
        self.out_indices, self.fixed = out_indices, fixed

        E = self.widths[0]
        self.patch_embed = PatchEmbed(E, patch, patch_norm)
        if ape:                                         # ape: side of the position table
            shape = (1, ape * ape, E) if fixed else (1, E, ape, ape)
            self.absolute_pos_embed = nn.Parameter(torch.randn(shape) * 0.02)
        self.layers = nn.ModuleList(
            self.stage(i, downsample=PatchMerging(*self.widths[i:i + 2], version)
                       if i < stages[-1] else None)
            for i in stages)
        for i in out_indices:
            self.add_module(f"norm{i}", nn.LayerNorm(self.widths[i]))
        self.apply(init_linear)

    def stage(self, i, **change):
        """The blocks of level i and what follows them."""
        C, depth, w = self.widths[i], self.depths[i], self.windows[i]
        s, grid = w // 2, self.grids[i]
        if 0 < grid <= w:
            w, s = grid, 0
        return Stage(C, [self.block(i, w, j % 2 * s, last=j == depth - 1) for j in range(depth)],
                     self.tokens, self.pe_rows[i], **change)

    def block(self, i, window, shift, last):
        C, heads, grid = self.widths[i], self.heads[i], self.grids[i]
        if self.version == 2:
            attn = CosineWindowAttention(C, heads, window, self.qkv_bias, self.pretrained[i])
            block = PostNormBlock(C, attn, shift, self.mlp_ratio)
        else:
            mixes = self.tokens and not (self.opti and last)
            block = Block(C, WindowAttention(C, heads, window, self.qkv_bias), shift,
                          self.mlp_ratio, Attention(C, heads, self.qkv_bias) if mixes else None)
        if self.fixed and shift:
            mask = shift_mask(grid, grid, window, shift, torch.device("cpu"))
            block.register_buffer("attn_mask", mask.squeeze(1).clone())
        return block

    def encode(self, x):                                # [B, 3, H, W]
        """Inputs and outputs of the stages, [B, H_i, W_i, C_i]."""
        x = self.patch_embed(x)
        if hasattr(self, "absolute_pos_embed"):
            x = x + self.positions(*x.shape[1:3])
        inputs, outputs = [], []
        for stage in self.layers:
            inputs.append(x)
            x = stage(x)
            outputs.append(x)
            if stage.downsample:
                x = stage.downsample(x)
        return inputs, outputs

    def positions(self, height, width):
        if self.fixed:
            return self.absolute_pos_embed.unflatten(1, (height, width))
        table = F.interpolate(self.absolute_pos_embed, (height, width), mode="bicubic")
        return table.permute(0, 2, 3, 1)

    def forward(self, x):                               # [B, 3, H, W]
        outputs = self.encode(x)[1]
        return [planes(self.get_submodule(f"norm{i}")(outputs[i])) for i in self.out_indices]


# SegFormer's backbone -----------------------------------------------------------------------------

class OverlapPatchEmbed(nn.Module):
    """Patches of `kernel` pixels a side, `stride` apart, the first around the first pixel."""

    def __init__(self, inputs, dim, kernel, stride):
        super().__init__()
        self.proj = nn.Conv2d(inputs, dim, kernel, stride, kernel // 2)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x):                               # [B, C, H, W] -> [B, H/stride, ..., dim]
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class ReducedAttention(nn.Module):
    """Every pixel attends to patches of `reduction` pixels a side; what fills none is left out."""

    def __init__(self, dim, heads, reduction):
        super().__init__()
        self.heads = heads
        self.q, self.kv = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)
        if reduction > 1:
            self.sr = nn.Conv2d(dim, dim, reduction, reduction)
            self.norm = nn.LayerNorm(dim)

    def forward(self, x):                               # [B, H, W, C]
        keys = self.norm(self.sr(planes(x)).permute(0, 2, 3, 1)) if hasattr(self, "sr") else x

        def split(y, parts):                            # [B, ., ., parts·C] -> [B, n, N, d] each
            return y.flatten(1, 2).unflatten(-1, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)

        mixed = attention(*split(self.q(x), 1), *split(self.kv(keys), 2))
        return self.proj(mixed.transpose(1, 2).flatten(2)).view_as(x)


class MixMlp(Mlp):
    """A depthwise 3x3 convolution before the activation tells pixels where they are."""

    def __init__(self, dim, hidden):
        super().__init__(dim, hidden)
        self.dwconv = nn.ModuleDict({"dwconv": nn.Conv2d(hidden, hidden, 3, padding=1,
                                                         groups=hidden)})

    def forward(self, x):                               # [B, H, W, C]
        hidden = self.dwconv["dwconv"](planes(self.fc1(x)))
        return self.fc2(F.gelu(hidden).permute(0, 2, 3, 1))


class MixBlock(nn.Module):
    def __init__(self, dim, heads, reduction, hidden, eps):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps), nn.LayerNorm(dim, eps)
        self.attn = ReducedAttention(dim, heads, reduction)
        self.mlp = MixMlp(dim, hidden)

    def forward(self, x):                               # [B, H, W, C]
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class MixTransformer(nn.Module):
    """MiT. Returns the normalised stage outputs."""

    def __init__(self, embed_dim=(32, 64, 160, 256), depths=(2, 2, 2, 2), num_heads=(1, 2, 5, 8),
                 reductions=(8, 4, 2, 1), kernels=(7, 3, 3, 3), strides=(4, 2, 2, 2),
                 hidden=None, eps=1e-6, out_indices=(0, 1, 2, 3)):
        super().__init__()
        self.widths, self.out_indices = list(embed_dim), list(out_indices)
        for i, C in enumerate(embed_dim):
            inputs = embed_dim[i - 1] if i else 3
            blocks = [MixBlock(C, num_heads[i], reductions[i], hidden[i] if hidden else 4 * C, eps)
                      for _ in range(depths[i])]
            self.add_module(f"patch_embed{i + 1}",
                            OverlapPatchEmbed(inputs, C, kernels[i], strides[i]))
            self.add_module(f"block{i + 1}", nn.ModuleList(blocks))
            self.add_module(f"norm{i + 1}", nn.LayerNorm(C, eps))
        self.apply(init_linear)

    def forward(self, x):                               # [B, 3, H, W]
        features = []
        for i in range(1, 1 + len(self.widths)):
            x = self.get_submodule(f"patch_embed{i}")(x)
            for block in self.get_submodule(f"block{i}"):
                x = block(x)
            x = planes(self.get_submodule(f"norm{i}")(x))
            features.append(x)
        return features


def planes(x):
    """[B, H, W, C] -> [B, C, H, W]."""
    return x.permute(0, 3, 1, 2)


def init_linear(module):
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


# Swin-Unet ----------------------------------------------------------------------------------------

class PatchExpand(nn.Module):
    """A pixel becomes factor x factor pixels, cut to the size that is wanted, then normalised."""

    def __init__(self, inputs, outputs, factor):
        super().__init__()
        self.factor = factor
        self.expand = nn.Linear(inputs, factor ** 2 * outputs, bias=False)
        self.norm = nn.LayerNorm(outputs)

    def forward(self, x, height, width):                # [B, H, W, C] -> [B, height, width, C']
        x = self.expand(x).unflatten(-1, (self.factor, self.factor, -1))
        x = x.transpose(2, 3).flatten(3, 4).flatten(1, 2)
        return self.norm(x[:, :height, :width])


class CrossWindowAttention(nn.Module):
    """Pixels of 2w x 2w windows attend to the w x w pixels below them."""

    def __init__(self, dim, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = bias_table(2 * window, heads)
        self.register_buffer("relative_position_index", cross_position_index(window),
                             persistent=False)
        self.proj_q = nn.Linear(dim, 2 * dim)
        self.proj_kv = nn.Linear(2 * dim, 4 * dim)
        self.proj = nn.Linear(2 * dim, dim)

    def forward(self, queries, keys):                   # [B, nW, 4w², C], [B, nW, w², 2C]
        def split(x, parts):
            return x.unflatten(-1, (parts, self.heads, -1)).movedim((-3, -2), (0, -3))

        (q,), (k, v) = split(self.proj_q(queries), 1), split(self.proj_kv(keys), 2)
        bias = gather(self.relative_position_bias_table, self.relative_position_index,
                      self.window ** 2)
        x = attention(q, k, v, bias)                                # [B, nW, n, 4w², d]
        return self.proj(x.transpose(-3, -2).flatten(-2))


def cross_position_index(window):
    """Row of the bias table for each (query, key) pixel: [4w²·w²], as GLAM has it.

    The pixels' coordinates are halves of a 2w x 2w grid's, also for key t, which stands for number
    4t there; only the (2w-1)² first rows of the table are used.
    """
    def halves(number):
        return number // (2 * window) // 2, number % (2 * window) // 2

    (down, right), (key_down, key_right) = (
        halves(torch.arange(0, 4 * window ** 2, step)) for step in (1, 4))
    down = down[:, None] - key_down + window - 1
    right = right[:, None] - key_right + window - 1
    return (down * (2 * window - 1) + right).flatten()


class CrossBlock(nn.Module):
    """Upsampling by attention from the skip to the level above it, and by PatchExpand."""

    def __init__(self, dim, heads, window, mlp_ratio):
        super().__init__()
        self.expand = PatchExpand(2 * dim, dim, 2)
        self.norm1 = nn.LayerNorm(2 * dim)
        self.attn = CrossWindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio))

    def forward(self, x, skip):                         # [B, H, W, 2C], [B, H', W', C]
        (H, W), w = skip.shape[1:3], self.attn.window
        keys, queries = (F.pad(y, (0, 0, 0, -y.shape[2] % side, 0, -y.shape[1] % side))
                         for y, side in ((self.norm1(x), w), (skip, 2 * w)))
        y = self.attn(partition(queries, 2 * w), partition(keys, w))
        y = unpartition(y, *queries.shape[1:3], 2 * w)[:, :H, :W] + self.expand(x, H, W)
        return y + self.mlp(self.norm2(y))


class CrossUpsample(nn.Module):
    def __init__(self, *block):
        super().__init__()
        self.blocks = nn.ModuleList([CrossBlock(*block)])

    def forward(self, x, skip):
        return self.blocks[0](x, skip)


class SwinUnet(Backbone):
    """Swin-Unet or GLAM-Swin-Unet; `cross`: the one that upsamples by cross-attention.

    Returns the inputs of the encoder's stages, and the logits of the padded picture.
    """

    def __init__(self, classes, cross=False, image=512, **backbone):
        super().__init__(image=image, out_indices=(), **backbone)
        E, *_ = self.widths
        levels = range(len(self.widths) - 2, -1, -1)
        self.norm = nn.LayerNorm(self.widths[-1])
        self.concat_back_dim = nn.ModuleList(
            nn.Linear(2 * self.widths[l], self.widths[l]) for l in levels)
        if cross:
            self.layers_up = nn.ModuleList(self.stage(l) for l in levels)
            self.layers_cross_attention_up = nn.ModuleList(
                CrossUpsample(self.widths[l], self.heads[l], self.windows[l], self.mlp_ratio)
                for l in levels)
        else:                                           # from 1 on
            self.concat_back_dim.insert(0, nn.Identity())
            self.layers_up = nn.ModuleList(
                [expand_to(self.widths[levels[0]])]
                + [self.stage(l, upsample=expand_to(self.widths[l - 1]) if l else None)
                   for l in levels])
        self.norm_up = nn.LayerNorm(E)
        self.up = PatchExpand(E, E, 4)
        self.output = nn.Conv2d(E, classes, 1, bias=False)
        self.apply(init_linear)

    def forward(self, images):                          # [B, 3, H, W]
        skips, outputs = self.encode(images)
        x = self.norm(outputs[-1])
        for skip, upsample, concat, stage in zip(skips[-2::-1], *self.decoder()):
            x = upsample(x, skip)
            x = stage(concat(torch.cat([x, skip], -1)))
        H, W = x.shape[1:3]
        x = self.up(self.norm_up(x), 4 * H, 4 * W)
        return [planes(x) for x in skips], self.output(planes(x))   # logits [B, K, 4H_0, 4W_0]

    def decoder(self):
        """Upsampling, concatenation and stage of each level, from the coarsest."""
        if hasattr(self, "layers_cross_attention_up"):
            return self.layers_cross_attention_up, self.concat_back_dim, self.layers_up
        first, *stages = self.layers_up
        expands = [first] + [stage.upsample for stage in stages[:-1]]
        upsamples = [lambda x, skip, expand=expand: expand(x, *skip.shape[1:3])
                     for expand in expands]
        return upsamples, self.concat_back_dim[1:], stages


def expand_to(dim):
    return PatchExpand(2 * dim, dim, 2)


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

    def stack(self, levels):
        """All levels at the size of the first, one after the other."""
        return torch.cat([self.resize(x, levels[0].shape[2:]) for x in levels], 1)


class PSPHead(Head):
    """Pyramid pooling: bins of several sizes beside the feature itself."""

    def __init__(self, widths, channels, classes, pool_scales=(1, 2, 3, 6), in_index=(-1,),
                 align_corners=False):
        super().__init__(channels, classes, in_index, align_corners)
        last = widths[in_index[-1]]
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), ConvModule(last, channels, 1))
            for s in pool_scales)
        self.bottleneck = ConvModule(last + len(pool_scales) * channels, channels, 3)

    def pool(self, x):
        pooled = [self.resize(psp(x), x.shape[2:]) for psp in self.psp_modules]
        return self.bottleneck(torch.cat([x, *pooled], 1))

    def forward(self, features):
        return self.conv_seg(self.pool(features[self.in_index[0]]))


class UPerHead(PSPHead):
    """Pyramid pooling on the last feature, then a feature pyramid, all levels fused."""

    def __init__(self, widths, channels, classes, pool_scales=(1, 2, 3, 6),
                 in_index=(0, 1, 2, 3), align_corners=False):
        super().__init__(widths, channels, classes, pool_scales, in_index, align_corners)
        lower = [widths[i] for i in in_index[:-1]]
        self.lateral_convs = nn.ModuleList(ConvModule(c, channels, 1) for c in lower)
        self.fpn_convs = nn.ModuleList(ConvModule(channels, channels, 3) for _ in lower)
        self.fpn_bottleneck = ConvModule(len(in_index) * channels, channels, 3)

    def forward(self, features):
        *lower, last = [features[i] for i in self.in_index]
        levels = [conv(x) for conv, x in zip(self.lateral_convs, lower)] + [self.pool(last)]
        for l in range(len(levels) - 1, 0, -1):
            levels[l - 1] = levels[l - 1] + self.resize(levels[l], levels[l - 1].shape[2:])
        outs = [conv(x) for conv, x in zip(self.fpn_convs, levels)] + levels[-1:]
        return self.conv_seg(self.fpn_bottleneck(self.stack(outs)))


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


class FPN(nn.Module):
    """Neck: lateral convolutions, summed from the top down, smoothed."""

    def __init__(self, widths, channels):
        super().__init__()
        self.widths = [channels] * len(widths)
        self.lateral_convs = nn.ModuleList(self.convolution(c, channels, 1) for c in widths)
        self.fpn_convs = nn.ModuleList(self.convolution(channels, channels, 3) for _ in widths)

    @staticmethod
    def convolution(inputs, outputs, kernel):
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2)
        return nn.ModuleDict({"conv": conv})            # named as in a ConvModule without norm

    def forward(self, features):
        levels = [lateral["conv"](x) for lateral, x in zip(self.lateral_convs, features)]
        for l in range(len(levels) - 1, 0, -1):
            levels[l - 1] = levels[l - 1] + F.interpolate(levels[l], levels[l - 1].shape[2:])
        return [fpn["conv"](x) for fpn, x in zip(self.fpn_convs, levels)]


class FPNHead(Head):
    """Convolutions and doublings on each level, summed. `num_convs`: on each level."""

    def __init__(self, widths, channels, classes, num_convs=(1, 1, 2, 3), in_index=(0, 1, 2, 3),
                 align_corners=False):
        super().__init__(channels, classes, in_index, align_corners)
        self.scale_heads = nn.ModuleList()
        for l, (i, convs) in enumerate(zip(in_index, num_convs)):
            steps = []
            for k in range(convs):
                steps.append(ConvModule(channels if k else widths[i], channels, 3))
                if l:
                    steps.append(nn.Upsample(scale_factor=2, mode="bilinear",
                                             align_corners=align_corners))
            self.scale_heads.append(nn.Sequential(*steps))

    def forward(self, features):
        y, *upper = [head(features[i]) for head, i in zip(self.scale_heads, self.in_index)]
        for x in upper:
            y = y + self.resize(x, y.shape[2:])
        return self.conv_seg(y)


class SegformerHead(Head):
    """A 1x1 convolution on each level, fused by another: as OpenMMLab names it."""

    def __init__(self, widths, channels, classes, in_index=(0, 1, 2, 3), align_corners=False):
        super().__init__(channels, classes, in_index, align_corners)
        self.convs = nn.ModuleList(ConvModule(widths[i], channels, 1) for i in in_index)
        self.fusion_conv = ConvModule(len(in_index) * channels, channels, 1)

    def forward(self, features):
        levels = [conv(features[i]) for conv, i in zip(self.convs, self.in_index)]
        return self.conv_seg(self.fusion_conv(self.stack(levels)))


class SegFormerHead(Head):
    """The same by GLAM: linear layers without norm, fused from coarse to fine; conv_seg is idle."""

    def __init__(self, widths, channels, classes, embedding=None, in_index=(0, 1, 2, 3)):
        super().__init__(channels, classes, in_index, align_corners=False)
        D = embedding or channels
        for l, i in enumerate(in_index, 1):
            self.add_module(f"linear_c{l}", nn.ModuleDict({"proj": nn.Linear(widths[i], D)}))
        self.linear_fuse = ConvModule(len(in_index) * D, D, 1)
        self.linear_pred = nn.Conv2d(D, classes, 1)

    def forward(self, features):
        levels = [planes(self.get_submodule(f"linear_c{l}.proj")(features[i].permute(0, 2, 3, 1)))
                  for l, i in enumerate(self.in_index, 1)]
        levels = [self.resize(x, levels[0].shape[2:]) for x in levels]
        return self.linear_pred(self.linear_fuse(torch.cat(levels[::-1], 1)))


HEADS = {head.__name__: head
         for head in (UPerHead, FCNHead, PSPHead, FPNHead, SegformerHead, SegFormerHead)}


# Whole models -------------------------------------------------------------------------------------

class Segmentor(nn.Module):
    """Backbone and head. `auxiliary` is a second head that only training uses.

    `neck`: channels of an FPN between them, 0 without.
    """

    def __init__(self, backbone, head=None, auxiliary=None, neck=0):
        super().__init__()
        def make(type, **options):
            return HEADS[type](self.neck.widths if self.neck else widths, **options)

        self.backbone = (MixTransformer if "reductions" in backbone else Backbone)(**backbone)
        widths = [self.backbone.widths[i] for i in self.backbone.out_indices]
        self.neck = FPN(widths, neck) if neck else None
        self.decode_head = make(**head) if head else None
        self.auxiliary_head = make(**auxiliary) if auxiliary else None

    def forward(self, images):                          # [B, 3, H, W]
        features = self.backbone(images)                # [B, C_i, H_i, W_i] each
        levels = self.neck(features) if self.neck else features
        logits = self.decode_head(levels) if self.decode_head else None
        return features, logits                         # logits [B, K, H_0, W_0]


class Classifier(Backbone):
    """The official classification model for pictures of one size, V1 or V2.

    Returns the stages' raw outputs and, where there are classes, the logits.
    """

    def __init__(self, classes, image=224, **backbone):
        super().__init__(image=image, fixed=True, out_indices=(), **backbone)
        self.norm = nn.LayerNorm(self.widths[-1])
        self.head = nn.Linear(self.widths[-1], classes) if classes else None
        self.apply(init_linear)

    def forward(self, images):                          # [B, 3, image, image]
        outputs = self.encode(images)[1]
        pooled = self.norm(outputs[-1]).mean((1, 2))
        return [planes(x) for x in outputs], self.head(pooled) if self.head else None   # [B, K]


# Heads with queries: MaskFormer, Mask2Former, OneFormer, named as in detectron2 -------------------

class NormedConv(nn.Conv2d):
    """Convolution and GroupNorm, which has 32 groups."""

    def __init__(self, inputs, outputs, kernel, bias=False):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
        self.norm = nn.GroupNorm(32, outputs)

    def forward(self, x):
        return self.norm(super().forward(x))


def sines(like):
    """Sines of rows, then of columns, in as many channels: [1, C, H, W]."""
    _, C, H, W = like.shape
    i = torch.arange(C // 2, dtype=torch.float64)
    slower = 10000 ** (2 * (i // 2) / (C // 2))

    def along(side):
        turn = torch.arange(1, side + 1, dtype=torch.float64) / (side + 1e-6) * 2 * torch.pi
        angle = turn[:, None] / slower
        return torch.where(i % 2 == 0, angle.sin(), angle.cos()).T      # [C/2, side]

    rows, columns = along(H)[:, :, None].expand(-1, H, W), along(W)[:, None].expand(-1, H, W)
    return torch.cat([rows, columns])[None].to(like.dtype)


def tokens(x):
    """[1, C, H, W] -> [HW, C]."""
    return x[0].flatten(1).T


class PyramidPixels(nn.Module):
    """MaskFormer's pixel decoder, from the coarsest feature up."""

    def __init__(self, widths, channels, masks):
        super().__init__()
        for l, width in enumerate(widths[:-1], 1):
            self.add_module(f"adapter_{l}", NormedConv(width, channels, 1))
            self.add_module(f"layer_{l}", NormedConv(channels, channels, 3))
        self.layer_4 = NormedConv(widths[-1], channels, 3)
        self.mask_features = nn.Conv2d(channels, masks, 3, padding=1)

    def forward(self, features):
        y = F.relu(self.layer_4(features[-1]))
        for l in (3, 2, 1):
            x = self.get_submodule(f"adapter_{l}")(features[l - 1])
            y = x + F.interpolate(y, x.shape[2:], mode="nearest")
            y = F.relu(self.get_submodule(f"layer_{l}")(y))
        return self.mask_features(y), features[-1:]


class DeformableAttention(nn.Module):
    """Each head of a token samples all levels at four places of its choice."""

    def __init__(self, channels, heads):
        super().__init__()
        self.heads = heads
        self.sampling_offsets = nn.Linear(channels, heads * 3 * 4 * 2)
        self.attention_weights = nn.Linear(channels, heads * 3 * 4)
        self.value_proj = nn.Linear(channels, channels)
        self.output_proj = nn.Linear(channels, channels)

    def forward(self, queries, x, places, sizes):       # [N, C], [N, C], [N, 2] in 0..1, [(H, W)]
        value = self.value_proj(x).unflatten(1, (self.heads, -1))
        offsets = self.sampling_offsets(queries).unflatten(1, (self.heads, 3, 4, 2))
        weights = self.attention_weights(queries).unflatten(1, (self.heads, 12)).softmax(-1)
        samples = []
        for l, (part, (H, W)) in enumerate(zip(value.split([H * W for H, W in sizes]), sizes)):
            at = places[:, None, None] + offsets[:, :, l] / offsets.new_tensor([W, H])
            samples.append(F.grid_sample(part.permute(1, 2, 0).unflatten(2, (H, W)),
                                         2 * at.transpose(0, 1) - 1, align_corners=False))
        mixed = (torch.cat(samples, -1) * weights.transpose(0, 1)[:, None]).sum(-1)
        return self.output_proj(mixed.flatten(0, 1).T)


class DeformableLayer(nn.Module):
    def __init__(self, channels, heads, hidden):
        super().__init__()
        self.self_attn = DeformableAttention(channels, heads)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.linear1, self.linear2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x, positions, places, sizes):
        x = self.norm1(x + self.self_attn(x + positions, x, places, sizes))
        return self.norm2(x + self.linear2(F.relu(self.linear1(x))))


class DeformablePixels(nn.Module):
    """Mask2Former's pixel decoder: deformable attention over three levels, coarse to fine."""

    def __init__(self, widths, channels, masks, heads, layers, hidden):
        super().__init__()
        self.input_proj = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, channels, 1), nn.GroupNorm(32, channels))
            for width in widths[:0:-1])
        self.transformer = nn.Module()
        self.transformer.level_embed = nn.Parameter(torch.zeros(3, channels))
        self.transformer.encoder = nn.Module()
        self.transformer.encoder.layers = nn.ModuleList(
            DeformableLayer(channels, heads, hidden) for _ in range(layers))
        self.adapter_1 = NormedConv(widths[0], channels, 1)
        self.layer_1 = NormedConv(channels, channels, 3)
        self.mask_features = nn.Conv2d(channels, masks, 1)

    def forward(self, features):
        levels = [project(x) for project, x in zip(self.input_proj, features[:0:-1])]
        sizes = [x.shape[2:] for x in levels]
        x = torch.cat([tokens(level) for level in levels])
        positions = torch.cat([tokens(sines(level)) + embed for level, embed
                               in zip(levels, self.transformer.level_embed)])
        places = torch.cat([self.centres(x, H, W) for H, W in sizes])
        for layer in self.transformer.encoder.layers:
            x = layer(x, positions, places, sizes)
        levels = [part.T.unflatten(1, size)[None] for part, size
                  in zip(x.split([H * W for H, W in sizes]), sizes)]
        y = self.adapter_1(features[0])
        y = y + F.interpolate(levels[-1], y.shape[2:], mode="bilinear")
        return self.mask_features(F.relu(self.layer_1(y))), levels

    @staticmethod
    def centres(like, H, W):
        """(x, y) of each pixel in 0..1, row by row."""
        y, x = ((torch.arange(n, dtype=like.dtype) + 0.5) / n for n in (H, W))
        return torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1).flatten(0, 1)


class QueryAttention(nn.Module):
    """X = norm(X + attention), `name`: of the attention among the modules."""

    def __init__(self, name, width, heads):
        super().__init__()
        self.name = name
        self.add_module(name, nn.MultiheadAttention(width, heads))
        self.norm = nn.LayerNorm(width)

    def forward(self, x, *inputs, **mask):
        attention = self.get_submodule(self.name)
        return self.norm(x + attention(*inputs, need_weights=False, **mask)[0])


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(x + self.linear2(F.relu(self.linear1(x))))


class DetrLayer(nn.Module):
    def __init__(self, width, heads, hidden):
        super().__init__()
        self.self_attn = nn.MultiheadAttention(width, heads)
        self.multihead_attn = nn.MultiheadAttention(width, heads)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, places, keys, values):
        x = self.norm1(x + self.self_attn(x + places, x + places, x)[0])
        x = self.norm2(x + self.multihead_attn(x + places, keys, values)[0])
        return self.norm3(x + self.linear2(F.relu(self.linear1(x))))


class Detr(nn.Module):
    """DETR's decoder."""

    def __init__(self, width, heads, layers, hidden):
        super().__init__()
        self.layers = nn.ModuleList(DetrLayer(width, heads, hidden) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x, places, keys, values):
        for layer in self.layers:
            x = layer(x, places, keys, values)
        return self.norm(x)


class MaskMlp(nn.Module):
    def __init__(self, width, masks):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Linear(width, n) for n in (width, width, masks))

    def forward(self, x):
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class Predictor(nn.Module):
    """What predictors share: classes, the last one for none, and masks."""

    def __init__(self, width, queries, masks, classes):
        super().__init__()
        self.query_embed = nn.Embedding(queries, width)
        self.class_embed = nn.Linear(width, classes + 1)
        self.mask_embed = MaskMlp(width, masks)


class DetrPredictor(Predictor):
    """MaskFormer's."""

    def __init__(self, attended, width, queries, masks, classes, heads, layers, hidden):
        super().__init__(width, queries, masks, classes)
        if attended != width:
            self.input_proj = nn.Conv2d(attended, width, 1)
        self.transformer = nn.ModuleDict({"decoder": Detr(width, heads, layers, hidden)})

    def forward(self, pixels, levels):
        x = self.input_proj(levels[0]) if hasattr(self, "input_proj") else levels[0]
        places = self.query_embed.weight
        x = self.transformer["decoder"](torch.zeros_like(places), places, tokens(x + sines(x)),
                                        tokens(x))
        return self.class_embed(x), torch.einsum("qc,chw->qhw", self.mask_embed(x), pixels[0])


class MaskedPredictor(Predictor):
    """Mask2Former's: a layer's attention is kept to where its queries' masks are."""

    def __init__(self, attended, width, queries, masks, classes, heads, layers, hidden):
        super().__init__(width, queries, masks, classes)
        self.query_feat = nn.Embedding(queries, width)
        self.level_embed = nn.Embedding(3, width)
        if attended != width:
            self.input_proj = nn.ModuleList(nn.Conv2d(attended, width, 1) for _ in range(3))
        self.transformer_cross_attention_layers = nn.ModuleList(
            QueryAttention("multihead_attn", width, heads) for _ in range(layers))
        self.transformer_self_attention_layers = nn.ModuleList(
            QueryAttention("self_attn", width, heads) for _ in range(layers))
        self.transformer_ffn_layers = nn.ModuleList(
            FeedForward(width, hidden) for _ in range(layers))
        self.decoder_norm = nn.LayerNorm(width)

    def masks(self, x, pixels):
        return torch.einsum("qc,chw->qhw", self.mask_embed(self.decoder_norm(x)), pixels[0])

    def forward(self, pixels, levels):
        return self.decode(self.query_feat.weight, pixels, levels)

    def decode(self, x, pixels, levels):
        places = self.query_embed.weight
        if hasattr(self, "input_proj"):
            levels = [project(level) for project, level in zip(self.input_proj, levels)]
        for i, (cross, own, feed) in enumerate(zip(
                self.transformer_cross_attention_layers, self.transformer_self_attention_layers,
                self.transformer_ffn_layers)):
            level, embed = levels[i % 3], self.level_embed.weight[i % 3]
            blocked = F.interpolate(self.masks(x, pixels)[None], level.shape[2:],
                                    mode="bilinear")[0].flatten(1) < 0
            blocked &= ~blocked.all(1, keepdim=True)
            seen = tokens(level) + embed
            x = cross(x, x + places, seen + tokens(sines(level)), seen, attn_mask=blocked)
            x = feed(own(x, x + places, x + places, x))
        return self.class_embed(self.decoder_norm(x)), self.masks(x, pixels)


class TaskPredictor(MaskedPredictor):
    """OneFormer's: all queries start as the task, and look at the pixels before they decode."""

    def __init__(self, attended, width, queries, masks, classes, heads, layers, hidden):
        super().__init__(attended, width, queries, masks, classes, heads, layers, hidden)
        del self.query_feat
        self.class_input_proj = nn.Conv2d(attended, width, 1)
        self.class_transformer = nn.ModuleDict({"decoder": Detr(width, heads, 2, hidden)})

    def forward(self, pixels, levels, task):
        task = self.decoder_norm(task)
        x = self.class_input_proj(pixels)
        first = self.class_transformer["decoder"](
            task.expand(len(self.query_embed.weight) - 1, -1), self.query_embed.weight[:-1],
            tokens(x + sines(x)), tokens(sines(x)))
        return self.decode(torch.cat([first, task[None]]), pixels, levels)


class QuerySegmentor(nn.Module):
    """A backbone and a head with queries, of kind "MaskFormer", "Mask2Former" or "OneFormer".

    Pictures are padded to multiples of 32; logits are the classes' scores at the picture's size.
    """

    TASK = (49406, 518, 10549, 533, 29119, 1550, 49407)     # "the task is semantic"

    def __init__(self, kind, backbone, channels, masks, pixels=None, **decoder):
        super().__init__()
        self.backbone = Backbone(**backbone)
        widths = self.backbone.widths
        predictor = {"MaskFormer": DetrPredictor, "Mask2Former": MaskedPredictor,
                     "OneFormer": TaskPredictor}[kind]
        attended = widths[-1] if kind == "MaskFormer" else channels
        self.sem_seg_head = nn.ModuleDict({
            "pixel_decoder": DeformablePixels(widths, channels, masks, **pixels) if pixels
                             else PyramidPixels(widths, channels, masks),
            "predictor": predictor(attended, masks=masks, **decoder)})
        if kind == "OneFormer":
            width = decoder["width"]
            self.task_mlp = nn.ModuleDict({
                "layers": nn.ModuleList([nn.Linear(77, width), nn.Linear(width, width)])})

    def forward(self, images):                          # [1, 3, H, W]
        H, W = images.shape[2:]
        features = self.backbone(F.pad(images, (0, -W % 32, 0, -H % 32)))
        pixels, levels = self.sem_seg_head["pixel_decoder"](features)
        inputs = [pixels, levels]
        if hasattr(self, "task_mlp"):
            ids = F.pad(images.new_tensor(self.TASK), (0, 77 - len(self.TASK)))
            first, second = self.task_mlp["layers"]
            inputs.append(second(F.relu(first(ids))))
        classes, masks = self.sem_seg_head["predictor"](*inputs)
        masks = F.interpolate(masks[None], (H + -H % 32, W + -W % 32), mode="bilinear")[0]
        scores = torch.einsum("qk,qhw->khw", classes.softmax(-1)[:, :-1], masks.sigmoid())
        return features, scores[None, :, :H, :W]


# BiRefNet -----------------------------------------------------------------------------------------

def resize_aligned(x, size):
    return F.interpolate(x, size, mode="bilinear", align_corners=True)


def stack_patches(x, side, order):
    """A picture cut into side x side patches, stacked: [B, 3·side², H/side, W/side]."""
    x = x.unflatten(2, (side, -1)).unflatten(4, (side, -1))
    planes_first = (0, 1, 2, 4, 3, 5)
    return x.permute(planes_first if order == "rows" else (0, 4, 2, 1, 3, 5)).flatten(1, 3)


class DeformableConv(nn.Module):
    """Each tap of each pixel reads the map at an offset of its own, and has a factor of its own."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.kernel = kernel
        self.offset_conv, self.modulator_conv, self.regular_conv = (
            nn.Conv2d(inputs, n, kernel, padding=kernel // 2, bias=bias)
            for n, bias in ((2 * kernel ** 2, True), (kernel ** 2, True), (outputs, False)))

    def forward(self, x):                               # [B, C, H, W]
        (H, W), k = x.shape[2:], self.kernel
        offsets = self.offset_conv(x).unflatten(1, (-1, 2))
        factors = 2 * self.modulator_conv(x).sigmoid()
        rows, columns = torch.arange(H, device=x.device), torch.arange(W, device=x.device)
        total = 0
        for t in range(k * k):
            v = rows[:, None] + t // k - k // 2 + offsets[:, t, 0]
            u = columns + t % k - k // 2 + offsets[:, t, 1]
            places = torch.stack([(2 * u + 1) / W - 1, (2 * v + 1) / H - 1], -1)
            sample = F.grid_sample(x, places, align_corners=False) * factors[:, t:t + 1]
            total = total + torch.einsum("oc,bchw->bohw",
                                         self.regular_conv.weight[:, :, t // k, t % k], sample)
        return total


class DeformableBranch(nn.Module):
    """Deformable convolution, batch norm, ReLU."""

    def __init__(self, inputs, outputs, kernel):
        super().__init__()
        self.atrous_conv = DeformableConv(inputs, outputs, kernel)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return F.relu(self.bn(self.atrous_conv(x)))


class DeformablePyramid(nn.Module):
    """Deformable branches beside one another and the mean, fused (ASPPDeformable)."""

    def __init__(self, inner, branch, kernels):
        super().__init__()
        self.aspp1 = DeformableBranch(inner, branch, kernels[0])
        self.aspp_deforms = nn.ModuleList(DeformableBranch(inner, branch, k) for k in kernels[1:])
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(inner, branch, 1, bias=False),
            nn.BatchNorm2d(branch), nn.ReLU())
        self.conv1 = nn.Conv2d((len(kernels) + 1) * branch, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)

    def forward(self, x):
        levels = [self.aspp1(x), *(deform(x) for deform in self.aspp_deforms)]
        levels.append(self.global_avg_pool(x).expand_as(levels[0]))
        return F.relu(self.bn1(self.conv1(torch.cat(levels, 1))))


class DecoderBlock(nn.Module):
    def __init__(self, inputs, outputs, inner, branch, kernels):
        super().__init__()
        self.conv_in = nn.Conv2d(inputs, inner, 3, padding=1)
        self.bn_in = nn.BatchNorm2d(inner)
        self.dec_att = DeformablePyramid(inner, branch, kernels)
        self.conv_out = nn.Conv2d(inner, outputs, 3, padding=1)
        self.bn_out = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn_out(self.conv_out(self.dec_att(F.relu(self.bn_in(self.conv_in(x))))))


class PatchBlock(nn.Module):
    """Two convolutions without an activation between them."""

    def __init__(self, inputs, outputs, inner):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, inner, 3, padding=1)
        self.conv_out = nn.Conv2d(inner, outputs, 3, padding=1)

    def forward(self, x):
        return self.conv_out(self.conv1(x))


class Lateral(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 1)

    def forward(self, x):
        return self.conv(x)


class BiRefNetDecoder(nn.Module):
    """Levels and their modules are numbered 1..4, finest first; every block reads the picture."""

    def __init__(self, widths, block, patches, gate, patch_order):
        super().__init__()
        c1, c2, c3, c4 = widths
        self.patch_order = patch_order
        inputs = {4: (c4, c4 // 8, c3), 3: (c3, c4 // 8, c2), 2: (c2, c3 // 8, c1),
                  1: (c1, c2 // 8, c1 // 2)}
        for level, (width, planes_, outputs) in inputs.items():
            self.add_module(f"decoder_block{level}", block(width + planes_, outputs))
            self.add_module(f"ipt_blk{level + 1}",
                            PatchBlock(3 * 4 ** (level + 1), planes_, patches))
            if level < 4:
                self.add_module(f"lateral_block{level + 1}", Lateral(width))
            if level > 1:
                self.add_module(f"gdt_convs_{level}", nn.Sequential(
                    nn.Conv2d(outputs, gate, 3, padding=1), nn.BatchNorm2d(gate), nn.ReLU()))
                self.add_module(f"gdt_convs_attn_{level}", nn.Sequential(nn.Conv2d(gate, 1, 1)))
        self.ipt_blk1 = PatchBlock(3, c1 // 8, patches)
        self.conv_out1 = nn.Sequential(nn.Conv2d(c1 // 2 + c1 // 8, 1, 1))

    def forward(self, images, features, x):
        part = self.get_submodule
        for level in (4, 3, 2, 1):
            if level < 4:
                x = resize_aligned(x, features[level - 1].shape[2:])
                x = x + part(f"lateral_block{level + 1}")(features[level - 1])
            patches = stack_patches(images, 2 ** (level + 1), self.patch_order)
            x = torch.cat([x, part(f"ipt_blk{level + 1}")(patches)], 1)
            x = part(f"decoder_block{level}")(x)
            if level > 1:
                gate = part(f"gdt_convs_attn_{level}")(part(f"gdt_convs_{level}")(x))
                x = x * gate.sigmoid()
        x = resize_aligned(x, images.shape[2:])
        return self.conv_out1(torch.cat([x, self.ipt_blk1(images)], 1))


class BiRefNet(nn.Module):
    """Two passes of a backbone, of the picture and at half its size, and a decoder that reads the
    picture, too. Returns the features of both passes and one logit a pixel.

    H and W are multiples of 32; kernels: of the decoder's deformable branches."""

    def __init__(self, inner=64, branch=256, kernels=(1, 1, 3, 7), patches=64, gate=16,
                 patch_order="rows", **backbone):
        super().__init__()

        def block(inputs, outputs):
            return DecoderBlock(inputs, outputs, inner, branch, kernels)

        self.bb = Backbone(**backbone)
        widths = [2 * C for C in self.bb.widths]
        self.squeeze_module = nn.Sequential(block(sum(widths), widths[-1]))
        self.decoder = BiRefNetDecoder(widths, block, patches, gate, patch_order)

    def forward(self, images):                          # [B, 3, H, W]
        half = self.bb(resize_aligned(images, [side // 2 for side in images.shape[2:]]))
        features = [torch.cat([x, resize_aligned(y, x.shape[2:])], 1)
                    for x, y in zip(self.bb(images), half)]
        x = torch.cat([resize_aligned(x, features[-1].shape[2:]) for x in features], 1)
        return features, self.decoder(images, features, self.squeeze_module(x))


# Models of segmentation_models_pytorch ------------------------------------------------------------

class TimmSwin(Backbone):
    """timm's Swin: raw outputs; a block rolls before it pads, a stage begins with its merging.

    `image`: the side of the pictures that windows and shifts are made for; others fit, too."""

    def __init__(self, **backbone):
        super().__init__(out_indices=(), **backbone)
        merges = [None] + [stage.downsample for stage in self.layers[:-1]]
        for i, (stage, merge) in enumerate(zip(self.layers, merges)):
            stage.downsample = merge
            self.add_module(f"layers_{i}", stage)
            for block in stage.blocks:
                block.roll_before_pad = True
        del self.layers

    def forward(self, x):                               # [B, 3, H, W]
        x, features = self.patch_embed(x), []
        for i in range(len(self.widths)):
            stage = self.get_submodule(f"layers_{i}")
            x = stage(stage.downsample(x) if i else x)
            features.append(planes(x))
        return features


def cbr(inputs, outputs, kernel):
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs), nn.ReLU())


def resize(x, size):
    return F.interpolate(x, size, mode="bilinear")


class SmpUPerNet(nn.Module):
    """UPerHead with norms of the features; `channels`: of all levels."""

    def __init__(self, widths, channels=256):
        super().__init__()
        self.outputs = channels
        *lower, last = widths
        self.feature_norms = nn.ModuleList(nn.LayerNorm(C, eps=1e-6) for C in widths)
        self.psp = nn.Module()
        self.psp.blocks = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(s), cbr(last, channels, 1)) for s in (1, 2, 3, 6))
        self.psp.out_conv = cbr(last + 4 * channels, channels, 3)
        self.fpn_lateral_blocks = nn.ModuleList(
            nn.ModuleDict({"conv_norm_relu": cbr(C, channels, 1)}) for C in lower[::-1])
        self.fpn_conv_blocks = nn.ModuleList(cbr(channels, channels, 3) for _ in lower)
        self.fusion_block = cbr(len(widths) * channels, channels, 3)

    def normalised(self, features):
        return [planes(norm(x.permute(0, 2, 3, 1)))
                for norm, x in zip(self.feature_norms, features)]

    def forward(self, features, size):
        last = features[-1]
        pooled = [resize(block(last), last.shape[2:]) for block in self.psp.blocks]
        levels = [self.psp.out_conv(torch.cat([last, *pooled], 1))]
        for lateral, x in zip(self.fpn_lateral_blocks, features[-2::-1]):
            levels.append(resize(levels[-1], x.shape[2:]) + lateral["conv_norm_relu"](x))
        levels[1:] = [conv(x) for conv, x in zip(self.fpn_conv_blocks, levels[1:])]
        return self.fusion_block(torch.cat([resize(x, features[0].shape[2:])
                                            for x in levels[::-1]], 1))


class SmpSegformer(nn.Module):
    """Linear layers, fused from coarse to fine."""

    def __init__(self, widths, channels=256):
        super().__init__()
        self.outputs = channels
        self.mlp_stage = nn.ModuleList(
            nn.ModuleDict({"linear": nn.Linear(C, channels)}) for C in widths[::-1])
        self.fuse_stage = cbr(len(widths) * channels, channels, 1)

    def forward(self, features, size):
        levels = [resize(planes(mlp["linear"](x.permute(0, 2, 3, 1))), features[0].shape[2:])
                  for mlp, x in zip(self.mlp_stage, features[::-1])]
        return self.fuse_stage(torch.cat(levels, 1))


class SmpRise(nn.Module):
    """3x3 convolutions with GroupNorm, each but that of no doublings followed by one."""

    def __init__(self, inputs, channels, doublings):
        super().__init__()
        self.doublings = doublings
        self.block = nn.ModuleList(
            nn.ModuleDict({"block": nn.Sequential(
                nn.Conv2d(channels if n else inputs, channels, 3, padding=1, bias=False),
                nn.GroupNorm(32, channels), nn.ReLU())}) for n in range(max(1, doublings)))

    def forward(self, x):
        for step in self.block:
            x = step["block"](x)
            if self.doublings:
                x = resize_aligned(x, [2 * side for side in x.shape[2:]])
        return x


class SmpFPN(nn.Module):
    """Four levels, summed from the top down, doubled to the finest one's size and added up, or with
    `concat` stacked."""

    def __init__(self, widths, pyramid=256, channels=128, concat=False):
        super().__init__()
        self.outputs, self.concat = channels * (4 if concat else 1), concat
        for l, C in enumerate(widths[:-1], 2):
            self.add_module(f"p{l}", nn.ModuleDict({"skip_conv": nn.Conv2d(C, pyramid, 1)}))
        self.p5 = nn.Conv2d(widths[-1], pyramid, 1)
        self.seg_blocks = nn.ModuleList(SmpRise(pyramid, channels, n) for n in (3, 2, 1, 0))

    def forward(self, features, size):
        levels = [self.p5(features[-1])]
        for l in (4, 3, 2):
            skip = self.get_submodule(f"p{l}")["skip_conv"](features[l - 2])
            levels.append(F.interpolate(levels[-1], skip.shape[2:]) + skip)
        levels = [rise(x) for rise, x in zip(self.seg_blocks, levels)]
        return torch.cat(levels, 1) if self.concat else sum(levels)


class Scse(nn.Module):
    """Factors of channels and of pixels (scSE)."""

    def __init__(self, channels):
        super().__init__()
        self.cSE = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels // 16, 1), nn.ReLU(),
            nn.Conv2d(channels // 16, channels, 1), nn.Sigmoid())
        self.sSE = nn.Sequential(nn.Conv2d(channels, 1, 1), nn.Sigmoid())

    def forward(self, x):
        return x * self.cSE(x) + x * self.sSE(x)


class SmpUnetBlock(nn.Module):
    def __init__(self, inputs, skipped, outputs, scse):
        super().__init__()

        def attention(channels):
            return nn.ModuleDict({"attention": Scse(channels) if scse else nn.Identity()})

        self.conv1 = cbr(inputs + skipped, outputs, 3)
        self.attention1 = attention(inputs + skipped)
        self.conv2 = cbr(outputs, outputs, 3)
        self.attention2 = attention(outputs)

    def forward(self, x, skip, size):
        x = F.interpolate(x, size)
        if skip is not None:
            x = self.attention1["attention"](torch.cat([x, skip], 1))
        return self.attention2["attention"](self.conv2(self.conv1(x)))


class SmpUnet(nn.Module):
    """From feature to feature up to half the picture's size, where a skip has no channels, and to
    the picture's size. `channels`: of each step's output."""

    def __init__(self, widths, channels=(256, 128, 64, 32, 16), scse=False):
        super().__init__()
        self.outputs = channels[-1]
        inputs, skipped = [widths[-1], *channels[:-1]], [*widths[-2::-1], 0, 0]
        self.blocks = nn.ModuleList(SmpUnetBlock(*sizes, scse)
                                    for sizes in zip(inputs, skipped, channels))

    def forward(self, features, size):
        x, half = features[-1], [side // 2 for side in size]
        skips = [*features[-2::-1], x.new_empty(len(x), 0, *half)]
        for block, skip in zip(self.blocks, skips):
            x = block(x, skip, skip.shape[2:])
        return self.blocks[-1](x, None, size)


SMP_DECODERS = {"UPerNet": SmpUPerNet, "Segformer": SmpSegformer, "FPN": SmpFPN, "Unet": SmpUnet}


class SmpModel(nn.Module):
    """A model of segmentation_models_pytorch 0.5 or later. `decoder`: of SMP_DECODERS; `head`: its
    options; the rest is TimmSwin's.

    Returns the features as the decoder reads them, and logits, which all decoders but Unet make at
    the size of the finest feature: they are enlarged `upsampling` times (SMP: 4), corners aligned.
    """

    def __init__(self, classes, decoder, head=None, upsampling=1, **backbone):
        super().__init__()
        self.upsampling = upsampling
        self.encoder = nn.ModuleDict({"model": TimmSwin(**backbone)})
        self.decoder = SMP_DECODERS[decoder](self.encoder["model"].widths, **(head or {}))
        kernel = 3 if decoder == "Unet" else 1
        self.segmentation_head = nn.Sequential(
            nn.Conv2d(self.decoder.outputs, classes, kernel, padding=kernel // 2))

    def forward(self, images):                          # [B, 3, H, W]
        features = self.encoder["model"](images)
        if hasattr(self.decoder, "feature_norms"):
            features = self.decoder.normalised(features)
        logits = self.segmentation_head(self.decoder(features, images.shape[2:]))
        if self.upsampling > 1:
            logits = resize_aligned(logits, [self.upsampling * n for n in logits.shape[2:]])
        return features, logits


# What a checkpoint holds --------------------------------------------------------------------------

SMP_CLASSIFY = "segmentation_head.0.weight"
DERIVED = ("num_batches_tracked", "attn_mask", "relative_position_index", "relative_coords_table")


def from_state_dict(state, **head_options):
    """The model of a checkpoint, its configuration read from names and shapes.

    `head_options` say what no shape tells: pool_scales, align_corners, patch_order, and of SMP's
    models image and upsampling.
    """
    state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    smp = next((name[:-len(SMP_CLASSIFY)] for name in state if name.endswith(SMP_CLASSIFY)), None)
    if smp is not None:
        state = {name.removeprefix(smp): tensor for name, tensor in state.items()}
        model = SmpModel(**infer_smp(state), **head_options)
    elif "squeeze_module.0.conv_in.weight" in state:
        model = BiRefNet(**infer_birefnet(state), **head_options)
    elif any("layers_up." in name for name in state):
        names = re.compile(r"(?:(?:backbone|decode_head)\.)?(?:swin_unet\.)?(.*)")
        state = {names.fullmatch(name)[1]: tensor for name, tensor in state.items()
                 if not name.startswith(("decode_head.conv_seg.", "decode_head.patch_embed."))}
        backbone = infer_backbone(state)
        del backbone["out_indices"]
        model = SwinUnet(state["output.weight"].shape[0],
                         "layers_cross_attention_up.0.blocks.0.norm1.weight" in state,
                         infer_image(state, backbone) or 512, **backbone,
                         fixed=any("attn_mask" in name for name in state))
    elif any(name.startswith("backbone.") for name in state):
        backbone = infer_backbone({name.removeprefix("backbone."): tensor
                                   for name, tensor in state.items()})
        neck = state.get("neck.lateral_convs.0.conv.weight")
        head = infer_head(state, backbone)
        if head:
            head.update(head_options)
        model = Segmentor(backbone, head, neck=0 if neck is None else len(neck))
    else:
        state = {name.removeprefix("encoder.").replace(".rpe_mlp.", ".cpb_mlp."): tensor
                 for name, tensor in state.items()}
        backbone = infer_backbone(state)
        del backbone["out_indices"]
        image = infer_image(state, backbone) or backbone["patch"] * backbone["window"][0]
        model = Classifier(len(state.get("head.bias", ())), image, **backbone)
    wanted = model.state_dict()
    model.load_state_dict({name: state.get(name, wanted[name]) if name.endswith(DERIVED)
                           else state[name] for name in wanted})
    return model.eval()


def infer_backbone(state):
    """Arguments of Backbone."""
    def shape(name):
        return state[name].shape

    def count(pattern):
        found = [re.match(pattern, name) for name in state]
        return 1 + max(int(match[1]) for match in found if match)

    def mit():
        def each(name):
            return [state.get(name.format(i)) for i in stages]

        stages = range(1, count(r"patch_embed(\d+)\."))
        widths, _, kernels, _ = zip(*(x.shape for x in each("patch_embed{}.proj.weight")))
        return dict(
            embed_dim=widths, kernels=kernels, out_indices=[i - 1 for i in stages],
            depths=[count(rf"block{i}\.(\d+)\.") for i in stages],
            num_heads=[C // widths[0] for C in widths],
            reductions=[1 if x is None else x.shape[2] for x in each("block{}.0.attn.sr.weight")],
            hidden=[len(x) for x in each("block{}.0.mlp.fc1.weight")])

    if "patch_embed1.proj.weight" in state:
        return mit()

    def window(i):
        if version == 2:
            return (shape(f"layers.{i}.blocks.0.attn.relative_coords_table")[1] + 1) // 2
        return (round(shape(f"layers.{i}.blocks.0.{table}")[0] ** 0.5) + 1) // 2

    def pretrained(i):                                  # the largest offset is 8(w-1)/(N-1)
        largest = 8 ** float(state[f"layers.{i}.blocks.0.attn.relative_coords_table"].max()) - 1
        return 1 + round(8 * (window(i) - 1) / largest)

    table = "attn.relative_position_bias_table"
    stages = range(count(r"layers\.(\d+)\."))
    depths = [count(rf"layers\.{i}\.blocks\.(\d+)\.") for i in stages]
    version = 1 if f"layers.0.blocks.0.{table}" in state else 2
    heads = [shape(f"layers.{i}.blocks.0.{table}")[1] if version == 1
             else shape(f"layers.{i}.blocks.0.attn.logit_scale")[0] for i in stages]
    E, _, patch, _ = shape("patch_embed.proj.weight")
    glam = "layers.0.global_token" in state
    deepest = max(stages, key=lambda i: depths[i])
    positions = shape("absolute_pos_embed") if "absolute_pos_embed" in state else [0, 0, 0]
    return dict(
        embed_dim=E, depths=depths, patch=patch, num_heads=heads,
        window=[window(i) for i in stages],
        mlp_ratio=shape("layers.0.blocks.0.mlp.fc1.weight")[0] / E,
        patch_norm="patch_embed.norm.weight" in state,
        qkv_bias=f"layers.0.blocks.0.attn.{'qkv.bias' if version == 1 else 'q_bias'}" in state,
        ape=positions[2] if len(positions) == 4 else round(positions[1] ** 0.5),
        tokens=shape("layers.0.global_token")[0] if glam else 0,
        pe_rows=[shape(f"layers.{i}.pe")[0] for i in stages] if glam else None,
        opti=f"layers.{deepest}.blocks.{depths[deepest] - 1}.gt_attn.qkv.weight" not in state,
        version=version, pretrained=[pretrained(i) for i in stages] if version == 2 else 0,
        out_indices=[i for i in stages if f"norm{i}.weight" in state])


def infer_birefnet(state):
    """Arguments of BiRefNet, but the order of its patches."""
    block = "decoder.decoder_block4."
    end = ".atrous_conv.regular_conv.weight"
    branches = sorted(name[:-len(end)] for name in state        # aspp1 comes first
                      if name.startswith(block) and name.endswith(end))
    kernels = [state[name + end].shape[2] for name in branches]
    return dict(infer_backbone({name.removeprefix("bb."): tensor for name, tensor in state.items()
                                if name.startswith("bb.")}),
                inner=len(state[block + "conv_in.weight"]), kernels=kernels,
                branch=len(state[f"{branches[0]}.bn.weight"]),
                patches=len(state["decoder.ipt_blk5.conv1.weight"]),
                gate=len(state["decoder.gdt_convs_4.0.weight"]))


def infer_smp(state):
    """Arguments of SmpModel over Swin V1, but the size that it is built for."""
    def width(name):
        return len(state[f"decoder.{name}.weight"])

    backbone = infer_backbone({
        name.removeprefix("encoder.model.").replace("layers_", "layers."): tensor
        for name, tensor in state.items()})
    del backbone["out_indices"]
    classes, channels = state[SMP_CLASSIFY].shape[:2]
    if "decoder.feature_norms.0.weight" in state:
        decoder, head = "UPerNet", dict(channels=channels)
    elif "decoder.mlp_stage.0.linear.weight" in state:
        decoder, head = "Segformer", dict(channels=channels)
    elif "decoder.p5.weight" in state:
        each = width("seg_blocks.0.block.0.block.0")
        decoder, head = "FPN", dict(pyramid=width("p5"), channels=each, concat=each != channels)
    else:
        blocks = range(len(backbone["depths"]) + 1)
        decoder = "Unet"
        head = dict(channels=[width(f"blocks.{i}.conv1.0") for i in blocks],
                    scse="decoder.blocks.0.attention2.attention.sSE.0.weight" in state)
    return dict(backbone, classes=classes, decoder=decoder, head=head)


def infer_image(state, backbone):
    """Side of the pictures a model of one size is for, or None: masks cover the whole map."""
    for i, w in enumerate(backbone["window"]):
        mask = state.get(f"layers.{i}.blocks.1.attn_mask")
        if mask is not None:
            return round(mask.shape[0] ** 0.5) * w * 2 ** i * backbone["patch"]
    return None


def infer_head(state, backbone):
    """Arguments of the decode head, or None: its inputs are recognised by their widths."""
    def shape(name):
        return state["decode_head." + name].shape

    def count(pattern):
        return sum(bool(re.fullmatch(f"decode_head\\.{pattern}", name)) for name in state)

    def in_index(widths):
        E = backbone["embed_dim"]
        known = [E * 2 ** i if isinstance(E, int) else E[i] for i in backbone["out_indices"]]
        return [known.index(width) for width in widths]

    def inputs(pattern):
        return [shape(pattern.format(l))[1]
                for l in range(count(pattern.format(r"\d+").replace(".", r"\.")))]

    if "decode_head.conv_seg.weight" not in state:
        return None
    classes, channels = shape("conv_seg.weight")[:2]
    head = dict(channels=channels, classes=classes)
    if "decode_head.scale_heads.0.0.conv.weight" in state:
        levels = range(count(r"scale_heads\.\d+\.0\.conv\.weight"))
        return dict(head, type="FPNHead", in_index=list(levels),
                    num_convs=[count(rf"scale_heads\.{l}\.\d+\.conv\.weight") for l in levels])
    if "decode_head.fusion_conv.conv.weight" in state:
        return dict(head, type="SegformerHead", in_index=in_index(inputs("convs.{}.conv.weight")))
    if "decode_head.linear_pred.weight" in state:
        classes, embedding = shape("linear_pred.weight")[:2]
        widths = [shape(f"linear_c{l}.proj.weight")[1]
                  for l in range(1, 1 + count(r"linear_c\d\.proj\.weight"))]
        return dict(head, type="SegFormerHead", classes=classes, embedding=embedding,
                    in_index=in_index(widths))
    if "decode_head.psp_modules.0.1.conv.weight" in state:
        widths = inputs("lateral_convs.{}.conv.weight") + inputs("psp_modules.{}.1.conv.weight")[:1]
        whole = "decode_head.fpn_bottleneck.conv.weight" in state
        return dict(head, type="UPerHead" if whole else "PSPHead", in_index=in_index(widths))
    convs = inputs("convs.{}.conv.weight")
    kernel = shape("convs.0.conv.weight")[2] if convs else 1
    return dict(head, type="FCNHead", num_convs=len(convs), kernel=kernel,
                in_index=in_index(convs[:1] or [channels]),
                concat_input="decode_head.conv_cat.conv.weight" in state)
