"""Models built for one image size: the authors' code and HuCao's Swin-Unet.

A stage whose grid is not larger than the window has that grid for a window and no shift. Blocks
that shift store their mask, unless all masks were taken out, as the authors advise for another
size."""

from math import isqrt

from .asking import Asked, ask
from ..canonical import stage_count
from ..records import Input, Refused

OPTION = "--image-size HxW"
# Questions
SIZE = ("nothing tells the image size that this model was built for, and with it which blocks "
        "shift their windows", [OPTION])
WINDOW = ("nothing tells the windows of this model", ["--window N"])


def describe(reader):
    """Windows, shifts and the one input size; the grid of stage 0."""
    d, stages = reader.d, range(stage_count(reader.d))
    windows, grid = [stored_window(reader, i) for i in stages], told_grid(reader)
    if any(windows):
        configured = max(filter(None, windows))
    elif reader.option("window"):
        configured = reader.option("window")[0]
    else:
        raise Asked([WINDOW] + [SIZE] * (not grid))
    grid = grid or stored_grid(reader, windows, configured)
    for i in stages:
        rows, columns = (side >> i for side in grid)
        if (rows << i, columns << i) != grid or not min(rows, columns):
            raise Refused(f"a grid of {grid[0]}x{grid[1]} patches cannot be halved {i} times, as "
                          "this model does (--image-size)")
        window = min(configured, rows, columns)
        shift = window // 2 if min(rows, columns) > window else 0
        if windows[i] not in (None, window):
            raise Refused(f"stage {i} has windows of {windows[i]}, but an image of "
                          f"{rows * d['patch'] << i}x{columns * d['patch'] << i} makes them "
                          f"{window} (--image-size)")
        check_mask(reader, i, shift, f"a grid of {rows}x{columns} and windows of {window}")
        reader.set_window(i, (window,) * 2, (shift,) * 2)
    d.update(input_rule=Input.EXACT, input_h=grid[0] * d["patch"], input_w=grid[1] * d["patch"])
    return grid


def check_mask(reader, i, shift, reason):
    """Compares a stage's shift with the mask that is stored or not. One that is missing beside
    others may have been taken out: a size that is told decides."""
    shifting, mask = shifts(reader, i), reader.name(f"stage{i}.block1.mask")
    if shifting and not shift:
        raise Refused(f"{mask} is there, but {reason} shift nothing (--image-size)")
    if shifting is False and shift:
        if not reader.options.image_size:
            raise ask(f"{mask} is missing, but {reason} shift, and nothing else tells the image "
                      "size where masks were taken out", OPTION)
        reader.model.remarks.append(f"{mask} is missing, but {reason} shift: --image-size decides")


def told_grid(reader):
    size = reader.option("image_size")
    if not size:
        return None
    patch = reader.d["patch"]
    if size[0] % patch or size[1] % patch:
        raise Refused(f"--image-size {size[0]}x{size[1]} is not whole patches of {patch}")
    return size[0] // patch, size[1] // patch


def stored_window(reader, i):
    """The window of stage i from what is stored, or None."""
    block = f"stage{i}.block0"
    if reader.d["version"] == 1:
        return reader.square_window(i)
    if reader.has(block + ".attn.index"):
        return isqrt(reader.shape(block + ".attn.index", 2)[0])
    if reader.has(block + ".attn.coordinates"):
        return (reader.shape(block + ".attn.coordinates", 4)[1] + 1) // 2
    mask = f"stage{i}.block1.mask"
    return isqrt(reader.shape(mask, 3)[1]) if reader.has(mask) else None


def shifts(reader, i):
    """Does stage i shift? None where nothing tells: where no mask is stored at all, too."""
    if reader.d["depth"][i] < 2 or not any(name.endswith("attn_mask")
                                           for name in reader.source.left):
        return None
    return reader.has(f"stage{i}.block1.mask")


def stored_grid(reader, windows, configured):
    """The grid of stage 0, which is square, as masks and shrunken windows tell."""
    found = {}
    for i, window in enumerate(windows):
        if shifts(reader, i):
            mask = f"stage{i}.block1.mask"
            count, rows, _ = reader.shape(mask, 3)
            side = isqrt(count * rows)
            if side * side != count * rows:
                raise ask(f"{reader.name(mask)} belongs to a grid of {count * rows} patches, "
                          "which is no square", OPTION)
            found[reader.name(mask)] = side << i
        elif window and (window < configured or shifts(reader, i) is False):
            found[f"the window of stage {i}"] = window << i
    if not found:
        raise Asked([SIZE])
    if len(set(found.values())) > 1:
        places = ", ".join(f"{side} by {what}" for what, side in found.items())
        raise ask(f"the sides of the first grid contradict each other ({places})", OPTION)
    return (next(iter(found.values())),) * 2
