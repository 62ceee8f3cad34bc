"""The one description of a model that every family of checkpoints is mapped onto.

A model is a *description* (a dict: the words of a blob's config by name) and its *weights* in
natural form: the shapes PyTorch stores, under the names a blob gives them. `tensors` lists what a
description implies, in the order of the blob; each spec knows how its natural form becomes the
matrix that a blob holds.
"""

import numpy as np

LANES = 16                  # outputs of a panel; rows and head widths are rounded up to it
MAX_SIDE = 16384            # of a picture that preprocessing makes
PLAIN, ROWS, PANELS = 0, 1, 2
PATCH_NORM, QKV_BIAS, POSITION, MERGE_NORM = 1, 2, 4, 8
NO_HEAD, UPERHEAD, FCNHEAD = 0, 1, 2
KEEP_SIZE, FIT_SIDES, LONGEST_SIDE, SHORTEST_SIDE, EXACT_SIZE = range(5)
BILINEAR, ANTIALIASED = range(2)

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
        version=1, body=0, head=NO_HEAD, patch=4, planes=3, width=0, stages=0, input_rule=0,
        depth=[0] * 4, heads=[0] * 4, window_h=[0] * 4, window_w=[0] * 4, shift_h=[0] * 4,
        shift_w=[0] * 4, hidden=[0] * 4, shift_rule=0, roll_before_pad=0, mask=-100.0, eps=1e-5,
        flags=0, feature_norms=0, position_h=0, position_w=0, position_rule=0,
        tokens=0, token_rows=[0] * 4, token_middle=[0] * 4,
        classes=0, head_channels=0, head_inputs=0, align_corners=0, pool_count=0,
        pool_scale=[0] * 8, convs=0, conv_kernel=0, conv_concat=0, neck_channels=0,
        neck_convs=[0] * 4, ignore_label=255,
        mean=list(IMAGENET_MEAN), scale=[1 / s for s in IMAGENET_STD], bgr=0,
        resize_rule=KEEP_SIZE, resize_a=0, resize_b=0, resize_filter=BILINEAR, resize_round=1,
        mode=0, crop_h=0, crop_w=0, stride_h=0, stride_w=0, reference=[0] * 8)


def stage_width(d, i):
    return d["width"] << i


