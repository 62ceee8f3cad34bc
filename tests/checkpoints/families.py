"""Random models of every source: the Swin authors' names first, the others by renaming them."""

import re

import numpy as np

from . import backbone_state

HIDDEN = 7                  # of Swin V2's MLP of positions; 512 in released models


def official_state(version=1, E=4, depths=(2, 2, 1), heads=(1, 2, 4), grid=12, window=3,
                   pretrained=0, classes=5, qkv_bias=True, ape=False, seed=3):
    """A classifier of the authors' code, with its buffers."""
    rng, state = np.random.default_rng(seed), {}

    def add(name, *shape):
        state[name] = rng.normal(0.3, 0.5, shape).astype("f4")

    def pair(name, outputs, *inputs):
        add(name + ".weight", outputs, *inputs)
        add(name + ".bias", outputs)

    pair("patch_embed.proj", E, 3, 4, 4)
    pair("patch_embed.norm", E)
    if ape:
        add("absolute_pos_embed", 1, grid * grid, E)
    for i, (depth, n) in enumerate(zip(depths, heads)):
        C, side = E << i, grid >> i
        w = min(window, side)
        for j in range(depth):
            block = f"layers.{i}.blocks.{j}."
            for norm in ("norm1", "norm2"):
                pair(block + norm, C)
            add(block + "attn.qkv.weight", 3 * C, C)
            pair(block + "attn.proj", C, C)
            pair(block + "mlp.fc1", 2 * C, C)
            pair(block + "mlp.fc2", C, 2 * C)
            if version == 1:
                add(block + "attn.relative_position_bias_table", (2 * w - 1) ** 2, n)
                if qkv_bias:
                    add(block + "attn.qkv.bias", 3 * C)
            else:
                add(block + "attn.logit_scale", n, 1, 1)
                state[block + "attn.logit_scale"] += 4
                pair(block + "attn.cpb_mlp.0", HIDDEN, 2)
                add(block + "attn.cpb_mlp.2.weight", n, HIDDEN)
                state[block + "attn.relative_coords_table"] = coordinates(w, pretrained or w)
                if qkv_bias:
                    add(block + "attn.q_bias", C)
                    add(block + "attn.v_bias", C)
            state[block + "attn.relative_position_index"] = np.zeros((w * w, w * w), "i8")
            if j % 2 and side > window:
                state[block + "attn_mask"] = np.zeros(((side // w) ** 2, w * w, w * w), "f4")
        if i < len(depths) - 1:
            add(f"layers.{i}.downsample.reduction.weight", 2 * C, 4 * C)
            pair(f"layers.{i}.downsample.norm", 4 * C if version == 1 else 2 * C)
    pair("norm", E << len(depths) - 1)
    if classes:
        pair("head", classes, E << len(depths) - 1)
    return state


def coordinates(w, n):
    table = np.zeros((1, 2 * w - 1, 2 * w - 1, 2))
    for y in range(2 * w - 1):
        for x in range(2 * w - 1):
            for axis, offset in enumerate((y - w + 1, x - w + 1)):
                t = offset * 8 / (n - 1) if n > 1 else offset
                table[0, y, x, axis] = np.sign(t) * np.log2(abs(t) + 1) / 3
    return table.astype("f4")


def without_buffers(state):
    return {name: a for name, a in state.items() if not name.endswith(
        ("relative_position_index", "attn_mask", "relative_coords_table"))}


def simmim_state(state):
    """The encoder under SimMIM's names, with the old name of V2's MLP."""
    state = {"encoder." + name.replace("cpb_mlp", "rpe_mlp"): a for name, a in state.items()
             if not name.startswith("head.")}
    return {**state, "encoder.mask_token": np.zeros((1, 1, 4), "f4"),
            "decoder.0.weight": np.zeros((48, 16, 1, 1), "f4"),
            "decoder.0.bias": np.zeros(48, "f4")}


def moby_state(state):
    body = {name: a for name, a in state.items() if not name.startswith("head.")}
    return {**{"encoder." + name: a for name, a in body.items()},
            **{"encoder_k." + name: a + 1 for name, a in body.items()},
            "projector.linear_hidden.0.weight": np.ones((2, 2), "f4"),
            "projector_k.linear_out.weight": np.ones((2, 2), "f4"),
            "predictor.linear_out.bias": np.ones(2, "f4"), "queue1": np.ones((2, 2), "f4"),
            "queue2": np.ones((2, 2), "f4"), "queue_ptr": np.zeros(1, "i8")}


def timm_state(state, features=False):
    """Merging at the start of a stage, no buffers, another head; or features alone."""
    result = {}
    for name, a in without_buffers(state).items():
        name = re.sub(r"^layers\.(\d)\.downsample",
                      lambda m: f"layers.{int(m[1]) + 1}.downsample", name)
        name = name.replace("head.", "head.fc.")
        if features:
            if name.startswith(("head.", "norm.")):
                continue
            name = re.sub(r"^layers\.", "layers_", name)
        result[name] = a
    return result


def torchvision_state(state):
    result = {}
    for name, a in state.items():
        if name.endswith("attn_mask"):
            continue
        if name.endswith("relative_position_index"):
            a = a.reshape(-1)
        if name.endswith("v_bias"):
            continue
        if name.endswith("q_bias"):         # the keys' third is there, but means nothing
            a = np.concatenate([a, a + 9, state[name.replace("q_bias", "v_bias")]])
            name = name.replace("q_bias", "qkv.bias")
        for old, new in (
                (r"^patch_embed\.proj", "features.0.0"), (r"^patch_embed\.norm", "features.0.2"),
                (r"^layers\.(\d)\.downsample", lambda m: f"features.{2 * int(m[1]) + 2}"),
                (r"^layers\.(\d)\.blocks", lambda m: f"features.{2 * int(m[1]) + 1}"),
                (r"mlp\.fc1", "mlp.0"), (r"mlp\.fc2", "mlp.3")):
            name = re.sub(old, new, name)
        result[name] = a
    return result


CLASSIC = (("attn.proj", "attention.output.dense"), ("attn.", "attention.self."),
           ("mlp.fc1", "intermediate.dense"), ("mlp.fc2", "output.dense"))
MODULES = (("attn.proj", "attention.o_proj"),
           ("attn.relative_position_bias_table",
            "attention.relative_position_bias.relative_position_bias_table"),
           ("attn.query", "attention.q_proj"), ("attn.key", "attention.k_proj"),
           ("attn.value", "attention.v_proj"))


def hugging_face_state(state, kind="classifier", modules=False):
    """kind: classifier, model or backbone; modules: the names inside version 5."""
    v2 = any("logit_scale" in name for name in state)
    prefix = ("swinv2." if v2 else "swin.") if kind == "classifier" else ""
    rng, result = np.random.default_rng(5), {}
    for name, a in without_buffers(state).items():
        if name.startswith("head."):
            if kind == "classifier":
                result[name.replace("head", "classifier")] = a
            continue
        if name.startswith("norm.") and kind == "backbone":
            continue
        parts = {name: a}
        if ".attn.qkv." in name:
            parts = {name.replace("qkv", part): third for part, third in
                     zip(("query", "key", "value"), np.split(a, 3))}
        elif name.endswith(("q_bias", "v_bias")):
            parts = {name.replace("q_bias", "query.bias").replace("v_bias", "value.bias"): a}
        for name, a in parts.items():
            for old, new in (("patch_embed.proj", "embeddings.patch_embeddings.projection"),
                             ("patch_embed.norm", "embeddings.norm"),
                             ("absolute_pos_embed", "embeddings.position_embeddings"),
                             ("cpb_mlp", "continuous_position_bias_mlp"),
                             ("layers.", "encoder.layers."), (".norm1.", ".layernorm_before."),
                             (".norm2.", ".layernorm_after."),
                             *(MODULES if modules else CLASSIC)):
                name = name.replace(old, new)
            name = re.sub(r"^norm\.", "layernorm.", name)
            result[prefix + name] = a
    if kind == "backbone" and not v2:
        stages = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("layers."))
        E = len(state["patch_embed.norm.bias"])
        for k in range(stages):
            for part in ("weight", "bias"):
                result[f"hidden_states_norms.stage{k + 1}.{part}"] = rng.normal(
                    size=E << k).astype("f4")
        result["swin.layernorm.weight"] = result["swin.layernorm.bias"] = np.ones(4, "f4")
    return result


def uper_names(state):
    """A decode head as Hugging Face's UperNet names it."""
    return {name.replace(".bn.", ".batch_norm.").replace("conv_seg", "classifier"): a
            for name, a in state.items()}


def unet_state(E=4, depths=(2, 1, 2), heads=(1, 2, 4), window=3, tokens=0, cross=False, classes=3,
               seed=4):
    """The network of a Swin-Unet under its own names, in GLAM's forms too."""
    rng = np.random.default_rng(seed)
    state = {name[len("backbone."):]: a for name, a in backbone_state(
        E=E, depths=depths, heads=heads, window=window, tokens=tokens).items()
        if not re.match(r"backbone\.norm\d", name)}
    last = len(depths) - 1

    def add(name, *shape):
        state[name] = rng.normal(0.2, 0.5, shape).astype("f4")

    def pair(name, outputs, *inputs):
        add(name + ".weight", outputs, *inputs)
        add(name + ".bias", outputs)

    def expand(name, inputs):
        add(name + "expand.weight", 2 * inputs, inputs)
        pair(name + "norm", inputs // 2)

    pair("norm", E << last)
    if not cross:
        expand("layers_up.0.", E << last)
    for level in range(last - 1, -1, -1):
        u, C, n = last - level - int(cross), E << level, heads[level]
        pair(f"concat_back_dim.{u}", C, 2 * C)
        for name in [name for name in state if name.startswith(f"layers.{level}.")
                     and "downsample" not in name]:
            a = state[name]
            state[name.replace(f"layers.{level}.", f"layers_up.{u}.")] = (
                a if a.dtype == "i8" else rng.normal(size=a.shape).astype("f4"))
        if not cross:
            if level:
                expand(f"layers_up.{u}.upsample.", C)
            continue
        expand(f"layers_patch_expand.{u}.", 2 * C)
        block = f"layers_cross_attention_up.{u}.blocks.0."
        pair(block + "proj_shortcut", C, 2 * C)
        expand(block + "expand.", 2 * C)
        pair(block + "norm1", 2 * C)
        pair(block + "norm2", C)
        add(block + "attn.relative_position_bias_table", (4 * window - 1) ** 2, n)
        state[block + "attn.relative_position_index"] = np.zeros((4 * window ** 2, window ** 2),
                                                                 "i8")
        pair(block + "attn.proj_q", 2 * C, C)
        pair(block + "attn.proj_kv", 4 * C, 2 * C)
        pair(block + "attn.proj", C, 2 * C)
        pair(block + "mlp.fc1", 2 * C, C)
        pair(block + "mlp.fc2", C, 2 * C)
    pair("norm_up", E)
    add("up.expand.weight", 16 * E, E)
    pair("up.norm", E)
    add("output.weight", classes, E, 1, 1)
    return state


def hucao_state(grid=12, **options):
    """HuCao's: of one size, whose shifting blocks store their masks."""
    state = {"swin_unet." + name: a for name, a in unet_state(**options).items()}
    last = 1 + max(int(name.split(".")[2]) for name in state if ".layers." in name)
    for i in range(last):
        for stage in (f"layers.{i}", f"layers_up.{last - 1 - i}"):
            block = f"swin_unet.{stage}.blocks.1."
            if block + "norm1.weight" in state and grid >> i > 3:
                state[block + "attn_mask"] = np.zeros((((grid >> i) // 3) ** 2, 9, 9), "f4")
    return state


DEAD_HEAD = {"decode_head.conv_seg.weight": np.ones((30, 4, 1, 1), "f4"),
             "decode_head.conv_seg.bias": np.ones(30, "f4")}


def glam_unet_state(**options):
    return {**{"backbone.swin_unet." + name: a for name, a in unet_state(**options).items()},
            **DEAD_HEAD}


def split_unet_state(**options):
    """GLAM's plain Swin-Unet: the way up belongs to the decode head."""
    state = {}
    for name, a in unet_state(**options).items():
        up = name.startswith(("layers_up", "concat_back_dim", "norm_up", "up.", "output"))
        state[("decode_head." if up else "backbone.") + name] = a
    return {**state, "decode_head.patch_embed.norm.bias": np.ones(4, "f4"), **DEAD_HEAD}


# segmentation_models_pytorch ----------------------------------------------------------------------

def smp_state(decoder, state, K=3, seed=11, **more):
    """A model of SMP over an encoder of these official weights. decoder: UPerNet, Segformer, FPN or
    Unet; more: what its function below takes."""
    encoder = {"encoder.model." + name: a for name, a in timm_state(state, features=True).items()}
    widths = [a.shape[0] for name, a in encoder.items() if name.endswith("blocks.0.norm1.bias")]
    maker = SmpMaker(np.random.default_rng(seed))
    channels, kernel = getattr(maker, decoder.lower())(widths, **more)
    maker.pair("segmentation_head.0", K, channels, kernel, kernel)
    return {**encoder, **maker.state}


class SmpMaker:
    """Each decoder returns the channels and the kernel of the head's convolution."""

    def __init__(self, rng):
        self.rng, self.state = rng, {}

    def add(self, name, *shape):
        self.state[name] = self.rng.normal(0.3, 0.5, shape).astype("f4")

    def pair(self, name, *shape):
        self.add(name + ".weight", *shape)
        self.add(name + ".bias", shape[0])

    def cbr(self, name, outputs, inputs, kernel):
        self.add(name + ".0.weight", outputs, inputs, kernel, kernel)
        for part in ("weight", "bias", "running_mean", "running_var"):
            self.state[f"{name}.1.{part}"] = self.rng.uniform(0.5, 2, outputs).astype("f4")
        self.state[name + ".1.num_batches_tracked"] = np.array(7, "i8")

    def upernet(self, widths, D=6):
        name = "decoder."
        for i, C in enumerate(widths):
            self.pair(f"{name}feature_norms.{i}", C)
        for p in range(4):
            self.cbr(f"{name}psp.blocks.{p}.1", D, widths[-1], 1)
        self.cbr(name + "psp.out_conv", D, widths[-1] + 4 * D, 3)
        for j, C in enumerate(widths[-2::-1]):
            self.cbr(f"{name}fpn_lateral_blocks.{j}.conv_norm_relu", D, C, 1)
            self.cbr(f"{name}fpn_conv_blocks.{j}", D, D, 3)
        self.cbr(name + "fusion_block", D, len(widths) * D, 3)
        return D, 1

    def segformer(self, widths, D=6):
        for j, C in enumerate(widths[::-1]):
            self.pair(f"decoder.mlp_stage.{j}.linear", D, C)
        self.cbr("decoder.fuse_stage", D, len(widths) * D, 1)
        return D, 1

    def fpn(self, widths, P=5, S=32, concat=False):
        self.pair("decoder.p5", P, widths[3], 1, 1)
        for l in range(3):
            self.pair(f"decoder.p{l + 2}.skip_conv", P, widths[l], 1, 1)
        for s, convs in enumerate((3, 2, 1, 1)):
            for n in range(convs):
                block = f"decoder.seg_blocks.{s}.block.{n}.block"
                self.add(block + ".0.weight", S, S if n else P, 3, 3)
                self.pair(block + ".1", S)
        return 4 * S if concat else S, 1

    def unet(self, widths, channels=(20, 18, 17, 16), scse=False):
        inputs = widths[-1]
        for i, ch in enumerate(channels):
            skip = widths[-2 - i] if i + 2 <= len(widths) else 0
            block = f"decoder.blocks.{i}."
            self.cbr(block + "conv1", ch, inputs + skip, 3)
            self.cbr(block + "conv2", ch, ch, 3)
            for n, C in ((1, inputs + skip), (2, ch)) if scse else ():
                attention = f"{block}attention{n}.attention."
                self.pair(attention + "cSE.1", C // 16, C, 1, 1)
                self.pair(attention + "cSE.3", C, C // 16, 1, 1)
                self.pair(attention + "sSE.0", 1, C, 1, 1)
            inputs = ch
        return inputs, 3
