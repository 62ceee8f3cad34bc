"""What a file of a stranger turns into: tensors, stand-ins for all that is no data, and errors."""


class CheckpointError(Exception):
    """A file that cannot be read; the message names what is wrong with it."""


class Tensor:
    """A tensor in a file: shape, PyTorch's name of its number type, and how to read it."""

    def __init__(self, shape, dtype, load):
        self.shape, self.dtype, self.load = tuple(shape), dtype, load

    def read(self):
        """The numbers; 16-bit ones as float32."""
        numbers = self.load()
        if self.dtype == "bfloat16":
            return (numbers.astype("<u4") << 16).view("<f4")
        return numbers.astype("<f4") if self.dtype == "float16" else numbers


class Symbol:
    """The name of a class or function that a pickle mentions: never looked up."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __str__(self):
        return f"{self.module}.{self.name}"[:120]


class Inert:
    """Stands for an object that a pickle would have made by calling something."""

    def __init__(self, made_by):
        self.made_by = made_by

    def __str__(self):
        return f"an object of {describe(self.made_by)}"[:160]


def describe(value):
    """A few words on any object of a pickle, however large or recursive."""
    if isinstance(value, str):
        return repr(value[:40])
    return str(value) if isinstance(value, (Symbol, Inert)) else "a " + type(value).__name__


def enumerate_names(names, limit=4):
    names = [str(name)[:80] for name in names]
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
