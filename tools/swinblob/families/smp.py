"""segmentation_models_pytorch (SMP), 0.4 and later: decoders over timm's Swin (tu-swin_*,
tu-swin_s3_*, tu-swinv2_*), as state dicts, Lightning files and folders of save_pretrained."""

import re

from . import timm
from .asking import ask
from .names import renamer
from .reader import Reader
from ..canonical import BATCH_NORM_EPS, Weight, fold_batch_norm, stage_count, tensors
from ..heads import GROUPS
from ..records import Corners, Head, Input, Refused

import numpy as np

FAMILY = "segmentation_models_pytorch"
BLOCK = "encoder.model.layers_0.blocks.0.attn."
CLASSIFY = "segmentation_head.0"
POOL_SCALES = [1, 2, 3, 6]
STRIDE = 4                      # of the finest feature, by which decoders but Unet enlarge logits
EXACT_EPS = 1e-6                # of the norms that UPerNet puts before its decoder
TAKEN = "UPerNet from 0.5 on, FPN, Segformer and Unet are"
ENCODER = renamer([*timm.RULES, (r"^layers\.(\d+)", r"layers_\1")])
DROPPED = (("classification_head.*", "an output on the side (aux_params)"),)


def recognise(names):
    return all(any(re.search(rf"(^|\.){part}\.", name) for name in names)
               for part in ("encoder", "decoder", "segmentation_head"))


def recognised(names):
    return f"{decoder_of(names)[0]} of {FAMILY}"


def decoder_of(names):
    """A decoder's name, and its class below or None."""
    return next(((name, kind) for name, key, kind in DECODERS
                 if any(re.search(key, tensor) for tensor in names)),
                ("an unknown decoder", None))


def read(checkpoint, options):
    name, decoder = decoder_of(checkpoint.tensors)
    if not decoder:
        raise Refused(f"this is {name} of {FAMILY}, which this version does not take ({TAKEN})")
    if not any(tensor.startswith(BLOCK) for tensor in checkpoint.tensors):
        raise Refused(f"this is {name} of {FAMILY} over an encoder that is no Swin of timm (tu-swin"
                      "_*, tu-swin_s3_* and tu-swinv2_* are taken)")
    reader = Reader(checkpoint, options, f"{name} of {FAMILY}", spell)
    config = Config(checkpoint.config)
    reader.describe_layers()
    reader.d.update(input_rule=Input.EXACT, roll_before_pad=1)
    config.fit(reader.d)
    grid = windows(reader, config)
    decoder(reader, config).read()
    describe_sizes(reader, config, grid, name)
    normalise(reader, checkpoint.outside)
    return reader.finish(DROPPED)


def spell(canonical):
    """From canonical names to SMP's, but for decoders."""
    norm = re.match(r"stage(\d+)\.norm\.", canonical)
    if norm:
        return f"decoder.feature_norms.{norm[1]}.{canonical[norm.end():]}"
    return "encoder.model." + ENCODER(canonical)


# Encoders -----------------------------------------------------------------------------------------

class Config(timm.Config):
    """SMP's config.json; what is not SMP's own goes to timm as it stands there."""

    def __init__(self, config):
        encoder = str(config.get("encoder_name", ""))
        self.smp = config
        super().__init__({"architecture": re.sub("^tu-", "", encoder),
                          "model_args": dict(config)})
        self.dynamic = bool(config.get("dynamic_img_size")) or (
            config.get("strict_img_size") is False)
        self.always = bool(self.arguments.pop("always_partition", False))

    def fit(self, d):
        """Cuts what is told of each stage to the stages that encoder_depth leaves; refuses what
        speaks of another model."""
        self.stages = stage_count(d)
        for key in ("depths", "num_heads", "pretrained_window_sizes"):
            if isinstance(self.arguments.get(key), list):
                self.arguments[key] = self.arguments[key][:self.stages]
        window = self.arguments.get("window_size")
        if isinstance(window, list):            # two numbers are the sides of all stages' windows
            self.arguments["window_size"] = [window] if len(window) == 2 else window[:self.stages]
        self.check(d, None)

    @property
    def pretrained_windows(self):
        told = super().pretrained_windows
        return told and told[:self.stages]

    def choice(self, key, usual, known):
        """What stands under a key, which must be one of `known`."""
        told = self.smp.get(key, usual)
        if told not in known:
            raise Refused(f"config.json says that {key} is {str(told)[:40]!r}; "
                          f"{' and '.join(map(repr, known))} are known")
        return told

    @property
    def batch_norm_eps(self):
        for key in ("decoder_use_norm", "decoder_use_batchnorm"):
            told = self.smp.get(key)
            kind = told.get("type") if isinstance(told, dict) else told
            if kind not in (None, True, False, "batchnorm", "identity"):
                raise Refused(f"config.json says that {key} is {str(kind)[:40]!r}, which this "
                              "version does not take (batchnorm and identity are)")
            if isinstance(told, dict) and "eps" in told:
                eps = told["eps"]
                if not isinstance(eps, (int, float)) or not 0 < eps < 1:
                    raise Refused(f"config.json says that the eps of {key} is {str(eps)[:40]!r}")
                return float(eps)
        return BATCH_NORM_EPS


