#!/usr/bin/env python3
"""Makes a .swin model for swin.h from a checkpoint of a Swin or GLAM model.

    convert.py CHECKPOINT -o MODEL.swin [options]
    convert.py CHECKPOINT --int8 -o SMALLER.swin        a quarter of the size, or half with --f16
    convert.py --info FILE          prints what a checkpoint or a .swin model holds

CHECKPOINT: a PyTorch file (zip or legacy), safetensors, an index of shards, or a folder of one,
with the config.json and preprocessor_config.json of Hugging Face or timm; for --int8 and --f16 also
a .swin model of float32.
Needs Python 3.9 and NumPy 1.19. Nothing in a checkpoint is executed, and what is not known is
refused.
Exit codes: 0 done, 1 refused or unreadable, 2 wrong usage.
"""

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile

import require

require.python("convert.py", 3, 9)
require.package("convert.py", "numpy", "NumPy", debian="python3-numpy", oldest=(1, 19))
from swinblob import (blob, canonical, checkpoint, classes, families,           # noqa: E402
                      number_types, records)
from swinblob.forms import F16, F32, S8                                         # noqa: E402
from swinblob.heads import HEADS, PIXELS, head_features                         # noqa: E402
from swinblob.families import queries, things                                   # noqa: E402
from swinblob.records import (Body, Corners, Filter, Head, Input, Mode, Refused,  # noqa: E402
                              Resize, Scores, Segments, Shift)


MODES = [mode.name.lower() for mode in Mode]
# Endings of names that promise what is not written
OTHER_FORMATS = (".pth", ".pt", ".ckpt", ".pkl", ".safetensors", ".onnx", ".gguf", ".tflite",
                 ".json", ".yaml", ".txt", ".npy", ".npz", ".tar", ".zip", ".gz", ".png", ".jpg")


