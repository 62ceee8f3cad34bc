"""Number types smaller than float32: which tensors get one, how, and what that loses.

f16 is IEEE's half precision. s8 is a whole number from -127 to 127 a weight and one float32 scale
an output, symmetric: swin.h makes the rows that they meet whole numbers, too, and sums exactly.
"""

import re

import numpy as np

from .forms import F16, F32, S8
from .records import need
from .values import enumerate_names

NAMES = {F32: "f32", F16: "f16", S8: "s8"}
DTYPES = {F32: np.dtype("<f4"), F16: np.dtype("<f2"), S8: np.dtype("i1")}

S8_MOST = 127
S8_INPUTS = 131072              # of an output at most: more products might not fit 32 bits
S8_SMALLEST = 2.0 ** -100       # an output whose weights are smaller is zero, as rows are in swin.h
S8_FACTORS = [1 - step / 100 for step in range(21)]     # of the scale that fits the largest weight
F16_LARGEST = float(np.finfo("f2").max)
BLOCK = 1 << 14                 # weights that are rounded at a time: they stay in the caches


# Rounding -----------------------------------------------------------------------------------------

def quantise(matrix):
    """(whole numbers, int8 [outputs, inputs]; scales, float32 [outputs]) of a float32 matrix.

    An output's scale is its largest weight / 127 times the factor of S8_FACTORS with the least sum
    of squared errors."""
    whole = np.empty(matrix.shape, np.int8)
    scales = np.empty(len(matrix), np.float32)
    for rows in row_blocks(matrix):
        exact = matrix[rows].astype(np.float64)
        scales[rows] = best_scales(exact)
        whole[rows] = round_rows(exact, scales[rows].astype(np.float64))
    return whole, scales


def row_blocks(matrix):
    """Slices of a matrix's rows, some BLOCK numbers each."""
    step = max(1, BLOCK // matrix.shape[1])
    return [slice(first, first + step) for first in range(0, len(matrix), step)]


def best_scales(rows):
    largest = np.abs(rows).max(1)
    largest[largest < S8_SMALLEST] = 0
    least, best = np.full(len(rows), np.inf), np.zeros(len(rows))
    for factor in S8_FACTORS:
        scales = (largest / S8_MOST * factor).astype(np.float32).astype(np.float64)
        error = round_rows(rows, scales)
        error *= scales[:, None]
        error -= rows
        error = np.square(error, out=error).sum(1)
        better = error < least
        least[better], best[better] = error[better], scales[better]
    return best


def round_rows(rows, scales):
    """The whole numbers that scales make of rows, ties to even; zeros for a scale of 0."""
    whole = rows / np.where(scales > 0, scales, np.inf)[:, None]
    np.rint(whole, out=whole)
    np.minimum(whole, S8_MOST, out=whole)
    return np.maximum(whole, -S8_MOST, out=whole)


def dequantise(whole, scales):
    """The float32 matrix that such numbers stand for."""
    return whole.astype(np.float32) * scales[:, None]


def encode(matrix, type_):
    """(numbers, scales or None) of a float32 matrix in a number type."""
    return quantise(matrix) if type_ == S8 else (matrix.astype(DTYPES[type_], copy=False), None)


def relative_error(matrix, numbers, scales):
    """The rms error of encoded numbers, divided by the rms of the matrix that they stand for."""
    error = square = 0.0
    for rows in row_blocks(matrix):
        exact = matrix[rows].astype(np.float64)
        kept = numbers[rows] if scales is None else dequantise(numbers[rows], scales[rows])
        error += np.square(kept - exact).sum()
        square += np.square(exact).sum()
    return float(np.sqrt(error / square)) if square else 0.0


# Choosing -----------------------------------------------------------------------------------------

def choose(model, type_, keep):
    """Gives a model's tensors the number type, or f16 where they cannot have s8, or leaves them.

    keep: names of layers, or what such names begin with, that stay float32. Remarks tell what stays
    float32 unasked."""
    specs = model.specs
    kept = kept_names(specs, keep)
    candidates = [spec for spec in specs if F16 in spec.form.types]
    for spec in candidates:
        if spec.name not in kept:
            smaller = type_ if type_ in spec.form.types else F16
            obstacle = find_obstacle(model, spec, smaller)
            if obstacle:
                model.remarks.append(f"{spec.layer} stays float32: {obstacle}")
            else:
                model.types[spec.name] = smaller
    need(any(type_ == chosen for chosen in model.types.values()),
         f"no layer is left that could be {NAMES[type_]}"
         + f" (--keep {','.join(keep)})" * bool(keep))


def kept_names(specs, keep):
    """Names of the tensors that `keep` names, where * stands for any text; a name ends where a word
    or a number of a tensor's name does: stage1 is none of stage10, lateral all of lateral0, ..."""
    found = set()
    for wanted in keep:
        end = r"(\.|$)" if wanted[-1:].isdigit() else r"(\.|\d|$)"
        begin = ".*".join(map(re.escape, wanted.split("*")))
        names = [spec.name for spec in specs if re.match(begin + end, spec.name)]
        need(names, f"--keep {wanted} fits no layer; there are "
                    + enumerate_names([spec.layer for spec in specs if S8 in spec.form.types], 6))
        found.update(names)
    return found


def find_obstacle(model, spec, type_):
    """Why a tensor cannot have a number type, or None."""
    inputs = spec.form.shape[1]
    if type_ == S8 and inputs > S8_INPUTS:
        return f"its {inputs} inputs are more than the {S8_INPUTS} whose sums fit 32 bits"
    if type_ == F16:
        largest = float(np.abs(model.matrix(spec)).max())
        if largest > F16_LARGEST:
            return f"{largest:g} is among its weights, and f16 ends at {F16_LARGEST:g}"
    return None
