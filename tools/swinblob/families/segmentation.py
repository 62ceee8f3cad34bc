"""What the mmseg families share: backbone and decode head, described by shapes and names.

A family gives a function from canonical names to the names in its files; everything is looked up
through it.
"""

from math import isqrt

from ..canonical import (FCNHEAD, MERGE_NORM, PATCH_NORM, POSITION, QKV_BIAS, UPERHEAD, Model,
                         Refused, fold_batch_norm, new_description, stage_width, tensors)
from .mmseg_config import Told
from .source import Source, renamer

DROPPED = (
    ("*.relative_position_index", "follows from the window"),
    ("*.num_batches_tracked", "serves training only"),
    ("auxiliary_head.*", "serves training only"),
)

HEAD_NAMES = renamer([
    (r"^head\.pool(\d+)", r"decode_head.psp_modules.\1.1"),
    (r"^head\.lateral(\d+)", r"decode_head.lateral_convs.\1"),
    (r"^head\.fpn(\d+)", r"decode_head.fpn_convs.\1"),
    (r"^head\.fuse", r"decode_head.fpn_bottleneck"),
    (r"^head\.conv(\d+)", r"decode_head.convs.\1"),
    (r"^head\.cat", r"decode_head.conv_cat"),
    (r"^head\.classify", r"decode_head.conv_seg"),
    (r"^head\.", r"decode_head."),
])

DEFAULT_POOL_SCALES = (1, 2, 3, 6)


def read(checkpoint, options, family, rename, prepare):
    """The model of a checkpoint.

    family: what it is, for the user; rename: from canonical names to those without the prefix
    `backbone.`; prepare(model, source, name): describes and takes what only the family has."""
    source, told = Source(checkpoint.tensors), Told(checkpoint.meta)
    prefix = "backbone." if "backbone" in source.groups else ""

    def name(canonical_name):
        return prefix + rename(canonical_name)

    model = Model(new_description(), family)
    describe_backbone(model.description, source, name, shifts=told.shifts)
    told.check_backbone(model)
    heads = model.description["heads"][:model.description["stages"]]
    if options.heads and options.heads != heads:
        raise Refused(f"--heads {options.heads} contradicts the bias tables' columns {heads}")
    prepare(model, source, name)
    if "decode_head" in source.groups:
        read_head(model, source, told, options)
    for what, reason in DROPPED:
        source.drop(what, reason)
    for spec in tensors(model.description):
        if spec.name not in model.weights:
            model.weights[spec.name] = source.take(name(spec.name))
    source.finish()
    model.dropped += source.dropped
    told.apply(model)
    return model


def describe_backbone(d, source, name, shifts):
    """Describes the backbone; shifts: whether odd blocks shift their windows."""
    E, planes, patch, width = source.shape(name("embed.weight"), 4)
    if planes != 3 or patch != width:
        raise Refused(f"{name('embed.weight')} takes {planes} planes and patches of "
                      f"{patch}x{width}; only three planes and square patches are known")
    stages = source.count(lambda i: name(f"stage{i}.block0"))
    if not 1 <= stages <= 4:
        raise Refused(f"the backbone has {stages} stages, not 1 to 4")
    d.update(patch=patch, width=E, stages=stages)
    for i in range(stages):
        table = name(f"stage{i}.block0.attn.bias")
        rows, heads = source.shape(table, 2)
        side = isqrt(rows)
        if side * side != rows or side % 2 == 0:
            raise Refused(f"{table} has {rows} rows, which is no square window's")
        window = (side + 1) // 2
        d["depth"][i] = source.count(lambda j, i=i: name(f"stage{i}.block{j}"))
        d["heads"][i] = heads
        d["window_h"][i] = d["window_w"][i] = window
        d["shift_h"][i] = d["shift_w"][i] = window // 2 if shifts else 0
        d["hidden"][i] = source.shape(name(f"stage{i}.block0.mlp.fc1.weight"), 2)[0]
        if name(f"stage{i}.norm") in source.groups:
            d["feature_norms"] |= 1 << i
        if name(f"stage{i}.merge.norm") in source.groups:
            d["flags"] |= MERGE_NORM
        if any(name(f"stage{i}.block{j}.attn.qkv.bias") in source for j in range(d["depth"][i])):
            d["flags"] |= QKV_BIAS
    if name("embed.norm") in source.groups:
        d["flags"] |= PATCH_NORM
    if name("embed.position") in source:
        d["flags"] |= POSITION
    if not d["feature_norms"]:
        raise Refused(f"{name('stage0.norm.weight')} and its like are missing: no stage output is "
                      "normalised as segmentation needs it (a classifier's backbone)")