def head_features(d):
    """Indices of the features that the head reads."""
    return [i for i in range(4) if d["head_inputs"] >> i & 1]


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

    within("version", 1, 1)
    within("body", 0, 0)
    within("head", 0, FCNHEAD)
    for name in ("input_rule", "shift_rule", "roll_before_pad", "mode"):
        within(name, 0, 0)
    within("flags", 0, PATCH_NORM | QKV_BIAS | POSITION | MERGE_NORM)
    within("resize_rule", 0, EXACT_SIZE)
    within("resize_filter", 0, 1)
    within("position_rule", 0, 1)
    within("planes", 3, 3)
    within("patch", 1, 32)
    within("width", 1, 4096)
    within("stages", 1, 4)
    within("tokens", 0, 256)
    need(0 < d["eps"] < 1 and -1e6 <= d["mask"] <= 0, "eps or mask is out of range")
    stages = d["stages"]
    within("feature_norms", 0, (1 << stages) - 1)
    within("head_inputs", 0, (1 << stages) - 1)
    need(not d["head_inputs"] & ~d["feature_norms"], "the head reads a feature without a norm")
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
        if d["tokens"] and d["depth"][i] > 1:
            need(1 <= d["token_rows"][i] <= 1 << 24 and d["token_middle"][i] <= 1 << 24,
                 f"token_rows[{i}] or token_middle[{i}] is out of range")
    if d["head"] == NO_HEAD:
        within("classes", 0, 0)
        within("head_inputs", 0, 0)
        return
    within("classes", 1, 65535)
    within("head_channels", 1, 16384)
    within("head_inputs", 1, 15)
    within("align_corners", 0, 1)
    within("ignore_label", 0, 65535)
    within("bgr", 0, 1)
    within("resize_round", 0, 1)
    sides = {KEEP_SIZE: 0, LONGEST_SIDE: 1, SHORTEST_SIDE: 1}.get(d["resize_rule"], 2)
    for n, name in enumerate(("resize_a", "resize_b")):
        within(name, int(n < sides), MAX_SIDE)
    if d["head"] == UPERHEAD:
        within("pool_count", 1, 8)
        within("pool_scale", 1, 64, d["pool_count"])
    else:
        need(len(head_features(d)) == 1, "an FCNHead reads one feature")
        within("convs", 0, 8)
        within("conv_concat", 0, int(d["convs"] > 0))
        within("conv_kernel", 1, 15)
        need(d["conv_kernel"] % 2, f"conv_kernel is {d['conv_kernel']}, not odd")


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
    whole vectors. Of three parts the first is the query, which takes the scores' factor d^-0.5."""

    def __init__(self, natural, axis, parts, heads, layout):
        self.natural, self.axis, self.layout = natural, axis, layout
        self.split = (parts, heads, natural[axis] // (parts * heads))
        d = self.split[2]
        padded = list(natural)
        padded[axis] = parts * heads * round_up(d, LANES)
        self.shape = tuple(padded) if len(padded) == 2 else (1, *padded)
        self.factor = np.ones((parts, 1, 1))
        if parts == 3:
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

    def qkv(name, C, heads):
        yield Spec(name + ".weight", Heads((3 * C, C), 0, 3, heads, PANELS))
        if d["flags"] & QKV_BIAS:
            yield Spec(name + ".bias", Heads((3 * C,), 0, 3, heads, ROWS))

    def projection(name, C, heads):
        yield Spec(name + ".weight", Heads((C, C), 1, 1, heads, PANELS))
        yield Spec(name + ".bias", Vector(C))

    E = d["width"]
    yield from convolution("embed", E, d["planes"], d["patch"])
    if d["flags"] & PATCH_NORM:
        yield from norm("embed.norm", E)
    if d["flags"] & POSITION:
        yield Spec("embed.position", Matrix(d["position_h"] * d["position_w"], E, ROWS))

    for i in range(d["stages"]):
        C, heads, depth, stage = stage_width(d, i), d["heads"][i], d["depth"][i], f"stage{i}"
        if d["tokens"]:
            yield Spec(stage + ".tokens", Matrix(d["tokens"], C, ROWS))
            if depth > 1:
                yield Spec(stage + ".token_position", Matrix(d["token_rows"][i], C, ROWS))
        for j in range(depth):
            block = f"{stage}.block{j}"
            yield from norm(block + ".norm1", C)
            yield from qkv(block + ".attn.qkv", C, heads)
            yield Spec(block + ".attn.bias", BiasTable(d["window_h"][i], d["window_w"][i], heads))
            yield from projection(block + ".attn.proj", C, heads)
            if d["tokens"] and j < depth - 1:
                yield from qkv(block + ".global.qkv", C, heads)
                yield from projection(block + ".global.proj", C, heads)
            yield from norm(block + ".norm2", C)
            yield from linear(block + ".mlp.fc1", d["hidden"][i], C)
            yield from linear(block + ".mlp.fc2", C, d["hidden"][i])
        if d["feature_norms"] >> i & 1:
            yield from norm(stage + ".norm", C)
        if i < d["stages"] - 1:
            if d["flags"] & MERGE_NORM:
                yield from norm(stage + ".merge.norm", 4 * C)
            yield from linear(stage + ".merge", 2 * C, 4 * C, bias=False)

    ch, K = d["head_channels"], d["classes"]
    if d["head"] == UPERHEAD:
        *lower, last = [stage_width(d, i) for i in head_features(d)]
        for p in range(d["pool_count"]):
            yield from convolution(f"head.pool{p}", ch, last, 1)
        yield from convolution("head.bottleneck", ch, last + d["pool_count"] * ch, 3)
        for l, C in enumerate(lower):
            yield from convolution(f"head.lateral{l}", ch, C, 1)
        for l in range(len(lower)):
            yield from convolution(f"head.fpn{l}", ch, ch, 3)
        yield from convolution("head.fuse", ch, (len(lower) + 1) * ch, 3)
        yield from convolution("head.classify", K, ch, 1)
    elif d["head"] == FCNHEAD:
        C, k = stage_width(d, head_features(d)[0]), d["conv_kernel"]
        for n in range(d["convs"]):
            yield from convolution(f"head.conv{n}", ch, ch if n else C, k)
        if d["conv_concat"]:
            yield from convolution("head.cat", ch, C + ch, k)
        yield from convolution("head.classify", K, ch if d["convs"] else C, 1)


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
            name = f"stage{i}.token_position"
            weight = self.weights[name]
            if reach > rows:
                if required:
                    raise Refused(f"{weight.origin} has {rows} rows, but an input of "
                                  f"{max_size[0]}x{max_size[1]} needs {reach}")
                continue
            first = rows // 2 - reach // 2
            d["token_rows"][i], d["token_middle"][i] = reach, reach // 2
            self.weights[name] = weight.map((reach, weight.shape[1]),
                                            lambda x, a=first, n=reach: x[a:a + n])
            if reach < rows:
                self.dropped.append((
                    f"{rows - reach} of {rows} rows of {weight.origin}",
                    f"inputs beyond {max_size[0]}x{max_size[1]} (--max-size)", [weight.origin]))

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
        return sum(int(np.prod(spec.form.natural)) for spec in tensors(self.description))