def parse_arguments(arguments):
    def counts(text):
        values = [int(n) for n in text.split(",")]
        if min(values) < 1:
            raise ValueError
        return values

    def count(text):
        value, = counts(text)
        return value

    def size(text):
        height, width = (int(n) for n in re.fullmatch(r"(\d+)x(\d+)", text).groups())
        if not (0 < height <= records.MAX_SIDE and 0 < width <= records.MAX_SIDE):
            raise ValueError
        return height, width

    def side(text):
        value = int(text)
        if not 0 < value <= records.MAX_SIDE:
            raise ValueError
        return value

    def windows(text):
        values = [int(n) for n in text.split(",")]
        if not all(0 <= n <= 64 for n in values):
            raise ValueError
        return values

    def triple(text):
        values = [float(n) for n in text.split(",")]
        if len(values) != 3 or not all(abs(n) < 1e6 for n in values):
            raise ValueError
        return values

    def positive_triple(text):
        values = triple(text)
        if min(values) < 1e-6:
            raise ValueError
        return values

    def share(text):
        value = float(text)
        if not 0.001 <= value <= 0.999:
            raise ValueError
        return value

    def thousandths(text):
        value = float(text)
        if not 0 <= value <= 1:
            raise ValueError
        return round(1000 * value)

    def names(text):
        values = text.split(",")
        if not all(values):
            raise ValueError
        return values

    def note(text):
        key, text = re.fullmatch(r"([A-Za-z0-9_.-]+)=(.*)", text, re.DOTALL).groups()
        return key, text

    def typed(function, what):
        def convert(text):
            try:
                return function(text)
            except (ValueError, AttributeError):
                raise argparse.ArgumentTypeError(f"{text!r} is not {what}") from None
        return convert

    parser = argparse.ArgumentParser(
        prog="convert.py", description=__doc__.partition("\n\n")[0],
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=__doc__.split("\n\n", 2)[2])
    parser.add_argument("checkpoint", metavar="CHECKPOINT")
    parser.add_argument("-o", "--output", metavar="MODEL.swin")
    parser.add_argument("--info", action="store_true", help="print what a file holds")
    parser.add_argument("--entry", metavar="NAME",
                        help="what holds the model, where a checkpoint has several: the name of "
                             "an entry, such as state_dict or net.weights, or what its tensors' "
                             "names begin with")
    tell = parser.add_argument_group("what weights cannot tell")
    tell.add_argument("--pool-scales", type=typed(counts, "a list such as 1,2,3,6"),
                      metavar="1,2,3,6", help="bins of UPerHead's pools")
    tell.add_argument("--align-corners", action=argparse.BooleanOptionalAction, default=None,
                      help="how the head resizes (default: as the config text says, else no)")
    tell.add_argument("--heads", type=typed(counts, "a list such as 3,6,12,24"), metavar="3,6,...",
                      help="attention heads a stage; bias tables tell them, so this only checks")
    tell.add_argument("--image-size", type=typed(size, "a size such as 224x224"), metavar="HxW",
                      help="the size a model was built for (official code, timm, Swin V2, Unets)")
    tell.add_argument("--window", type=typed(counts, "a window or a list of them"),
                      metavar="N[,...]", help="the configured windows (Swin V2)")
    tell.add_argument("--pretrained-windows", type=typed(windows, "a list such as 12,12,12,6"),
                      metavar="N,...", help="windows of the pretraining, 0: none (Swin V2)")
    tell.add_argument("--threshold", type=typed(share, "a number between 0 and 1"), metavar="P",
                      help="a head of one output: two classes, the second where its sigmoid "
                           "exceeds P")
    tell.add_argument("--decoder-heads", type=typed(count, "a number above 0"), metavar="N",
                      help="attention heads of MaskFormer's and Mask2Former's decoders")
    tell.add_argument("--task", choices=list(queries.TASKS),
                      help="what OneFormer is asked for (default: semantic)")
    tell.add_argument("--scores", choices=[score.name[len("AT_"):].lower() for score in Scores],
                      help="MaskFormer and its kin: where masks become probabilities (default: as "
                           "the source does it); input: at the input's size, as in the papers")
    tell.add_argument("--segments", choices=[*queries.SEGMENTS, "none"],
                      help="MaskFormer and Mask2Former: which results the model was trained for "
                           "(default: as its name or its number of classes says)")
    tell.add_argument("--things", type=typed(things.parse, "a data set, all, none or a list such "
                                             "as 0-79,90"), metavar="SET|LIST",
                      help="MaskFormer and its kin, trained for panoptic or instance results: "
                           f"which classes are things, of {', '.join(things.SETS)}, or numbers "
                           "such as 0-79,90, or all, or none")
    tell.add_argument("--object-score", type=typed(thousandths, "a number from 0 to 1"),
                      metavar="P", help="how sure a segment's query has to be of its class, or "
                                        "what an instance has to score (default: as the source "
                                        "says)")
    tell.add_argument("--overlap-share", type=typed(thousandths, "a number from 0 to 1"),
                      metavar="P", help="how much of a segment's mask other queries have to leave "
                                        "(default: as the source says)")
    tell.add_argument("--patch-order", choices=("rows", "columns"),
                      help="BiRefNet: how patches of the picture are stacked")
    rules = tell.add_mutually_exclusive_group()
    rules.add_argument("--backbone", dest="rules", action="store_const", const="backbone",
                       help="Hugging Face Swin: windows shift as in SwinBackbone, always")
    rules.add_argument("--model", dest="rules", action="store_const", const="model",
                       help="Hugging Face Swin: windows shift as in SwinModel")
    tell.add_argument("--max-size", type=typed(size, "a size such as 1024x2048"), metavar="HxW",
                      help="GLAM: keep positions for inputs up to this size "
                           "(default 2048x2048, or what the table reaches)")
    tell.add_argument("--classes", metavar="FILE",
                      help=f"names of the classes, one a line; or {', '.join(classes.BUILT_IN)}")
    tell.add_argument("--palette", metavar="NAME|FILE",
                      help=f"colours (and names): {', '.join(classes.PALETTES)}, or a file with "
                           "'#rrggbb name' a line")
    pictures = parser.add_argument_group("how pictures become input")
    pictures.add_argument("--mean", type=typed(triple, "three numbers"), metavar="R,G,B",
                          help="of pixels 0..255, default 123.675,116.28,103.53")
    pictures.add_argument("--std", type=typed(positive_triple, "three positive numbers"),
                          metavar="R,G,B", help="default 58.395,57.12,57.375")
    pictures.add_argument("--bgr", action=argparse.BooleanOptionalAction, default=None,
                          help="the network's first plane is blue")
    pictures.add_argument("--size", type=typed(side, f"1..{records.MAX_SIDE}"), metavar="N",
                          help="pictures are resized to this longest side")
    pictures.add_argument("--mode", choices=MODES,
                          help="what the network sees: the whole picture, a sliding window, or the "
                               "centre of the resized picture (classifiers)")
    pictures.add_argument("--crop", type=typed(size, "a size such as 512x512"), metavar="HxW",
                          help="of the sliding window, or of the centre")
    pictures.add_argument("--stride", type=typed(size, "a size such as 341x341"), metavar="HxW",
                          help="of the sliding window, default two thirds of the crop")
    pictures.add_argument("--antialias", action="store_true",
                          help="shrinking averages what a pixel covers; without it, as in OpenCV, "
                               "it interpolates four pixels")
    smaller = parser.add_argument_group("smaller models")
    types = smaller.add_mutually_exclusive_group()
    types.add_argument("--int8", dest="type", action="store_const", const=S8,
                       help="layers in 8 bits, a scale an output; tables of positions in 16")
    types.add_argument("--f16", dest="type", action="store_const", const=F16,
                       help="layers and tables of positions in 16 bits")
    smaller.add_argument("--keep", type=typed(names, "a list such as head.classify,stage0"),
                         default=[], metavar="NAMES",
                         help="layers that stay float32: their names, or what these begin with; "
                              "* stands for any text: '*.attn.qkv'")
    smaller.add_argument("--check", nargs="+", metavar="PICTURE",
                         help="how many pixels change against float32 (and both mean IoUs, where "
                              "NAME.label.png lies beside NAME.jpg)")
    smaller.add_argument("--program", metavar="SEGMENT",
                         help="what --check and the model's self-test are computed with (default: "
                              "$SWIN_SEGMENT, or build/segment beside tools/)")
    notes = parser.add_argument_group("notes that travel with the model")
    notes.add_argument("--name")
    notes.add_argument("--licence", metavar="TEXT")
    notes.add_argument("--source", metavar="TEXT")
    notes.add_argument("--note", action="append", default=[], type=typed(note, "KEY=TEXT"),
                       metavar="KEY=TEXT")
    options = parser.parse_args(arguments)
    if not options.info and not options.output:
        parser.error("-o MODEL.swin is missing")
    for name in ("keep", "check", "program"):
        if getattr(options, name) and options.type is None:
            parser.error(f"--{name} goes with --int8 or --f16")
    return options


