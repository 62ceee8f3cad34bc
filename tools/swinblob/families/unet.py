"""Swin-Unet (HuCao's of one size, GLAM's of any), GLAM-Swin-Unet, and that with cross-attention
upsampling."""

from . import fixed_size, glam
from .asking import together
from .mmseg_config import UNETS, Told
from .names import AUTHORS, GLAM, prefixes, renamer
from .reader import MASKS, Reader
from ..canonical import stage_count, up_levels
from ..records import Body, Filter, Head, Refused, Resize

NOMINAL_SIZE = 512              # of GLAM's own configs
DROPPED = (
    MASKS,
    ("decode_head.conv_seg.*", "the Unet classifies by itself"),
    ("decode_head.patch_embed.*", "the decoder does not use it"),
    ("*.proj_shortcut.*", "the upsampling does not use it"),
    ("*layers_patch_expand.*", "the upsampling does not use it"),
    ("auxiliary_head.*", "serves training only"),
)
CROSS = r"layers_cross_attention_up.\1.blocks.0"


def recognise(names):
    return any("layers_up." in name for name in names)


def recognised(names):
    """The kind of Unet, for the user."""
    if not any("global_token" in name for name in names):
        return "Swin-Unet"
    cross = any("layers_cross_attention_up" in name for name in names)
    return "GLAM-Swin-Unet" + " with cross-attention upsampling" * cross


def names_of(stages, cross):
    """Names inside the network. A file counts the entries of the way up from the coarsest."""
    def entry(match):
        return f"up{stages - (2 if cross else 1) - int(match[1])}"

    def expand(match):
        u = int(match[1])
        return "layers_up.0" if u == 1 else f"layers_up.{u - 1}.upsample"

    rules = [(r"^up(\d+)", entry), (r"^up(\d+)\.concat", r"concat_back_dim.\1")]
    if cross:
        rules += [
            (r"^up(\d+)\.expand", CROSS + ".expand.expand"),
            (r"\.expand\.expand\.norm", r".expand.norm"),
            (r"^up(\d+)\.cross\.bias$", CROSS + ".attn.relative_position_bias_table"),
            (r"^up(\d+)\.cross\.(q|kv)\.", CROSS + r".attn.proj_\2."),
            (r"^up(\d+)\.cross\.proj", CROSS + ".attn.proj"),
            (r"^up(\d+)\.cross\.fc", CROSS + ".mlp.fc"),
            (r"^up(\d+)\.cross", CROSS)]
    else:
        rules += [(r"^up(\d+)\.expand\.norm", lambda m: expand(m) + ".norm"),
                  (r"^up(\d+)\.expand", lambda m: expand(m) + ".expand")]
    return renamer(rules + [
        (r"^up(\d+)\.tokens$", r"layers_up.\1.global_token"),
        (r"^up(\d+)\.token_position$", r"layers_up.\1.pe"),
        (r"^up(\d+)\.block(\d+)", r"layers_up.\1.blocks.\2"),
        (r"^final\.norm", r"norm_up"),
        (r"^final\.expand\.norm", r"up.norm"),
        (r"^final\.expand", r"up.expand"),
        (r"^head\.classify", r"output"),
        *GLAM, *AUTHORS])


def read(checkpoint, options):
    names = list(checkpoint.tensors)
    cross = any("layers_cross_attention_up" in name for name in names)
    split = any(name.startswith("decode_head.layers_up.") for name in names)
    prefix = "backbone." if split else "".join(prefixes(names, "norm_up")[:1])
    stages = 1 + len({name.split("concat_back_dim.")[1].split(".")[0] for name in names
                      if "concat_back_dim." in name})
    rename = names_of(stages, cross)

    def name(canonical):
        up = canonical.startswith(("up", "final.", "head."))
        return ("decode_head." if split and up else prefix) + rename(canonical)

    reader = Reader(checkpoint, options, recognised(names), name)
    d = reader.d
    reader.describe_layers()
    d.update(body=Body.CROSS_UNET if cross else Body.UNET, head=Head.UNET, final_norm=1)
    if stage_count(d) != stages:
        raise Refused(f"{stage_count(d)} stages down and {stages} up")
    if any("global_token" in name for name in names):
        glam.describe_tokens(reader)
    glams = prefix.startswith("backbone.")
    together(lambda: describe_classes(reader),
             lambda: read_glam(reader, Told(checkpoint.meta)) if glams else read_fixed(reader))
    if cross:
        take_cross_tables(reader)
    return reader.finish(DROPPED)


def describe_classes(reader):
    outputs, _, _, _ = reader.shape("head.classify.weight", 4)
    reader.d["classes"] = reader.classes(outputs, reader.name("head.classify.weight"))


def read_fixed(reader):
    """HuCao's, of one size; its pictures are slices of volumes, grey in 0..1."""
    d = reader.d
    reader.take_fixed_position(fixed_size.describe(reader))
    d.update(mean=[0.0] * 3, scale=[1 / 255] * 3, resize_rule=Resize.EXACT,
             resize_a=d["input_h"], resize_b=d["input_w"], resize_filter=Filter.BICUBIC,
             resize_round=0)
    reader.model.remarks.append("its authors resize by cubic splines; here it is bicubic")


def read_glam(reader, told):
    """GLAM's, of any size, with windows and shifts as the nominal size made them."""
    d = reader.d
    shifting = told.check_backbone(reader.model, UNETS)
    told.check_head(("SwinUNetDV2", "SwinUNetDecoder"))
    told.check_cross_attention()
    if reader.has("embed.position"):
        raise Refused(f"{reader.name('embed.position')}: GLAM's Unets do not run with absolute "
                      "positions")
    windows = [reader.square_window(i) for i in range(stage_count(d))]
    side = nominal_side(reader, told)
    for i, window in enumerate(windows):
        grid = side // d["patch"] >> i
        expected = min(windows[0], grid)
        if window != expected:
            raise Refused(f"stage {i} has windows of {window}, but a nominal size of {side} makes "
                          f"them {expected} (--image-size)")
        reader.set_window(i, (window,) * 2,
                          (window // 2 if shifting and grid > window else 0,) * 2)
    told.apply(reader.model, reader.options)


def nominal_side(reader, told):
    size, side = reader.option("image_size"), told.backbone.get("pretrain_img_size")
    if size:
        if size[0] != size[1]:
            raise Refused("--image-size: the nominal size of a Unet is square")
        return size[0]
    if type(side) is int and side > 0:
        return side
    reader.model.remarks.append(f"nothing tells the nominal size, which decides where windows "
                                f"shift: {NOMINAL_SIZE} is assumed (--image-size HxW)")
    return NOMINAL_SIZE


def take_cross_tables(reader):
    """Cross-attention's tables are made for 2w x 2w queries, but only the first rows are read."""
    d = reader.d
    for l in up_levels(d):
        name, w = f"up{l}.cross.bias", d["window_h"][l]
        table = reader.take(name)
        reader.expect_shape(table, ((4 * w - 1) ** 2, d["heads"][l]))
        if 2 * d["width"][l] % d["heads"][l]:
            raise Refused(f"{table.origin}: {d['heads'][l]} heads do not divide "
                          f"{2 * d['width'][l]} channels")
        rows = (2 * w - 1) ** 2
        reader.model.weights[name] = table.map((rows, d["heads"][l]), lambda x, n=rows: x[:n])
        reader.model.dropped.append((f"{table.shape[0] - rows} of {table.shape[0]} rows of "
                                     f"{table.origin}", "never read", [table.origin]))
