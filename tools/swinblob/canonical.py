"""The one description of a model that every family of checkpoints is mapped onto.

A model is a *description* (a dict: the fields of records.py by key) and its *weights* in natural
form: the shapes PyTorch stores, under the names a blob gives them. `tensors` lists what a
description implies, in the order of the blob; each spec knows how its natural form becomes the
matrix that a blob holds.
"""

from math import prod

import numpy as np

from . import records
from .forms import (F32, ROWS, S8, BiasTable, Depthwise, Matrix, PatchEmbedding, Spec, Vector,
                    convolution, heads_in, heads_out, linear, norm)
from .heads import HEADS, LAST, NOTHING, ONE, PIXELS, SCORES, SOME
from .records import Body, Head, Input, Mode, Refused, Resize, Shift, need


# Descriptions -------------------------------------------------------------------------------------

UNETS = (Body.UNET, Body.CROSS_UNET)


def stage_count(d):
    return len(d["width"])


def up_levels(d):
    """Levels of a Unet's way up, in its order; none of a backbone."""
    return range(stage_count(d) - 2, -1, -1) if d["body"] in UNETS else ()


def window_counts(d, height, width):
    """Windows of each stage for an input of that size."""
    rows, columns = -(-height // d["patch"]), -(-width // d["patch"])
    counts = []
    for window_h, window_w in zip(d["window_h"], d["window_w"]):
        counts.append(-(-rows // window_h) * -(-columns // window_w))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return counts


def check(d):
    """Refuses a description whose numbers do not fit together or exceed what swin.h reads."""
    records.check(d)
    check_model(d)
    for i in range(stage_count(d)):
        check_stage(d, i)
    check_head(d)
    check_pictures(d)


def check_model(d):
    need(d["version"] == 1 or not d["tokens"], "tokens: Swin V2 has no global tokens")
    for name in ("feature_norms", "head_inputs"):
        need(d[name] >> stage_count(d) == 0, f"{name} names a feature that no stage makes")
    for name in ("feature_eps", "patch_eps"):
        need(not 0 < d[name] < records.SMALLEST, f"{name} is too small")
    need(not d["input_multiple"] or d["input_rule"] == Input.EXACT
         and d["input_multiple"] % d["patch"] == 0,
         f"input_multiple is {d['input_multiple']}: no whole patches, or inputs that are padded")
    for name in ("input", "position"):
        need(not d[name + "_h"] == (not d[name + "_w"]),
             f"{name}_h or {name}_w is 0, the other is not")
    for name in ("input_h", "input_w"):
        need(d["input_rule"] == Input.EXACT or not d[name],
             f"{name} is {d[name]}, but the input may have any size")
        need(d[name] % d["patch"] == 0, f"{name} is {d[name]}: no whole patches")
    if d["body"] in UNETS:
        check_unet(d)
    if d["body"] == Body.BIREFNET:
        check_birefnet(d)
    if d["body"] == Body.MIT:
        check_mit(d)
    for name in ("patch_kernel", "patch_stride", "reduction"):
        used = stage_count(d) if d["body"] == Body.MIT else 0
        need(not any(d[name][used:]), f"{name} of a stage that has none")


def check_unet(d):
    need(d["head"] == Head.UNET, "a Unet without its head")
    need(d["patch"] == 4 and stage_count(d) >= 2 and d["version"] == 1 and d["final_norm"]
         and not d["feature_norms"], "not a Unet's patch, stages, version or norms")
    for i, width in enumerate(d["width"]):
        need(width == d["width"][0] << i,
             f"width[{i}] is {width}, but the widths of a Unet double from stage to stage")
        need(d["body"] != Body.CROSS_UNET or d["window_h"][i] == d["window_w"][i],
             f"stage {i}: a window that is not square with cross-attention upsampling")


def check_mit(d):
    need(d["version"] == 1 and not d["tokens"] and not d["position_h"] and d["patch_norm"]
         and d["qkv_bias"] and not d["merge_norm"] and not d["final_norm"]
         and d["feature_norms"] == (1 << stage_count(d)) - 1 and d["input_rule"] == Input.PAD,
         "not MiT's version, norms, biases or input")
    for i in range(stage_count(d)):
        kernel, stride = d["patch_kernel"][i], d["patch_stride"][i]
        need(kernel % 2, f"stage {i}: patches of {kernel}x{kernel} have no middle")
        need(stride >= 2 if i else stride == d["patch"],
             f"stage {i}: patches {stride} pixels apart")
        need(d["reduction"][i], f"reduction[{i}] is 0")


def check_birefnet(d):
    need(d["head"] in (Head.BIREFNET, Head.NONE), "BiRefNet's backbone with another head")
    need(stage_count(d) == 4 and d["version"] == 1 and d["patch"] == 4 and not d["tokens"]
         and not d["final_norm"] and d["feature_norms"] == 15,
         "not BiRefNet's stages, version, patch or norms")
    need(d["input_multiple"] and d["input_multiple"] % 32 == 0,
         f"input_multiple is {d['input_multiple']}, no multiple of 32")
    need(min(d["width"]) >= 4, f"BiRefNet's stages {d['width']} are too narrow")


def check_stage(d, i):
    C, heads = d["width"][i], d["heads"][i]
    need(C <= 4096 << i, f"width[{i}] is {C}, not 1..{4096 << i}")
    need(C % heads == 0, f"stage {i}: {heads} heads do not divide {C} channels")
    for axis in "hw":
        need(d["shift_" + axis][i] < d["window_" + axis][i],
             f"shift_{axis}[{i}] is not smaller than the window")
    need(d["shift_rule"] != Shift.SQUARE or d["window_h"][i] == d["window_w"][i],
         f"stage {i}: a window that is not square under Hugging Face's shift rule")
    need(d["token_rows"][i] or not d["tokens"] or d["depth"][i] == 1,
         f"token_rows[{i}] is 0, but the stage has tokens")


def check_head(d):
    kind, inputs = HEADS[d["head"]], d["head_inputs"]
    need((kind.gives != NOTHING) == (d["classes"] > 0),
         f"classes is {d['classes']} for {kind.name}")
    if kind.reads in (ONE, SOME):
        need(inputs and d["head_channels"], f"head_inputs or head_channels is 0 for {kind.name}")
        need(kind.reads == SOME or not inputs & inputs - 1, f"{kind.name} reads one feature")
    else:
        wanted = 1 << stage_count(d) - 1 if kind.reads == LAST else 0
        need(inputs == wanted, f"head_inputs is {inputs}, not {wanted}, for {kind.name}")
        need(not d["head_channels"], f"head_channels is {d['head_channels']} for {kind.name}")
    need(d["head"] in (Head.SMP_UNET, Head.SMP_FPN)
         or not any(np.any(d[field.key]) for field in records.DECODER.fields),
         f"fields of decoder with {kind.name}")
    need(not d["one_class"] or d["classes"] == 2 and kind.gives == PIXELS,
         f"one_class with {d['classes']} classes of {kind.name}")
    need(d["mode"] != Mode.SLIDE or kind.gives == PIXELS,
         "only a map of classes is made by sliding")
    need(d["mode"] != Mode.CENTRE or kind.gives == SCORES,
         "only a classifier reads the centre of its pictures")
    kind.check(d)


def check_pictures(d):
    """Refuses a way from pictures to input that swin.h does not go."""
    need(not d["reference_present"] or d["reference_width"] and d["reference_height"],
         "the self-test's picture is empty")
    sides = {Resize.NONE: 0, Resize.LONGEST: 1, Resize.SHORTEST: 1}.get(d["resize_rule"], 2)
    for name in ("resize_a", "resize_b")[:sides]:
        need(d[name], f"{name} is 0, not 1..{records.MAX_SIDE}")
    if d["mode"] == Mode.WHOLE:
        return
    for name in ("crop_h", "crop_w"):
        need(d[name], f"{name} is 0, not 1..{records.MAX_SIDE}")
    if d["mode"] == Mode.SLIDE:
        for axis in "hw":
            need(1 <= d["stride_" + axis] <= d["crop_" + axis],
                 f"stride_{axis} is {d['stride_' + axis]}, not 1..{d['crop_' + axis]}")
    else:
        need(d["resize_rule"] in (Resize.SHORTEST, Resize.EXACT),
             "a centre crop of pictures whose size is not known")
        height = d["resize_a"]
        width = d["resize_b"] if d["resize_rule"] == Resize.EXACT else height
        need(d["crop_h"] <= height and d["crop_w"] <= width,
             f"a centre crop of {d['crop_h']}x{d['crop_w']} is larger than the resized picture")


def tensors(d):
    """Yields the specs of all tensors that a checked description implies, in the blob's order."""
    def qkv(name, C, heads):
        return heads_in(name, 3, 3 * C, C, heads, d["version"] == 1, d["qkv_bias"])

    def layers(prefix, i):
        """Tokens and blocks of stage i, or of the level of a Unet's way up that is like it."""
        C, heads, depth = d["width"][i], d["heads"][i], d["depth"][i]
        if d["tokens"]:
            yield Spec(prefix + ".tokens", Matrix(d["tokens"], C, ROWS))
            if depth > 1:
                yield Spec(prefix + ".token_position", Matrix(d["token_rows"][i], C, ROWS))
        for j in range(depth):
            block = f"{prefix}.block{j}"
            yield from norm(block + ".norm1", C)
            yield from qkv(block + ".attn.qkv", C, heads)
            yield Spec(block + ".attn.bias", BiasTable(d["window_h"][i], d["window_w"][i], heads))
            if d["version"] == 2:
                yield Spec(block + ".attn.scale", Vector(heads))
            yield from heads_out(block + ".attn.proj", C, C, heads)
            if d["tokens"] and j < depth - 1:
                yield from qkv(block + ".global.qkv", C, heads)
                yield from heads_out(block + ".global.proj", C, C, heads)
            yield from norm(block + ".norm2", C)
            yield from linear(block + ".mlp.fc1", d["hidden"][i], C)
            yield from linear(block + ".mlp.fc2", C, d["hidden"][i])

    if d["body"] == Body.MIT:
        yield from mit_tensors(d)
        yield from HEADS[d["head"]].tensors(d)
        return
    E = d["width"][0]
    yield Spec("embed.weight", PatchEmbedding(E, d["planes"], d["patch"]))
    yield Spec("embed.bias", Vector(E))
    if d["patch_norm"]:
        yield from norm("embed.norm", E)
    if d["position_h"]:
        yield Spec("embed.position", Matrix(d["position_h"] * d["position_w"], E, ROWS))
    for i, C in enumerate(d["width"]):
        stage = f"stage{i}"
        yield from layers(stage, i)
        if d["feature_norms"] >> i & 1:
            yield from norm(stage + ".norm", C)
        if i < stage_count(d) - 1:
            merged = d["width"][i + 1]
            if d["merge_norm"]:
                yield from norm(stage + ".merge.norm", 4 * C if d["version"] == 1 else merged)
            yield from linear(stage + ".merge", merged, 4 * C, bias=False)
    if d["final_norm"]:
        yield from norm("norm", d["width"][-1])

    for l in up_levels(d):
        C, heads, up = d["width"][l], d["heads"][l], f"up{l}"
        yield from norm(up + ".expand.norm", C)
        yield from linear(up + ".expand", 4 * C, 2 * C, bias=False)
        if d["body"] == Body.CROSS_UNET:
            cross = up + ".cross"
            yield from norm(cross + ".norm1", 2 * C)
            yield from heads_in(cross + ".q", 1, 2 * C, C, heads, query=True)
            yield from heads_in(cross + ".kv", 2, 4 * C, 2 * C, heads, query=False)
            yield Spec(cross + ".bias", BiasTable(d["window_h"][l], d["window_w"][l], heads))
            yield from heads_out(cross + ".proj", C, 2 * C, heads)
            yield from norm(cross + ".norm2", C)
            yield from linear(cross + ".fc1", d["hidden"][l], C)
            yield from linear(cross + ".fc2", C, d["hidden"][l])
        yield from linear(up + ".concat", C, 2 * C)
        yield from layers(up, l)
    yield from HEADS[d["head"]].tensors(d)


def mit_tensors(d):
    """Those of SegFormer's backbone."""
    for i, C in enumerate(d["width"]):
        stage, kernel, heads = f"stage{i}", d["patch_kernel"][i], d["heads"][i]
        if i == 0:
            yield Spec("embed.weight", PatchEmbedding(C, d["planes"], kernel))
            yield Spec("embed.bias", Vector(C))
            yield from norm("embed.norm", C)
        else:
            yield from convolution(stage + ".embed", C, d["width"][i - 1], kernel)
            yield from norm(stage + ".embed.norm", C)
        for j in range(d["depth"][i]):
            block = f"{stage}.block{j}"
            yield from norm(block + ".norm1", C)
            if d["reduction"][i] > 1:
                yield from convolution(block + ".attn.reduce", C, C, d["reduction"][i])
                yield from norm(block + ".attn.reduce.norm", C)
            yield from heads_in(block + ".attn.q", 1, C, C, heads, query=True)
            yield from heads_in(block + ".attn.kv", 2, 2 * C, C, heads, query=False)
            yield from heads_out(block + ".attn.proj", C, C, heads)
            yield from norm(block + ".norm2", C)
            yield from linear(block + ".mlp.fc1", d["hidden"][i], C)
            yield Spec(block + ".mlp.depthwise.weight", Depthwise(d["hidden"][i]))
            yield Spec(block + ".mlp.depthwise.bias", Vector(d["hidden"][i]))
            yield from linear(block + ".mlp.fc2", C, d["hidden"][i])
        yield from norm(stage + ".norm", C)


def with_types(specs, type_of):
    """The specs in the number types that type_of(spec) gives; scales follow weights of 8 bits."""
    for spec in specs:
        typed = spec.of_type(type_of(spec))
        yield typed
        if typed.type == S8:
            yield typed.scale()


# Weights and models -------------------------------------------------------------------------------

class Weight:
    """A tensor in natural form that is read when it is needed: `origin` names it in the source."""

    def __init__(self, shape, load, origin):
        self.shape, self.load, self.origin = tuple(shape), load, origin

    def map(self, shape, change):
        return Weight(shape, lambda: change(self.load()), self.origin)


BATCH_NORM_EPS = 1e-5


def fold_batch_norm(weight, bias, gamma, beta, mean, variance, eps=BATCH_NORM_EPS):
    """Weight and bias of the convolution that does a convolution and the BatchNorm after it."""
    def factor():
        v = variance.load().astype(np.float64)
        if (v < 0).any():
            raise Refused(f"{variance.origin} holds a negative variance")
        return gamma.load() / np.sqrt(v + eps)

    def folded_weight():
        return weight.load() * factor().reshape(-1, 1, 1, 1)

    def folded_bias():
        start = bias.load() if bias else 0.0
        return (start - mean.load().astype(np.float64)) * factor() + beta.load()

    return (Weight(weight.shape, folded_weight, weight.origin),
            Weight(beta.shape, folded_bias, beta.origin))


class Model:
    """A description, its weights by name, and what travels with them."""

    def __init__(self, description, family):
        self.description = description
        self.family = family            # what the checkpoint was recognised as
        self.weights = {}
        self.types = {}                 # number types of tensors by name, where not float32
        self.class_names = None         # a list, or None where nothing tells
        self.class_colors = None        # a list of (r, g, b)
        self.notes = {}
        self.dropped = []               # (what was left out, why, the tensors' names)
        self.remarks = []               # sentences the user should read

    def trim_tokens(self, max_size, required):
        """Keeps those rows of the tokens' positional tables that inputs up to max_size can reach.

        required: refuse where a table is too short for that size; else keep all it has."""
        d = self.description
        if not d["tokens"]:
            if required:
                self.remarks.append("--max-size has no effect: the model has no global tokens")
            return
        for i, windows in enumerate(window_counts(d, *max_size)):
            rows, reach = d["token_rows"][i], windows * d["tokens"]
            if not rows:
                continue
            names = [f"stage{i}.token_position"]
            if i in up_levels(d):
                names.append(f"up{i}.token_position")
            if reach > rows:
                if required:
                    raise Refused(f"{self.weights[names[0]].origin} has {rows} rows, but an input "
                                  f"of {max_size[0]}x{max_size[1]} needs {reach}")
                continue
            first = rows // 2 - reach // 2
            d["token_rows"][i], d["token_middle"][i] = reach, reach // 2
            for name in names:
                weight = self.weights[name]
                self.weights[name] = weight.map((reach, weight.shape[1]),
                                                lambda x, a=first, n=reach: x[a:a + n])
                if reach < rows:
                    self.dropped.append((
                        f"{rows - reach} of {rows} rows of {weight.origin}",
                        f"inputs beyond {max_size[0]}x{max_size[1]} (--max-size)",
                        [weight.origin]))

    def check(self):
        """Refuses a model whose weights are not exactly those that its description implies."""
        check(self.description)
        for spec in tensors(self.description):
            weight = self.weights[spec.name]
            if weight.shape != spec.form.natural:
                raise Refused(f"{weight.origin} has shape {list(weight.shape)} where the rest of "
                              f"the model asks for {list(spec.form.natural)}")

    def matrix(self, spec):
        """The float32 matrix that a blob holds for a spec."""
        weight = self.weights[spec.name]
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = np.ascontiguousarray(spec.form.pack(weight.load()), np.float32)
        if not np.isfinite(matrix).all():
            raise Refused(f"{weight.origin} gives numbers beyond float32's range")
        return matrix

    @property
    def specs(self):
        """The tensors of the model's blob, in order."""
        return list(with_types(tensors(self.description),
                               lambda spec: self.types.get(spec.name, F32)))

    @property
    def parameters(self):
        return sum(prod(spec.form.natural) for spec in tensors(self.description))