# Converting ---------------------------------------------------------------------------------------

def convert(options):
    program = find_program(options)
    source, model = read_model(options)
    apply_preprocessing(model.description, options)
    classes.apply(model, options)
    apply_notes(model, options)
    if options.type is not None:
        make_smaller(model, options)
    size, losses = blob.write(options.output, model, progress)
    print_summary(source, model, options.output, size)
    if options.type is not None:
        print_losses(model, losses)
        row("self-test", record_reference(model, options.output, program))
    if options.check:
        print_changes(model, options, program)


def read_model(options):
    """What the model is read from, and the model, where the output is none of the files read."""
    from_blob = is_blob(options.checkpoint)
    if from_blob:
        refuse_options_of_checkpoints(options)
    source = (SwinFile if from_blob else checkpoint.read)(options.checkpoint, options.entry)
    check_output(options.output, [*source.files, options.classes, options.palette,
                                  *(options.check or ())])
    if from_blob:
        return source, source.model
    model = families.read(source, options)
    model.trim_tokens(options.max_size or (2048, 2048), required=options.max_size is not None)
    return source, model


class SwinFile:
    """A .swin model of float32 in the place of a checkpoint."""

    container, wrappers, others, remarks = ".swin model", [], [], []

    def __init__(self, path, _):
        read = blob.read(path)
        smaller = next((spec for spec in read.specs if spec.type), None)
        if smaller:
            raise Refused(f"{smaller.name} is {number_types.NAMES[smaller.type]} already: give the "
                          "float32 model or the checkpoint")
        self.files, self.model = [path], blob.StoredModel(read)


def is_blob(path):
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(len(blob.MAGIC)) == blob.MAGIC


def refuse_options_of_checkpoints(options):
    if options.type is None:
        raise Refused("this is a .swin model already: --int8 or --f16 makes a smaller one of it, "
                      "--info prints what it holds")
    for name, option in (
            ("entry", "--entry"), ("pool_scales", "--pool-scales"),
            ("align_corners", "--align-corners"), ("heads", "--heads"),
            ("image_size", "--image-size"), ("window", "--window"),
            ("pretrained_windows", "--pretrained-windows"), ("threshold", "--threshold"),
            ("decoder_heads", "--decoder-heads"), ("task", "--task"), ("scores", "--scores"),
            ("segments", "--segments"), ("things", "--things"),
            ("object_score", "--object-score"), ("overlap_share", "--overlap-share"),
            ("patch_order", "--patch-order"),
            ("rules", "--" + str(options.rules)), ("max_size", "--max-size")):
        if getattr(options, name) is not None:
            raise Refused(f"{option} is about checkpoints, and this is a .swin model")


