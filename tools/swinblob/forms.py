"""The forms of tensors: how what PyTorch stores, the *natural* form, becomes the matrix of a blob.

Each form names the number types that its tensors may have: f32, f16, and s8, which is 8 bits and
one scale an output. Layers here yield the specs of their tensors, in the order of the blob.
"""

import re

import numpy as np

LANES = 16                  # outputs of a panel; rows and head widths are rounded up to it
PLAIN, ROWS, PANELS, QUADS = range(4)
F32, F16, S8 = 0, 1, 3      # number types


def round_up(n, multiple):
    return -(-n // multiple) * multiple


class Vector:
    """[n] <-> one row."""

    layout, types = ROWS, (F32,)

    def __init__(self, n):
        self.natural, self.shape = (n,), (1, n)

    def pack(self, x):
        return x[None]

    def unpack(self, m):
        return m[0]


class Matrix:
    """[rows, columns], as it is: a layer's weights, or in rows a table that is added."""

    def __init__(self, rows, columns, layout=PANELS):
        self.natural = self.shape = (rows, columns)
        self.layout, self.types = layout, (F32, F16, S8) if layout == PANELS else (F32, F16)

    def pack(self, x):
        return x

    def unpack(self, m):
        return m


class Convolution:
    """[outputs, inputs, k, k] <-> [outputs, k * k * inputs], input channels fastest."""

    layout, types = PANELS, (F32, F16, S8)

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
        self.types = (F32, F16, S8) if layout == PANELS else (F32,)
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

    layout, types = PLAIN, (F32,)

    def __init__(self, wh, ww, heads):
        self.shape = (heads, 2 * wh - 1, 2 * ww - 1)
        self.natural = (self.shape[1] * self.shape[2], heads)

    def pack(self, x):
        return x[::-1].T.reshape(self.shape)

    def unpack(self, m):
        return m.reshape(self.shape[0], -1).T[::-1]


class PatchEmbedding(Convolution):
    """The convolution that reads the picture: its weights are few, and float32 in every blob."""

    types = (F32,)


class Gate(Convolution):
    """A convolution of one output, which scales what it reads: float32 in every blob."""

    types = (F32,)

    def __init__(self, inputs):
        super().__init__(1, inputs, 1)


class Depthwise:
    """[n, 1, 3, 3], a filter a channel <-> [9, n], a row a tap."""

    layout, types = ROWS, (F32,)

    def __init__(self, n):
        self.natural, self.shape = (n, 1, 3, 3), (9, n)

    def pack(self, x):
        return x.reshape(-1, 9).T

    def unpack(self, m):
        return m.T.reshape(self.natural)


class FloatConvolution(Convolution):
    """One whose inputs are no rows of 8 bits."""

    types = (F32, F16)


class SplitConvolution(FloatConvolution):
    """One of a wide kernel as a sum of 3 x 3 convolutions of one map, each shifted by three pixels
    more: [outputs, inputs, k, k] <-> [outputs, 9 * parts * parts * inputs], tap by tap the inputs
    of all parts."""

    def __init__(self, outputs, inputs, k):
        super().__init__(outputs, inputs, k)
        self.parts = -(-k // 3)
        self.shape = (outputs, 9 * self.parts ** 2 * inputs)

    def pack(self, x):
        n, more = self.parts, 3 * self.parts - x.shape[2]
        x = np.pad(x, [(0, 0), (0, 0), (0, more), (0, more)])
        return x.reshape(*x.shape[:2], n, 3, n, 3).transpose(0, 3, 5, 2, 4, 1).reshape(self.shape)

    def unpack(self, m):
        outputs, inputs, k, _ = self.natural
        n = self.parts
        x = m.reshape(outputs, 3, 3, n, n, inputs).transpose(0, 5, 3, 1, 4, 2)
        return x.reshape(outputs, inputs, 3 * n, 3 * n)[:, :, :k, :k]


class ExactConvolution(Convolution):
    """One of few weights, whose outputs add up to logits: float32 in every blob."""

    types = (F32,)


class Spec:
    """One tensor of a blob: its name, form and number type, one of the form's."""

    def __init__(self, name, form, type_=F32):
        self.name, self.form, self.type = name, form, type_

    @property
    def shape(self):
        return (*self.form.shape, 1, 1, 1)[:4]

    @property
    def layout(self):
        return QUADS if self.type == S8 else self.form.layout

    @property
    def layer(self):
        """The name without .weight, .bias and the like; a table's own name."""
        return re.sub(r"\.(weight|bias|scale)$", "", self.name)

    def of_type(self, type_):
        return Spec(self.name, self.form, type_)

    def scale(self):
        """What follows weights of 8 bits: a factor for each output."""
        return Spec(self.layer + ".scale", Vector(self.form.shape[0]))


# Layers -------------------------------------------------------------------------------------------

def linear(name, outputs, inputs, bias=True):
    yield Spec(name + ".weight", Matrix(outputs, inputs))
    if bias:
        yield Spec(name + ".bias", Vector(outputs))


def convolution(name, outputs, inputs, k, form=Convolution):
    yield Spec(name + ".weight", form(outputs, inputs, k))
    yield Spec(name + ".bias", Vector(outputs))


def gate(name, inputs):
    yield Spec(name + ".weight", Gate(inputs))
    yield Spec(name + ".bias", Vector(1))


def norm(name, n):
    yield Spec(name + ".weight", Vector(n))
    yield Spec(name + ".bias", Vector(n))


def heads_in(name, parts, outputs, inputs, heads, query, bias=True):
    """A linear layer whose outputs are the heads' queries, keys or values."""
    yield Spec(name + ".weight", Heads((outputs, inputs), 0, parts, heads, PANELS, query))
    if bias:
        yield Spec(name + ".bias", Heads((outputs,), 0, parts, heads, ROWS, query))


def heads_out(name, outputs, inputs, heads):
    """A linear layer whose inputs are the heads' values."""
    yield Spec(name + ".weight", Heads((outputs, inputs), 1, 1, heads, PANELS))
    yield Spec(name + ".bias", Vector(outputs))