def read_head(model, source, told, options):
    """Describes the decode head and takes its weights, BatchNorm folded in."""
    d = model.description
    classes, channels, _, _ = source.shape(HEAD_NAMES("head.classify.weight"), 4)
    d.update(classes=classes, head_channels=channels)
    if "decode_head.fpn_bottleneck" in source.groups:
        told.check_head("UPerHead")
        describe_uperhead(d, source, told, options)
    elif "decode_head.psp_modules" in source.groups:
        raise Refused("this is a segmentation model with PSPHead, which this version does not take")
    else:
        told.check_head("FCNHead")
        describe_fcnhead(d, source)
    if classes == 1:
        raise Refused(f"{HEAD_NAMES('head.classify.weight')} has one class: a thresholded output, "
                      "which is no choice between classes")
    d["align_corners"] = int(told.align_corners if options.align_corners is None
                             else options.align_corners)
    for spec in tensors(d):
        module, _, part = spec.name.rpartition(".")
        if not spec.name.startswith("head.") or part != "weight":
            continue
        if module == "head.classify":
            pair = [source.take(HEAD_NAMES(f"{module}.{part}")) for part in ("weight", "bias")]
        else:
            pair = take_conv_module(source, HEAD_NAMES(module), told.batch_norm_eps)
        model.weights[module + ".weight"], model.weights[module + ".bias"] = pair


def take_conv_module(source, module, eps):
    """Weight and bias of a convolution, with the BatchNorm after it where there is one."""
    weight, bias = module + ".conv.weight", module + ".conv.bias"
    if module + ".bn" not in source.groups:
        return source.take(weight), source.take(bias)
    norm = [source.take(f"{module}.bn.{part}")
            for part in ("weight", "bias", "running_mean", "running_var")]
    weight = source.take(weight)
    for part in norm:
        if part.shape != weight.shape[:1]:
            raise Refused(f"{part.origin} has shape {list(part.shape)} where {weight.origin} has "
                          f"{list(weight.shape)}")
    return fold_batch_norm(weight, source.take(bias) if bias in source else None, *norm, eps)


def head_inputs(d, widths, origins):
    """The set of features of these widths, as the bits of head_inputs."""
    known = {stage_width(d, i): i for i in range(d["stages"]) if d["feature_norms"] >> i & 1}
    picked = []
    for width, origin in zip(widths, origins):
        if width not in known:
            raise Refused(f"{origin} reads {width} channels, but the backbone's features have "
                          f"{list(known)}")
        picked.append(known[width])
    if picked != sorted(set(picked)):
        raise Refused(f"the head reads the features in the order {picked}; only a rising one is "
                      "known")
    return sum(1 << i for i in picked)


def describe_uperhead(d, source, told, options):
    laterals = source.count(lambda l: HEAD_NAMES(f"head.lateral{l}"))
    pools = source.count(lambda p: HEAD_NAMES(f"head.pool{p}"))
    origins = [HEAD_NAMES(f"head.{part}.conv.weight")
               for part in [f"lateral{l}" for l in range(laterals)] + ["pool0"]]
    d["head"] = UPERHEAD
    d["head_inputs"] = head_inputs(d, [source.shape(o, 4)[1] for o in origins], origins)
    scales = options.pool_scales or told.pool_scales
    if not scales and pools == len(DEFAULT_POOL_SCALES):
        scales = list(DEFAULT_POOL_SCALES)
    if not scales:
        raise Refused(f"the head has {pools} pools (decode_head.psp_modules), and nothing tells "
                      "their scales: give --pool-scales")
    if len(scales) != pools or pools > 8:
        raise Refused(f"{len(scales)} pool scales {scales} for {pools} pools "
                      "(decode_head.psp_modules; at most 8)")
    d["pool_count"] = pools
    d["pool_scale"][:pools] = scales


def describe_fcnhead(d, source):
    convs = source.count(lambda n: HEAD_NAMES(f"head.conv{n}"))
    concat = "decode_head.conv_cat" in source.groups
    width, kernel, origin = d["head_channels"], 1, HEAD_NAMES("head.classify.weight")
    if concat:
        origin = HEAD_NAMES("head.cat") + ".conv.weight"
        if not convs:
            raise Refused(f"{origin} stands without convolutions before it, which is not known")
    if convs:
        origin = HEAD_NAMES("head.conv0") + ".conv.weight"
        _, width, kernel, _ = source.shape(origin, 4)
    d.update(head=FCNHEAD, convs=convs, conv_kernel=kernel, conv_concat=int(concat),
             head_inputs=head_inputs(d, [width], [origin]))