def check_output(output, inputs):
    """Refuses an output that is one of the inputs, by whatever name, or no file."""
    if output == "-":
        raise Refused("-o -: a model goes to a file, not to standard output; ./- is one")
    folder = os.path.dirname(os.path.realpath(output))
    if not os.path.isdir(folder):
        raise Refused(f"-o {output}: there is no folder {folder}")
    if os.path.exists(output) and not os.path.isfile(output):
        raise Refused(f"-o {output} is there and no regular file: give the name of one")
    for path in filter(None, inputs):
        if os.path.exists(output) and os.path.exists(path) and os.path.samefile(path, output):
            raise Refused(f"-o {output} would replace {path}, which the model is made from")
    if output.lower().endswith(OTHER_FORMATS):
        raise Refused(f"-o {output} promises another format: a model's name ends in .swin")


def apply_preprocessing(d, options):
    if options.mean:
        d["mean"] = options.mean
    if options.std:
        d["scale"] = [1 / s for s in options.std]
    if options.bgr is not None:
        d["bgr"] = int(options.bgr)
    if options.size:
        d.update(resize_rule=Resize.LONGEST, resize_a=options.size, resize_b=0)
    if options.antialias:
        d["resize_filter"] |= 1         # each filter's antialiased kind follows it
    apply_mode(d, options)


