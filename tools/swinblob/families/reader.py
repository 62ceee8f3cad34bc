"""What all families share: a backbone described by the shapes of its tensors, and their taking."""

from math import isqrt, log

import numpy as np

from .asking import ask
from .source import Source
from .swin_v2 import relative_positions
from ..canonical import Model, Weight, stage_count, tensors
from ..records import MAX_STAGES, Head, Position, Refused, new_description, new_stages

DROPPED = (
    ("*.relative_position_index", "follows from the window"),
    ("*.num_batches_tracked", "serves training only"),
)
COORDINATES = ("*.relative_coords_table", "follows from the window")
MASKS = ("*.attn_mask", "follows from the shift")
MAX_HIDDEN = 4096               # of Swin V2's MLP of positions, whose inputs are 16,129 at most


class Reader:
    """Maps the tensors of a checkpoint onto a canonical model.

    family: what it is, for the user; name: from canonical names (those of names.py too) to the
    checkpoint's."""

    def __init__(self, checkpoint, options, family, name):
        self.options, self.name = options, name
        self.source = Source(checkpoint.tensors)
        self.model = Model(new_description(), family)
        self.d = self.model.description
        self.pretrained = []                # windows that Swin V2's positions are relative to
        self.heard = set()                  # options that made a difference
        self.threshold = None               # of the one output that two classes are made of

    def option(self, name):
        """The value of an option that tells what weights cannot, or None."""
        self.heard.add(name)
        return getattr(self.options, name)

    def has(self, name):
        return self.name(name) in self.source

    def has_group(self, name):
        return self.name(name) in self.source.groups

    def shape(self, name, dimensions):
        return self.source.shape(self.name(name), dimensions)

    def take(self, name):
        return self.source.take(self.name(name))

    def blocks(self, i):
        """Names of stage i's blocks."""
        return [f"stage{i}.block{j}" for j in range(self.d["depth"][i])]

    # Describing

    def describe_layers(self):
        """Describes all that shapes and the presence of tensors tell, but windows."""
        d = self.d
        _, planes, patch, columns = self.shape("embed.weight", 4)
        if planes != 3 or patch != columns:
            raise Refused(f"{self.name('embed.weight')} takes {planes} planes and patches of "
                          f"{patch}x{columns}; only three planes and square patches are known")
        stages = self.source.count(lambda i: self.name(f"stage{i}.block0"))
        if not 1 <= stages <= MAX_STAGES:
            raise Refused(f"the backbone has {stages} stages, not 1 to {MAX_STAGES}")
        d.update(new_stages(stages), patch=patch)
        self.pretrained = [(0, 0)] * stages
        if any(name.endswith(".logit_scale") for name in self.source.left):
            d["version"] = 2
        for i in range(stages):
            d["depth"][i] = self.source.count(lambda j, i=i: self.name(f"stage{i}.block{j}"))
            first = f"stage{i}.block0"
            d["heads"][i] = (self.shape(first + ".attn.bias", 2)[1] if d["version"] == 1
                             else self.shape(first + ".attn.scale", 3)[0])
            d["hidden"][i], d["width"][i] = self.shape(first + ".mlp.fc1.weight", 2)
            if d["width"][i] % d["heads"][i]:
                raise Refused(f"stage {i}: {d['heads'][i]} heads do not divide "
                              f"{d['width'][i]} channels")
            d["merge_norm"] |= self.has_group(f"stage{i}.merge.norm")
            d["qkv_bias"] |= any(self.has(f"{block}.attn.{part}.bias")
                                 for block in self.blocks(i) for part in ("qkv", "q"))
        d["patch_norm"] = int(self.has_group("embed.norm"))
        heads = self.option("heads")
        if heads and heads != d["heads"]:
            raise Refused(f"--heads {heads} contradicts the bias tables' columns {d['heads']}")

    def describe_feature_norms(self):
        for i in range(stage_count(self.d)):
            if self.has_group(f"stage{i}.norm"):
                self.d["feature_norms"] |= 1 << i

    def table_rows(self, i):
        return self.shape(f"stage{i}.block0.attn.bias", 2)[0]

    def square_window(self, i):
        """The window of stage i, which is square, from the rows of its bias table."""
        rows = self.table_rows(i)
        side = isqrt(rows)
        if side * side != rows or side % 2 == 0:
            raise Refused(f"{self.name(f'stage{i}.block0.attn.bias')} has {rows} rows, which is no "
                          "square window's")
        return (side + 1) // 2

    def set_window(self, i, window, shift):
        """window, shift: (rows, columns) of stage i."""
        d = self.d
        d["window_h"][i], d["window_w"][i] = window
        d["shift_h"][i], d["shift_w"][i] = shift

    def describe_classifier(self):
        """Describes the linear layer after the last stage's mean, if there is one."""
        if self.has("head.classify.weight"):
            outputs, _ = self.shape("head.classify.weight", 2)
            classes = self.classes(outputs, self.name("head.classify.weight"))
            self.d.update(head=Head.CLASSIFIER, classes=classes,
                          head_inputs=1 << stage_count(self.d) - 1)

    def classes(self, outputs, origin, told=None):
        """The classes that a head of so many outputs tells apart; origin: the name of its weight;
        told: the threshold of a config.

        One output is no choice between classes: its sigmoid is compared with a threshold, which
        an option must give."""
        if outputs > 1:
            return outputs
        self.threshold = self.option("threshold")
        if self.threshold is None:
            value, source = (told, f"the config says {told}") if told else (
                0.5, "mmsegmentation's own default is 0.3")
            raise ask(f"{origin} has one output: a number, or one that is compared with a "
                      "threshold, but no choice between classes; a threshold makes two classes of "
                      f"it, the second where the output's sigmoid exceeds it ({source})",
                      f"--threshold {value:g}")
        return 2

    def add_background(self):
        """Makes two classes of one output: the first has the threshold for its logit, always."""
        self.d["one_class"] = int(self.d["head"] != Head.CLASSIFIER)
        logit = log(self.threshold / (1 - self.threshold))
        bias = self.model.weights.get("head.classify.bias")
        if logit and not bias:
            raise Refused(f"--threshold {self.threshold:g}: the classes of {self.model.family} "
                          "have no bias, which allows 0.5 only")
        for name, constant in (("head.classify.weight", 0), ("head.classify.bias", logit)):
            one = self.model.weights.get(name)
            if one:
                self.model.weights[name] = one.map(
                    (2, *one.shape[1:]),
                    lambda x, c=constant: np.concatenate([np.full_like(x, c), x]))
        if logit:
            self.model.remarks.append(f"confidences are those of the sigmoid, moved so that the "
                                      f"threshold {self.threshold:g} is one half")

    def take_fixed_position(self, grid=None):
        """The absolute position embedding [1, rows * columns, E], which fits one grid only."""
        if not self.has("embed.position"):
            return
        origin = self.name("embed.position")
        one, count, E = self.shape("embed.position", 3)
        rows, columns = grid or (isqrt(count),) * 2
        if one != 1 or rows * columns != count:
            raise Refused(f"{origin} has shape {[one, count, E]}, which is no "
                          f"{f'grid of {rows}x{columns}' if grid else 'square grid'}")
        self.d.update(position_h=rows, position_w=columns, position_rule=Position.FIXED)
        self.model.weights["embed.position"] = self.take("embed.position").map(
            (count, E), lambda x: x[0])

    # Taking

    def weight(self, name):
        """A weight in natural form, however the family stores it."""
        module, _, part = name.rpartition(".")
        if module.endswith(".qkv"):
            return self.qkv(module[:-len(".qkv")], part)
        if self.d["version"] == 2 and name.endswith(".attn.bias"):
            return self.position_bias(module)
        if name.endswith(".attn.scale"):
            scale, heads = self.take(name), self.d["heads"][stage_of(name)]
            self.expect_shape(scale, (heads, 1, 1))
            return scale.map((heads,), lambda x: np.exp(
                np.minimum(x.reshape(-1).astype(np.float64), log(100))))
        return self.take(name)

    def qkv(self, attention, part):
        """Queries, keys and values in one, as they are stored or apart; V2's keys have no bias."""
        without_keys = self.d["version"] == 2 and part == "bias"
        if self.has(f"{attention}.qkv.{part}"):
            whole = self.take(f"{attention}.qkv.{part}")
            return whole.map(whole.shape, clear_keys) if without_keys else whole
        names = [f"{attention}.{piece}.{part}" for piece in ("qv" if without_keys else "qkv")]
        if not any(map(self.has, names)):
            return self.take(f"{attention}.qkv.{part}")
        pieces = list(map(self.take, names))
        for piece in pieces:
            self.expect_shape(piece, pieces[0].shape)

        def join():
            numbers = [piece.load() for piece in pieces]
            if without_keys:
                numbers.insert(1, np.zeros_like(numbers[0]))
            return np.concatenate(numbers)

        C, *rest = pieces[0].shape or (1,)
        return Weight((3 * C, *rest), join, pieces[0].origin)

    def position_bias(self, attention):
        """Swin V2's continuous position bias as a table."""
        i = stage_of(attention)
        window = (self.d["window_h"][i], self.d["window_w"][i])
        first, bias, second = (self.take(f"{attention}.cpb.{part}")
                               for part in ("0.weight", "0.bias", "2.weight"))
        hidden = bias.shape[0] if bias.shape else 0
        if hidden > MAX_HIDDEN:
            raise Refused(f"{bias.origin} has {hidden} numbers, more than {MAX_HIDDEN}")
        self.expect_shape(bias, (hidden,))
        self.expect_shape(first, (hidden, 2))
        self.expect_shape(second, (self.d["heads"][i], hidden))
        wh, ww = window
        shape = ((2 * wh - 1) * (2 * ww - 1), self.d["heads"][i])

        def table():
            x = relative_positions(window, self.pretrained[i])
            x = np.maximum(x @ first.load().astype(np.float64).T + bias.load(), 0)
            with np.errstate(over="ignore"):
                return 16 / (1 + np.exp(-(x @ second.load().astype(np.float64).T)))

        return Weight(shape, table, first.origin)

    def expect_shape(self, weight, shape):
        if weight.shape != tuple(shape):
            raise Refused(f"{weight.origin} has shape {list(weight.shape)} where the rest of the "
                          f"model asks for {list(shape)}")

    def finish(self, dropped=()):
        """Takes all that is left to take; the model."""
        for what, reason in (*DROPPED, *dropped):
            self.source.drop(what, reason)
        for spec in tensors(self.d):
            if spec.name not in self.model.weights:
                self.model.weights[spec.name] = self.weight(spec.name)
        if self.threshold is not None:
            self.add_background()
        self.source.finish()
        self.model.dropped += self.source.dropped
        for option in ("image_size", "window", "pretrained_windows", "rules", "threshold",
                       "decoder_heads", "task", "scores", "segments", "things", "object_score",
                       "overlap_share", "patch_order"):
            if getattr(self.options, option) is not None and option not in self.heard:
                flag = self.options.rules if option == "rules" else option.replace("_", "-")
                self.model.remarks.append(f"--{flag} has no effect on this model")
        return self.model


def stage_of(name):
    return int(name.partition(".")[0][len("stage"):])


def clear_keys(bias):
    bias = bias.copy()
    third = len(bias) // 3
    bias[third:2 * third] = 0
    return bias
