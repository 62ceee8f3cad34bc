"""The tensors of a checkpoint, with an account of which were used, dropped or left over."""

import re

import numpy as np

from ..canonical import Weight
from ..records import Refused

FLOATING = ("float32", "float64", "float16", "bfloat16")


class Source:
    def __init__(self, tensors):
        self.left = dict(tensors)
        self.dropped = []               # (what, reason, names)
        self.groups = set()             # every name up to one of its dots
        for name in tensors:
            parts = name.split(".")[:16]
            self.groups.update(".".join(parts[:n]) for n in range(1, len(parts)))

    def __contains__(self, name):
        return name in self.left

    def count(self, group):
        """How many of group(0), group(1), ... there are before the first that is missing."""
        n = 0
        while group(n) in self.groups:
            n += 1
        return n

    def shape(self, name, dimensions):
        if name not in self.left:
            raise Refused(f"{name} is missing")
        shape = self.left[name].shape
        if len(shape) != dimensions or 0 in shape:
            raise Refused(f"{name} has shape {list(shape)}, not {dimensions} dimensions")
        return shape

    def numbers(self, name):
        """The numbers of a tensor that is only looked at."""
        return self.left[name].read()

    def take(self, name):
        if name not in self.left:
            raise Refused(f"{name} is missing")
        tensor = self.left.pop(name)
        if tensor.dtype not in FLOATING:
            raise Refused(f"{name} holds {tensor.dtype} numbers, not weights")

        def load():
            numbers = tensor.read()
            if not np.isfinite(numbers).all():
                raise Refused(f"{name} holds numbers that are not finite")
            return numbers

        return Weight(tensor.shape, load, name)

    def drop(self, what, reason):
        """Leaves out the tensors whose whole names match `what`, in which * stands for anything."""
        pattern = re.escape(what).replace(r"\*", ".*")
        names = [name for name in self.left if re.fullmatch(pattern, name)]
        for name in names:
            del self.left[name]
        if names:
            self.dropped.append((what, reason, names))

    def finish(self):
        """Refuses tensors that nothing used: a model that has them is not the one recognised."""
        if self.left:
            names = sorted(self.left)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise Refused("tensors that the recognised model does not have: "
                          + ", ".join(names[:3]) + more)