def apply_mode(d, options):
    mode = d["mode"] if options.mode is None else MODES.index(options.mode)
    if options.size and options.mode is None and mode == Mode.CENTRE:
        mode = Mode.WHOLE               # a longest side leaves no centre to take
    if options.crop:
        d["crop_h"], d["crop_w"] = options.crop
    if options.stride:
        d["stride_h"], d["stride_w"] = options.stride
    elif mode == Mode.SLIDE and (options.crop or mode != d["mode"]):
        d["stride_h"], d["stride_w"] = (max(1, 2 * d[crop] // 3) for crop in ("crop_h", "crop_w"))
    if mode != Mode.WHOLE and not d["crop_h"]:
        raise Refused(f"--mode {MODES[mode]} wants --crop HxW")
    for unwanted, options_name, words in (
            (mode == Mode.WHOLE, "crop", ("crop_h", "crop_w")),
            (mode != Mode.SLIDE, "stride", ("stride_h", "stride_w"))):
        if unwanted:
            if getattr(options, options_name):
                raise Refused(f"--{options_name} has no meaning in mode {MODES[mode]}: give --mode")
            d.update({word: 0 for word in words})
    d["mode"] = mode


def apply_notes(model, options):
    stem = os.path.splitext(os.path.basename(os.path.normpath(options.checkpoint)))[0]
    known = {"name": stem, "source": None, "licence": None, "converted_from": model.family}
    given = {"name": options.name, "source": options.source, "licence": options.licence}
    given = {key: text for key, text in given.items() if text}
    notes = {**known, **model.notes, **given, **dict(options.note)}
    model.notes = {key: text for key, text in notes.items() if text}


def progress(specs):
    """The specs, with a bar on a terminal where tqdm is installed."""
    if not sys.stderr.isatty():
        return specs
    try:
        from tqdm import tqdm
    except ImportError:
        return specs
    return tqdm(specs, desc="packing", unit="tensor", leave=False)


# Smaller models -----------------------------------------------------------------------------------

def make_smaller(model, options):
    """Gives the model its number types, the note that tells them, and no reference yet."""
    if options.check and not gives_pixels(model):
        raise Refused("--check compares maps of classes, and this model has none")
    number_types.choose(model, options.type, options.keep)
    model.notes["numbers"] = describe_numbers(model, options.keep)
    new = records.new_description()
    model.description.update({field.key: new[field.key] for field in records.REFERENCE.fields})


def gives_pixels(model):
    return HEADS[model.description["head"]].gives == PIXELS


def describe_numbers(model, keep):
    counts = dict.fromkeys((S8, F16, F32), 0)
    for spec in canonical.tensors(model.description):
        counts[model.types.get(spec.name, F32)] += math.prod(spec.form.natural)
    shares = [f"{number_types.NAMES[type_]} {100 * count / model.parameters:.3g} %"
              for type_, count in counts.items() if count]
    return (f"{', '.join(shares)} of {model.parameters:,} parameters"
            + f"; kept in f32: {', '.join(keep)}" * bool(keep))


def find_program(options):
    """The path of examples/segment.c's program, or None."""
    named = options.program or os.environ.get("SWIN_SEGMENT")
    folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    paths = [named] if named else [os.path.join(folder, "build", name)
                                   for name in ("segment", "segment.exe")]
    found = next((os.path.abspath(path) for path in paths if os.path.isfile(path)), None)
    if named and not found and options.type is not None:
        raise Refused(f"there is no program {named} (--program or SWIN_SEGMENT)")
    if options.check and not found:
        raise Refused("--check runs build/segment, which is not there: `make` builds it, or "
                      "--program names another")
    return found


def run_program(program, *arguments):
    """Its exit code, standard output and standard error; code 1 where it cannot be started."""
    try:
        done = subprocess.run([program, *arguments], stdin=subprocess.DEVNULL, capture_output=True)
    except OSError as error:
        return 1, "", str(error)
    return done.returncode, *(text.decode(errors="replace") for text in (done.stdout, done.stderr))


def record_reference(model, path, program):
    """Stores in the file at `path` what its self-test expects; says what came of it."""
    if not gives_pixels(model):
        return "none: only models that give maps of classes have one"
    if not program:
        return f"nothing is recorded yet: segment -m {path} --record does it"
    code, _, errors = run_program(program, "-m", path, "--record")
    if code:
        return f"nothing is recorded, as {program} failed: {errors.strip()}"
    return f"what segment --self-test compares with was recorded by {program}"


def print_changes(model, options, program):
    """Compares what was written with the same model in float32."""
    model.types = {}
    with tempfile.TemporaryDirectory() as folder:
        exact = os.path.join(folder, "f32.swin")
        blob.write(exact, model, progress)
        code, text, errors = run_program(program, "-m", options.output, "--against", exact, "--",
                                         *options.check)
    print()
    for line in text.splitlines():
        print(printable(line))
    if code:
        raise Refused(f"--check: {errors.strip() or f'{program} ended with {code}'}")


# Printing -----------------------------------------------------------------------------------------

def row(label, text):
    print(f"{label:<11}{printable(text)}")


def describe_model(d):
    stages = len(d["width"])

    def listed(name):
        return " ".join(map(str, d[name][:stages]))

    def sides(name):
        rows, columns = d[name + "_h"], d[name + "_w"]
        return listed(name + "_h") if rows == columns else " ".join(
            f"{h}x{w}" for h, w in zip(rows, columns))

    tokens = f", {d['tokens']} global token{'s'[:d['tokens'] > 1]} a window" if d["tokens"] else ""
    body = {Body.BACKBONE: f"Swin V{d['version']}", Body.UNET: "Swin-Unet V1",
            Body.CROSS_UNET: "Swin-Unet with cross-attention upsampling V1", Body.MIT: "MiT",
            Body.BIREFNET: "Swin V1 on two sizes of input"}
    inside = (f"reductions {listed('reduction')}" if d["body"] == Body.MIT
              else f"windows {sides('window')}, shifts {sides('shift')}{tokens}")
    row("backbone", f"{body[d['body']]}: widths {listed('width')}, depths {listed('depth')}, "
                    f"heads {listed('heads')}, {inside}")
    rules = [{Shift.SQUARE: "no shift where a side of the map is the window",
              Shift.PER_AXIS: "no shift along an axis of one window"}.get(d["shift_rule"]),
             "the shift comes before the padding" if d["roll_before_pad"] else None,
             f"mask {d['mask']:g}" if d["mask"] != -100 else None,
             f"eps {d['eps']:g}" if abs(d["eps"] / 1e-5 - 1) > 1e-6 else None,
             f"eps {d['feature_eps']:g} of the features' norms" if d["feature_eps"] else None,
             {Corners.ALIGNED: "logits resized with corners aligned",
              Corners.HALF_PIXEL: "logits resized by half-pixel centres"}.get(d["corner_rule"])]
    if any(rules):
        row("rules", ", ".join(filter(None, rules)))
    row("head", "none: features only" if d["head"] == Head.NONE
        else f"{describe_head(d)}, {d['classes']} classes"
             + " (the source's one, and its background)" * d["one_class"])


def describe_head(d):
    """A head, the features that it reads, and what else of its fields is not zero."""
    parts = [HEADS[d["head"]].name]
    if d["head_inputs"]:
        parts.append("features " + " ".join(map(str, head_features(d))))
    for field in (*records.HEAD.fields, *records.DECODER.fields):
        text = re.sub("( 0)+$", "", field.text(d[field.key]))
        if field.type == "count" and text != "0":
            parts.append(f"{field.key.replace('_', ' ')} {text}")
    if d["query_count"]:
        parts.append(f"{d['query_count']} queries of {d['query_width']} in {d['query_layers']} "
                     f"layers of {d['query_heads']} heads, scores "
                     + Scores(d["query_scores"]).name.lower().replace("_", " "))
    if d["segment_rule"]:
        count = sum(bin(bits).count("1") for bits in d["segment_things"])
        parts.append(f"segments by the rule {Segments(d['segment_rule']).name}, {count} classes "
                     "of things"
                     + f", at most {d['instance_most']}" * bool(d["instance_most"]))
    return ", ".join(parts)


def describe_input(d):
    order = "BGR" if d["bgr"] else "RGB"
    numbers = "mean {:.6g} {:.6g} {:.6g}, std {:.6g} {:.6g} {:.6g} (R, G, B)".format(
        *d["mean"], *(1 / s if s else math.inf for s in d["scale"]))
    resize = {
        Resize.NONE: "pictures keep their size",
        Resize.WITHIN: f"long side up to {d['resize_a']}, short side up to {d['resize_b']}",
        Resize.LONGEST: f"longest side {d['resize_a']}",
        Resize.SHORTEST: f"shortest side {d['resize_a']}",
        Resize.EXACT: f"{d['resize_a']} high, {d['resize_b']} wide"}[d["resize_rule"]]
    if d["resize_rule"] != Resize.NONE:
        resize += f" ({Filter(d['resize_filter']).name.lower().replace('_', ', ')})"
    if d["sides_multiple"]:
        resize += f", sides raised to multiples of {d['sides_multiple']}"
    if d["query_size_divisor"]:
        resize += f", zeros around to multiples of {d['query_size_divisor']}"
    row("input", f"{order}, {numbers}; {resize}")
    sizes = {Input.PAD: None, Input.FLOOR: "what fills no patch is left out",
             Input.EXACT: f"{d['input_h']}x{d['input_w']} only" if d["input_h"]
             else f"multiples of {d['input_multiple']} only" if d["input_multiple"]
             else f"whole patches of {d['patch']} only"}[d["input_rule"]]
    mode = {Mode.WHOLE: None,
            Mode.SLIDE: f"sliding window of {d['crop_h']}x{d['crop_w']}, stride "
                        f"{d['stride_h']}x{d['stride_w']}",
            Mode.CENTRE: f"the centre {d['crop_h']}x{d['crop_w']}"}[d["mode"]]
    if sizes or mode:
        row("sizes", "; ".join(filter(None, (mode, sizes))))


def print_summary(source, model, path, size):
    d = model.description
    row("read", " in ".join([source.container, *source.wrappers[::-1]])
        + (": " + model.family if model.family else ""))
    describe_model(d)
    describe_input(d)
    for what, reason, names in model.dropped:
        row("dropped", f"{what}{f' ({len(names)} tensors)' if len(names) > 1 else ''}: {reason}")
    if source.others:
        row("not taken", checkpoint.enumerate_names(source.others))
    for remark in source.remarks + model.remarks:
        row("note", remark)
    row("wrote", f"{path}: {model.parameters:,} parameters, {size / 2 ** 20:.1f} MiB")


def print_losses(model, losses):
    """A line for each layer that is not float32, then sums."""
    def line(name, types, bytes_, whole, loss):
        print(f"{name:<36} {types:<11} {bytes_ / 1024:>10.1f} "
              f"{100 * bytes_ / whole:>6.1f} % {loss}".rstrip())

    print(f"\n{'layer':<36} {'numbers':<11} {'KiB':>10} {'of f32':>8} {'rms error':>11}")
    sums, total = {}, [0, 0]
    for spec, bytes_ in layer_bytes(model):
        whole = blob.stored_bytes(spec.of_type(F32))
        entry = sums.setdefault(spec.type, [0, 0, 0])
        for sum_ in (entry, total):
            sum_[0] += bytes_
            sum_[1] += whole
        entry[2] += 1
        if spec.type != F32:
            line(spec.layer, number_types.NAMES[spec.type], bytes_, whole,
                 f"{100 * losses[spec.name]:>9.3g} %")
    for type_, (bytes_, whole, count) in sums.items():
        line(f"all {count} in {number_types.NAMES[type_]}", "", bytes_, whole, "")
    line("all", "", *total, "")
    print()


def layer_bytes(model):
    """(spec, bytes) of each tensor, those of 8 bits with their scales."""
    for spec in canonical.tensors(model.description):
        typed = spec.of_type(model.types.get(spec.name, F32))
        scales = blob.stored_bytes(typed.scale()) if typed.type == S8 else 0
        yield typed, blob.stored_bytes(typed) + scales


def print_info(path, entry=None):
    if is_blob(path):
        print_blob(path)
    else:
        print_checkpoint(path, entry)


def print_blob(path):
    model = blob.read(path)
    d = model.description
    print(f"{path}: a .swin model of version {blob.VERSION}, {len(model.data):,} bytes, sound")
    describe_model(d)
    describe_input(d)
    print("\nconfig")
    for record in records.RECORDS:
        for field in record.fields:
            print(f"  {record.name:<10} {field.name:<16} {field.text(d[field.key])}")
    print("\nnotes")
    for key, text in model.notes.items():
        print(f"  {key}: {printable(text)}")
    if model.class_names:
        print("\nclasses")
    for k, (name, color) in enumerate(zip(model.class_names, model.class_colors)):
        print(f"  {k:3}  #{bytes(color).hex()}  {printable(name)}")
    print("\ntensors")
    for spec in model.specs:
        type_, layout = number_types.NAMES[spec.type], blob.LAYOUT_NAMES[spec.layout]
        shape = "x".join(map(str, spec.form.shape))
        print(f"  {model.offsets[spec.name]:>10}  {type_} {layout:<6}  {shape:<14} {spec.name}")


def print_checkpoint(path, entry=None):
    source = checkpoint.read(path, entry)
    row("container", source.container)
    row("wrappers", " ".join(source.wrappers) or "none")
    row("others", checkpoint.enumerate_names(source.others, 20) or "none")
    row("model", families.recognised(source.tensors))
    for remark in source.remarks:
        row("note", remark)
    for name, told in (("config", source.config), ("pictures", source.preprocessor)):
        for key, value in told.items():
            row(name, f"{key}: {preview(value)}")
    for key, value in source.meta.items():
        row("meta", f"{key}: {preview(value)}")
    total = 0
    for name, tensor in source.tensors.items():
        numbers = 1
        for n in tensor.shape:
            numbers *= n
        total += numbers
        shape = "x".join(map(str, tensor.shape)) or "scalar"
        row("tensor", f"{tensor.dtype:<8} {shape:<14} {name}")
    row("numbers", f"{total:,} in {len(source.tensors)} tensors")


def preview(value, limit=200):
    """A short text for any value a pickle may hold."""
    if isinstance(value, str):
        return value if len(value) <= limit else f"{value[:limit]}... ({len(value)} characters)"
    if isinstance(value, (list, tuple)):
        names = [v for v in value[:8] if isinstance(v, str)]
        return f"{len(value)} entries" + (": " + ", ".join(n[:30] for n in names) if names else "")
    if isinstance(value, (bool, float, type(None))) or (
            isinstance(value, int) and value.bit_length() < 64):
        return str(value)
    return checkpoint.describe(value)


def printable(text):
    """Text without characters that could steer a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def main(arguments=None):
    options = parse_arguments(arguments)
    try:
        if options.info:
            print_info(options.checkpoint, options.entry)
        else:
            convert(options)
        sys.stdout.flush()
    except BrokenPipeError:             # whoever reads our output has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (checkpoint.CheckpointError, Refused, blob.BlobError, OSError) as error:
        return complain(options.checkpoint, str(error))
    except MemoryError:
        return complain(options.checkpoint, "not enough memory")
    except KeyboardInterrupt:
        return complain(options.checkpoint, "interrupted")
    return 0


def complain(path, text):
    print(printable(f"convert.py: {path}: {text}"), file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="replace")        # names in scripts that a terminal lacks
    sys.exit(main())
