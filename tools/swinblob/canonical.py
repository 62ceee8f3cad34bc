"""The one description of a model that every family of checkpoints is mapped onto.

A model is a *description* (a dict: the words of a blob's config by name) and its *weights* in
natural form: the shapes PyTorch stores, under the names a blob gives them. `tensors` lists what a
description implies, in the order of the blob; each spec knows how its natural form becomes the
matrix that a blob holds.
"""

from math import prod

import numpy as np

LANES = 16                  # outputs of a panel; rows and head widths are rounded up to it
MAX_SIDE = 16384            # of a picture that preprocessing makes
MAX_REFERENCE_SIDE = 1024   # of the self-test's picture
PLAIN, ROWS, PANELS = 0, 1, 2
PATCH_NORM, QKV_BIAS, POSITION, MERGE_NORM, FINAL_NORM = 1, 2, 4, 8, 16
BACKBONE, UNET, CROSS_UNET = range(3)
(NO_HEAD, UPERHEAD, FCNHEAD, PSPHEAD, FPNHEAD, SEGFORMER, GLAM_SEGFORMER, CLASSIFIER,
 UNET_HEAD) = range(9)
DENSE_HEADS = range(UPERHEAD, GLAM_SEGFORMER + 1)       # features to a map of classes
PAD, FLOOR, EXACT = range(3)                            # input_rule
AS_STORED, HF_MODEL, PER_AXIS_PADDED = range(3)         # shift_rule
WHOLE, SLIDE, CROP = range(3)                           # mode
KEEP_SIZE, FIT_SIDES, LONGEST_SIDE, SHORTEST_SIDE, EXACT_SIZE = range(5)
BILINEAR, BILINEAR_ANTIALIASED, BICUBIC, BICUBIC_ANTIALIASED = range(4)

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)


class Refused(Exception):
    """A model or file that is not converted; the message names what stands in the way."""