def windows(reader, config):
    """Windows and shifts; the grid of stage 0 that the model was built for."""
    if not config.always:
        return timm.describe_windows(reader, config)
    size = reader.option("image_size") or config.image_size
    if not size:
        raise ask("nothing tells the image size of this model", "--image-size HxW")
    told = config.window if reader.d["version"] == 2 else None
    for i in range(stage_count(reader.d)):
        sides = told[i % len(told)] if told else reader.square_window(i)
        window = tuple(sides) if isinstance(sides, list) else (sides,) * 2
        reader.set_window(i, window, tuple(side // 2 for side in window))
    return timm.grid_of(reader.d, size)


def describe_sizes(reader, config, grid, decoder):
    """The inputs that the source takes: the one that it was built for, or all whole patches, and
    for every decoder but Unet whole pixels of the coarsest feature."""
    d = reader.d
    size = [side * d["patch"] for side in grid]
    multiple = min(32, 2 ** (stage_count(d) + 1))
    if d["head"] != Head.SMP_UNET:
        d["input_multiple"] = multiple
        if not config.dynamic and any(side % multiple for side in size):
            raise Refused(f"an image of {size[0]}x{size[1]}, which this model was built for, is "
                          f"refused by SMP's {decoder}: its sides are no multiples of {multiple} "
                          "(--image-size)")
    if not config.dynamic:
        d["input_h"], d["input_w"] = size


def normalise(reader, outside):
    """The normalisation that a Lightning module keeps in buffers beside the model."""
    for key, option, factor in (("mean", "mean", lambda x: list(x)),
                                ("std", "scale", lambda x: [1 / n for n in x])):
        tensor = next((tensor for name, tensor in outside.items()
                       if name.rpartition(".")[2] == key and tensor.shape == (1, 3, 1, 1)), None)
        numbers = None if tensor is None else tensor.read().reshape(-1).astype(float)
        if numbers is None or not np.isfinite(numbers).all() or key == "std" and min(numbers) <= 0:
            continue
        small = max(abs(numbers)) <= 1
        told = [float(n) * (255 if small else 1) for n in numbers]
        reader.d[option] = factor(told)
        if small:
            shown = ",".join(f"{n:.6g}" for n in numbers)
            reader.model.remarks.append(
                f"the file's {key} {shown} is taken to be of pixels 0..1; where training applied "
                f"it to pixels 0..255, --{key} {shown} says so")


# Decoders -----------------------------------------------------------------------------------------

class Decoder:
    """Describes a decoder by its shapes and takes its weights.

    modules(): by canonical name, what a layer is called, and how it is stored: "cbr" (a convolution
    and the norm of decoder_use_norm), "batchnorm" (and BatchNorm, whatever the config says),
    "layer" (weight and bias) or "bare" (a weight alone)."""

    def __init__(self, reader, config):
        self.reader, self.config, self.source, self.d = reader, config, reader.source, reader.d
        self.levels = stage_count(self.d)

    def read(self):
        self.describe_classes()
        self.describe()
        modules, weights = self.modules(), self.reader.model.weights
        for spec in tensors(self.d):
            module, _, part = spec.name.rpartition(".")
            if module in modules and part == "weight":
                weight, bias = self.take(*modules[module])
                weights[module + ".weight"], weights[module + ".bias"] = weight, bias

    def describe_classes(self):
        outputs, self.channels, *_ = self.source.shape(CLASSIFY + ".weight", 4)
        self.d["classes"] = outputs
        self.d["head_inputs"] = (1 << self.levels) - 1
        if outputs == 1:
            threshold = self.reader.option("threshold")
            self.reader.threshold = 0.5 if threshold is None else threshold
            self.d["classes"] = 2
        elif self.config.smp.get("activation") == "sigmoid":
            raise Refused(f"config.json sets activation to sigmoid for {outputs} classes: they do "
                          "not exclude each other, and a pixel may have several")

    def describe_enlargement(self):
        """How the source enlarges the logits, which it makes at the finest feature's size."""
        upsampling = self.config.choice("upsampling", STRIDE, (1, STRIDE))
        self.d["corner_rule"] = Corners.ALIGNED if upsampling > 1 else Corners.HALF_PIXEL
        if upsampling == 1:
            self.reader.model.remarks.append(
                "config.json says that upsampling is 1: the source gives logits of a quarter of "
                "the picture's size, which are resized bilinearly here")

    def interpolation(self):
        return int(self.config.choice("decoder_interpolation", "nearest",
                                      ("nearest", "bilinear")) == "bilinear")

    def width(self, name):
        return self.source.shape(name + ".weight", 4)[0]

    # Taking

    def take(self, module, form):
        if form in ("cbr", "batchnorm"):
            return self.convolution(module, self.config.batch_norm_eps if form == "cbr"
                                    else BATCH_NORM_EPS)
        weight = self.source.take(module + ".weight")
        if form == "bare":
            return weight, zeros(weight)
        if len(weight.shape) == 2:
            weight = weight.map((*weight.shape, 1, 1), lambda x: x[:, :, None, None])
        return weight, self.source.take(module + ".bias")

    def convolution(self, module, eps):
        """Weight and bias of a convolution, with the BatchNorm after it where there is one."""
        weight = self.source.take(module + ".0.weight")
        norm = module + ".1."
        if norm + "weight" not in self.source:
            return weight, self.source.take(module + ".0.bias")
        if norm + "running_var" not in self.source:
            raise Refused(f"{norm}weight belongs to a norm without running statistics "
                          "(InstanceNorm), which this version does not take")
        parts = [self.source.take(norm + part)
                 for part in ("weight", "bias", "running_mean", "running_var")]
        for part in parts:
            if part.shape != weight.shape[:1]:
                raise Refused(f"{part.origin} has shape {list(part.shape)} where {weight.origin} "
                              f"has {list(weight.shape)}")
        return fold_batch_norm(weight, None, *parts, eps)


def zeros(weight):
    return Weight(weight.shape[:1], lambda: np.zeros(weight.shape[:1]), weight.origin)


class UPerNet(Decoder):
    def describe(self):
        self.describe_enlargement()
        every = (1 << self.levels) - 1
        self.d.update(head=Head.UPER, head_channels=self.channels, pool_count=len(POOL_SCALES),
                      feature_norms=every, feature_eps=EXACT_EPS)
        self.d["pool_scale"][:len(POOL_SCALES)] = POOL_SCALES

    def modules(self):
        last = self.levels - 2                  # SMP counts from the coarsest lateral
        modules = {"head.bottleneck": ("decoder.psp.out_conv", "batchnorm"),
                   "head.fuse": ("decoder.fusion_block", "cbr"),
                   "head.classify": (CLASSIFY, "layer")}
        for p in range(len(POOL_SCALES)):
            modules[f"head.pool{p}"] = (f"decoder.psp.blocks.{p}.1", "cbr")
        for l in range(self.levels - 1):
            lateral = f"decoder.fpn_lateral_blocks.{last - l}.conv_norm_relu"
            modules[f"head.lateral{l}"] = (lateral, "cbr")
            modules[f"head.fpn{l}"] = (f"decoder.fpn_conv_blocks.{last - l}", "cbr")
        return modules


class Segformer(Decoder):
    def describe(self):
        self.describe_enlargement()
        self.d.update(head=Head.GLAM_SEGFORMER, head_channels=self.channels)

    def modules(self):
        modules = {f"head.lateral{l}": (f"decoder.mlp_stage.{self.levels - 1 - l}.linear", "layer")
                   for l in range(self.levels)}
        return {**modules, "head.fuse": ("decoder.fuse_stage", "batchnorm"),
                "head.classify": (CLASSIFY, "layer")}

    def take(self, module, form):
        weight, bias = super().take(module, form)
        if module != "decoder.fuse_stage":
            return weight, bias
        if len(weight.shape) != 4 or weight.shape[1] % self.levels:
            raise Refused(f"{weight.origin} has shape {list(weight.shape)} for {self.levels} "
                          "levels")
        return weight.map(weight.shape, lambda x: x.reshape(    # read coarse to fine
            len(x), self.levels, -1, *x.shape[2:])[:, ::-1].reshape(x.shape)), bias


class Fpn(Decoder):
    CONVS = (1, 1, 2, 3)                        # of each level, finest first

    def describe(self):
        d = self.d
        if self.levels != len(self.CONVS):
            raise Refused(f"SMP's FPN over {self.levels} stages: it runs with encoder_depth 5 only")
        d.update(head=Head.SMP_FPN, align_corners=1, neck_channels=self.width("decoder.p5"),
                 head_channels=self.width("decoder.seg_blocks.0.block.0.block.0"),
                 decoder_bilinear=self.interpolation())
        d["decoder_concat"] = int(self.channels != d["head_channels"])
        d["neck_convs"][:self.levels] = self.CONVS
        if d["head_channels"] % GROUPS:
            raise Refused(f"decoder.seg_blocks have {d['head_channels']} channels, which make no "
                          f"{GROUPS} groups")
        self.describe_enlargement()

    def modules(self):
        modules = {"neck.lateral3": ("decoder.p5", "layer"), "head.classify": (CLASSIFY, "layer")}
        for l, convs in enumerate(self.CONVS):
            if l + 1 < self.levels:
                modules[f"neck.lateral{l}"] = (f"decoder.p{l + 2}.skip_conv", "layer")
            for n in range(convs):
                block = f"decoder.seg_blocks.{self.levels - 1 - l}.block.{n}.block"
                modules[f"head.scale{l}.conv{n}"] = (block + ".0", "bare")
                modules[f"head.scale{l}.norm{n}"] = (block + ".1", "layer")
        return modules


class Unet(Decoder):
    def describe(self):
        d, blocks = self.d, self.levels + 1
        widths = [self.width(f"decoder.blocks.{i}.conv1.0") for i in range(blocks)]
        attention = "decoder.blocks.{}.attention1.*"
        d.update(head=Head.SMP_UNET, head_channels=widths[-1],
                 decoder_bilinear=self.interpolation(),
                 decoder_scse=int("decoder.blocks.0.attention2.attention" in self.source.groups))
        d["decoder_width"][:blocks] = widths
        self.source.drop(attention.format(self.levels), "the last block has no skip to attend to")

    def modules(self):
        modules = {"head.classify": (CLASSIFY, "layer")}
        for i in range(self.levels + 1):
            ours, theirs = f"head.block{i}.", f"decoder.blocks.{i}."
            for n in "12":
                attention = f"{theirs}attention{n}.attention."
                modules[f"{ours}conv{n}"] = (f"{theirs}conv{n}", "cbr")
                modules[f"{ours}attend{n}.reduce"] = (attention + "cSE.1", "layer")
                modules[f"{ours}attend{n}.restore"] = (attention + "cSE.3", "layer")
                modules[f"{ours}attend{n}.pixel"] = (attention + "sSE.0", "layer")
        return modules


# Names, keys that only they have, and who reads them; the first that fits counts
DECODERS = tuple((name, r"(^|\.)" + key, kind) for name, key, kind in (
    ("UPerNet", r"decoder\.feature_norms\.0\.weight$", UPerNet),
    ("UPerNet of SMP 0.4, another network,", r"decoder\.fpn_stages\.0\.skip_conv\.", None),
    ("FPN", r"decoder\.seg_blocks\.0\.block\.0\.block\.0\.weight$", Fpn),
    ("Segformer", r"decoder\.mlp_stage\.0\.linear\.weight$", Segformer),
    ("MAnet", r"decoder\.center\.top_conv\.weight$", None),
    ("PSPNet", r"decoder\.psp\.blocks\.0\.pool\.", None),
    ("PAN", r"decoder\.fpa\.branch1\.", None),
    ("Unet++", r"decoder\.blocks\.x_0_0\.conv1\.", None),
    ("Linknet", r"decoder\.blocks\.0\.block\.1\.0\.weight$", None),
    ("DPT", r"decoder\.reassemble_blocks\.", None),
    ("DeepLabV3", r"decoder\.(aspp\.|0\.convs\.)", None),
    ("Unet", r"decoder\.blocks\.0\.conv1\.0\.weight$", Unet)))