def round_up(n, multiple):
    return -(-n // multiple) * multiple


# Descriptions -------------------------------------------------------------------------------------

def new_description():
    """Swin V1 without stages or head; RGB pictures of their own size, normalised as ImageNet's."""
    return dict(
        version=1, body=BACKBONE, head=NO_HEAD, patch=4, planes=3, width=0, stages=0,
        input_rule=PAD,
        depth=[0] * 4, heads=[0] * 4, window_h=[0] * 4, window_w=[0] * 4, shift_h=[0] * 4,
        shift_w=[0] * 4, hidden=[0] * 4, shift_rule=AS_STORED, roll_before_pad=0, mask=-100.0,
        eps=1e-5, flags=0, feature_norms=0, position_h=0, position_w=0, position_rule=0,
        tokens=0, token_rows=[0] * 4, token_middle=[0] * 4,
        classes=0, head_channels=0, head_inputs=0, align_corners=0, pool_count=0,
        pool_scale=[0] * 8, convs=0, conv_kernel=0, conv_concat=0, neck_channels=0,
        neck_convs=[0] * 4, ignore_label=255,
        mean=list(IMAGENET_MEAN), scale=[1 / s for s in IMAGENET_STD], bgr=0,
        resize_rule=KEEP_SIZE, resize_a=0, resize_b=0, resize_filter=BILINEAR, resize_round=1,
        mode=WHOLE, crop_h=0, crop_w=0, stride_h=0, stride_w=0, reference=[0] * 8,
        input_h=0, input_w=0)


def stage_width(d, i):
    return d["width"] << i


def head_features(d):
    """Indices of the features that the head reads."""
    return [i for i in range(4) if d["head_inputs"] >> i & 1]


def up_levels(d):
    """Levels of a Unet's way up, in its order; none of a backbone."""
    return range(d["stages"] - 2, -1, -1) if d["body"] else ()


def window_counts(d, height, width):
    """Windows of each stage for an input of that size."""
    rows, columns = -(-height // d["patch"]), -(-width // d["patch"])
    counts = []
    for i in range(d["stages"]):
        counts.append(-(-rows // d["window_h"][i]) * -(-columns // d["window_w"][i]))
        rows, columns = -(-rows // 2), -(-columns // 2)
    return counts


def check(d):
    """Refuses a description whose numbers do not fit together or exceed what swin.h reads."""
    def need(good, text):
        if not good:
            raise Refused(text)

    def within(name, low, high, count=None):
        values = d[name][:count] if count is not None else [d[name]]
        for i, value in enumerate(values):
            place = f"{name}[{i}]" if count is not None else name
            need(low <= value <= high, f"{place} is {value}, not {low}..{high}")

    unet, dense = d["body"] != BACKBONE, d["head"] in DENSE_HEADS
    within("version", 1, 2)
    within("body", 0, CROSS_UNET)
    within("head", 0, UNET_HEAD)
    within("input_rule", 0, EXACT)
    within("shift_rule", 0, PER_AXIS_PADDED)
    within("roll_before_pad", 0, 1)
    within("mode", 0, CROP)
    within("flags", 0, PATCH_NORM | QKV_BIAS | POSITION | MERGE_NORM | FINAL_NORM)
    within("resize_rule", 0, EXACT_SIZE)
    within("resize_filter", 0, BICUBIC_ANTIALIASED)
    within("position_rule", 0, 1)
    within("planes", 3, 3)
    within("patch", 1, 32)
    within("width", 1, 4096)
    within("stages", 1, 4)
    within("tokens", 0, 256 if d["version"] == 1 else 0)
    need(0 < d["eps"] < 1 and -1e6 <= d["mask"] <= 0, "eps or mask is out of range")
    stages = d["stages"]
    within("feature_norms", 0, (1 << stages) - 1)
    within("head_inputs", 0, (1 << stages) - 1)
    need(unet == (d["head"] == UNET_HEAD), "a Unet without its head, or its head without a Unet")
    need(not unet or d["patch"] == 4 and stages >= 2 and d["version"] == 1
         and d["flags"] & FINAL_NORM and not d["feature_norms"],
         "not a Unet's patch, stages, version or norms")
    for name in ("input_h", "input_w"):
        within(name, 0, MAX_SIDE if d["input_rule"] == EXACT else 0)
        need(d[name] % d["patch"] == 0, f"{name} is {d[name]}: no whole patches")
    need(not d["input_h"] == (not d["input_w"]), "input_h or input_w is 0, the other is not")
    if d["flags"] & POSITION:
        within("position_h", 1, 4096)
        within("position_w", 1, 4096)
    within("depth", 1, 256, stages)
    within("heads", 1, 1024, stages)
    within("window_h", 1, 64, stages)
    within("window_w", 1, 64, stages)
    within("hidden", 1, 1 << 16, stages)
    for i in range(stages):
        C, heads = stage_width(d, i), d["heads"][i]
        need(C % heads == 0, f"stage {i}: {heads} heads do not divide {C} channels")
        for axis in "hw":
            need(d["shift_" + axis][i] < d["window_" + axis][i],
                 f"shift_{axis}[{i}] is not smaller than the window")
        need(d["shift_rule"] != HF_MODEL or d["window_h"][i] == d["window_w"][i],
             f"stage {i}: a window that is not square under Hugging Face's shift rule")
        need(d["body"] != CROSS_UNET or d["window_h"][i] == d["window_w"][i],
             f"stage {i}: a window that is not square with cross-attention upsampling")
        if d["tokens"] and d["depth"][i] > 1:
            need(1 <= d["token_rows"][i] <= 1 << 24 and d["token_middle"][i] <= 1 << 24,
                 f"token_rows[{i}] or token_middle[{i}] is out of range")
    check_pictures(d, need, within)
    if d["head"] == NO_HEAD:
        within("classes", 0, 0)
        within("head_inputs", 0, 0)
        return
    within("classes", 1, 65535)
    within("align_corners", 0, 1)
    within("head_channels", int(dense), 16384 if dense else 0)
    if dense:
        within("head_inputs", 1, 15)
    else:
        last = 1 << stages - 1 if d["head"] == CLASSIFIER else 0
        within("head_inputs", last, last)
    if d["head"] in (FCNHEAD, PSPHEAD):
        need(len(head_features(d)) == 1, "FCNHead and PSPHead read one feature")
    if d["head"] in (UPERHEAD, PSPHEAD):
        within("pool_count", 1, 8)
        within("pool_scale", 1, 64, d["pool_count"])
    elif d["head"] == FCNHEAD:
        within("convs", 0, 8)
        within("conv_concat", 0, int(d["convs"] > 0))
        within("conv_kernel", 1, 15)
        need(d["conv_kernel"] % 2, f"conv_kernel is {d['conv_kernel']}, not odd")
    elif d["head"] == FPNHEAD:
        within("neck_channels", 1, 16384)
        within("neck_convs", 1, 8, len(head_features(d)))
        need(d["neck_convs"][0] == 1, "the finest level of FPNHead has one convolution")


def check_pictures(d, need, within):
    """Refuses a way from pictures to input that swin.h does not go."""
    within("ignore_label", 0, 65535)
    within("bgr", 0, 1)
    within("resize_round", 0, 1)
    present, _, width, height = d["reference"][:4]
    need(present == 0 or present == 1 and 1 <= width <= MAX_REFERENCE_SIDE
         and 1 <= height <= MAX_REFERENCE_SIDE,
         f"the self-test's picture is not 1..{MAX_REFERENCE_SIDE} a side")
    need(all(abs(np.float32(n)) < 1e6 for n in (*d["mean"], *d["scale"])),
         "mean or 1 / std of a colour is no number within 1e6 (--mean, --std)")
    sides = {KEEP_SIZE: 0, LONGEST_SIDE: 1, SHORTEST_SIDE: 1}.get(d["resize_rule"], 2)
    for n, name in enumerate(("resize_a", "resize_b")):
        within(name, int(n < sides), MAX_SIDE)
    if d["mode"] == WHOLE:
        return
    within("crop_h", 1, MAX_SIDE)
    within("crop_w", 1, MAX_SIDE)
    if d["mode"] == SLIDE:
        need(d["head"] not in (NO_HEAD, CLASSIFIER), "only a map of classes is made by sliding")
        within("stride_h", 1, d["crop_h"])
        within("stride_w", 1, d["crop_w"])
    else:
        need(d["head"] == CLASSIFIER, "only a classifier reads the centre of its pictures")
        need(d["resize_rule"] in (SHORTEST_SIDE, EXACT_SIZE),
             "a centre crop of pictures whose size is not known")
        height = d["resize_a"]
        width = d["resize_b"] if d["resize_rule"] == EXACT_SIZE else height
        need(d["crop_h"] <= height and d["crop_w"] <= width,
             f"a centre crop of {d['crop_h']}x{d['crop_w']} is larger than the resized picture")


# Natural forms ------------------------------------------------------------------------------------

class Vector:
    """[n] <-> one row."""

    layout = ROWS

    def __init__(self, n):
        self.natural, self.shape = (n,), (1, n)

    def pack(self, x):
        return x[None]

    def unpack(self, m):
        return m[0]


class Matrix:
    """[rows, columns], as it is."""

    def __init__(self, rows, columns, layout=PANELS):
        self.natural = self.shape = (rows, columns)
        self.layout = layout

    def pack(self, x):
        return x

    def unpack(self, m):
        return m


class Convolution:
    """[outputs, inputs, k, k] <-> [outputs, k * k * inputs], input channels fastest."""

    layout = PANELS

    def __init__(self, outputs, inputs, k):
        self.natural = (outputs, inputs, k, k)
        self.shape = (outputs, k * k * inputs)

    def pack(self, x):
        return x.transpose(0, 2, 3, 1).reshape(self.shape)

    def unpack(self, m):
        outputs, inputs, k, _ = self.natural
        return m.reshape(outputs, k, k, inputs).transpose(0, 3, 1, 2)


class Heads:
    """Axis `axis` of a matrix or vector holds `parts` x heads x d rows: d is padded with zeros to
    whole vectors. query: the first part is the query, which takes the scores' factor d^-0.5."""

    def __init__(self, natural, axis, parts, heads, layout, query=False):
        self.natural, self.axis, self.layout = natural, axis, layout
        self.split = (parts, heads, natural[axis] // (parts * heads))
        d = self.split[2]
        padded = list(natural)
        padded[axis] = parts * heads * round_up(d, LANES)
        self.shape = tuple(padded) if len(padded) == 2 else (1, *padded)
        self.factor = np.ones((parts, 1, 1))
        if query:
            self.factor[0] = d ** -0.5

    def pack(self, x):
        parts, heads, d = self.split
        x = np.moveaxis(x, self.axis, -1)
        x = x.reshape(*x.shape[:-1], parts, heads, d) * self.factor
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, round_up(d, LANES) - d)])
        x = x.reshape(*x.shape[:-3], -1)
        return np.moveaxis(x, -1, self.axis).reshape(self.shape)

    def unpack(self, m):
        parts, heads, d = self.split
        x = np.moveaxis(m if len(self.natural) == 2 else m[0], self.axis, -1)
        x = x.reshape(*x.shape[:-1], parts, heads, -1)[..., :d] / self.factor
        return np.moveaxis(x.reshape(*x.shape[:-3], -1), -1, self.axis)


class BiasTable:
    """[(2 wh - 1) (2 ww - 1), heads] by query minus key <-> [heads, ...] by key minus query."""

    layout = PLAIN

    def __init__(self, wh, ww, heads):
        self.shape = (heads, 2 * wh - 1, 2 * ww - 1)
        self.natural = (self.shape[1] * self.shape[2], heads)

    def pack(self, x):
        return x[::-1].T.reshape(self.shape)

    def unpack(self, m):
        return m.reshape(self.shape[0], -1).T[::-1]


class Spec:
    """One tensor of a blob: its name and form."""

    def __init__(self, name, form):
        self.name, self.form = name, form

    @property
    def shape(self):
        return (*self.form.shape, 1, 1, 1)[:4]


def tensors(d):
    """Yields the specs of all tensors that a checked description implies, in the blob's order."""
    def linear(name, outputs, inputs, bias=True):
        yield Spec(name + ".weight", Matrix(outputs, inputs))
        if bias:
            yield Spec(name + ".bias", Vector(outputs))

    def convolution(name, outputs, inputs, k):
        yield Spec(name + ".weight", Convolution(outputs, inputs, k))
        yield Spec(name + ".bias", Vector(outputs))

    def norm(name, n):
        yield Spec(name + ".weight", Vector(n))
        yield Spec(name + ".bias", Vector(n))

    def heads_in(name, parts, outputs, inputs, heads, query, bias=True):
        """A linear layer whose outputs are the heads' queries, keys or values."""
        yield Spec(name + ".weight", Heads((outputs, inputs), 0, parts, heads, PANELS, query))
        if bias:
            yield Spec(name + ".bias", Heads((outputs,), 0, parts, heads, ROWS, query))

    def qkv(name, C, heads):
        return heads_in(name, 3, 3 * C, C, heads, d["version"] == 1, d["flags"] & QKV_BIAS)

    def heads_out(name, outputs, inputs, heads):
        yield Spec(name + ".weight", Heads((outputs, inputs), 1, 1, heads, PANELS))
        yield Spec(name + ".bias", Vector(outputs))

    def layers(prefix, i):
        """Tokens and blocks of stage i, or of the level of a Unet's way up that is like it."""
        C, heads, depth = stage_width(d, i), d["heads"][i], d["depth"][i]
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

    E = d["width"]
    yield from convolution("embed", E, d["planes"], d["patch"])
    if d["flags"] & PATCH_NORM:
        yield from norm("embed.norm", E)
    if d["flags"] & POSITION:
        yield Spec("embed.position", Matrix(d["position_h"] * d["position_w"], E, ROWS))
    for i in range(d["stages"]):
        C, stage = stage_width(d, i), f"stage{i}"
        yield from layers(stage, i)
        if d["feature_norms"] >> i & 1:
            yield from norm(stage + ".norm", C)
        if i < d["stages"] - 1:
            if d["flags"] & MERGE_NORM:
                yield from norm(stage + ".merge.norm", 4 * C if d["version"] == 1 else 2 * C)
            yield from linear(stage + ".merge", 2 * C, 4 * C, bias=False)
    if d["flags"] & FINAL_NORM:
        yield from norm("norm", stage_width(d, d["stages"] - 1))

    for l in up_levels(d):
        C, heads, up = stage_width(d, l), d["heads"][l], f"up{l}"
        yield from norm(up + ".expand.norm", C)
        yield from linear(up + ".expand", 4 * C, 2 * C, bias=False)
        if d["body"] == CROSS_UNET:
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
    if d["body"]:
        yield from norm("final.norm", E)
        yield from norm("final.expand.norm", E)
        yield from linear("final.expand", 16 * E, E, bias=False)

    ch, K, kind = d["head_channels"], d["classes"], d["head"]
    widths = [stage_width(d, i) for i in head_features(d)]
    if kind in (UPERHEAD, PSPHEAD):
        for p in range(d["pool_count"]):
            yield from convolution(f"head.pool{p}", ch, widths[-1], 1)
        yield from convolution("head.bottleneck", ch, widths[-1] + d["pool_count"] * ch, 3)
    if kind == UPERHEAD:
        for l, C in enumerate(widths[:-1]):
            yield from convolution(f"head.lateral{l}", ch, C, 1)
        for l in range(len(widths) - 1):
            yield from convolution(f"head.fpn{l}", ch, ch, 3)
        yield from convolution("head.fuse", ch, len(widths) * ch, 3)
    elif kind == FCNHEAD:
        k = d["conv_kernel"]
        for n in range(d["convs"]):
            yield from convolution(f"head.conv{n}", ch, ch if n else widths[0], k)
        if d["conv_concat"]:
            yield from convolution("head.cat", ch, widths[0] + ch, k)
    elif kind == FPNHEAD:
        Cn = d["neck_channels"]
        for l, C in enumerate(widths):
            yield from convolution(f"neck.lateral{l}", Cn, C, 1)
        for l in range(len(widths)):
            yield from convolution(f"neck.fpn{l}", Cn, Cn, 3)
        for l in range(len(widths)):
            for n in range(d["neck_convs"][l]):
                yield from convolution(f"head.scale{l}.conv{n}", ch, ch if n else Cn, 3)
    elif kind in (SEGFORMER, GLAM_SEGFORMER):
        for l, C in enumerate(widths):
            yield from convolution(f"head.lateral{l}", ch, C, 1)
        yield from convolution("head.fuse", ch, len(widths) * ch, 1)
    if kind == CLASSIFIER:
        yield from linear("head.classify", K, stage_width(d, d["stages"] - 1))
    elif kind == UNET_HEAD:
        yield Spec("head.classify.weight", Convolution(K, E, 1))
    elif kind != NO_HEAD:
        C = widths[0] if kind == FCNHEAD and not d["convs"] else ch
        yield from convolution("head.classify", K, C, 1)


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
    def parameters(self):
        return sum(prod(spec.form.natural) for spec in tensors(self.description))
