#!/usr/bin/env python3
"""Makes a .swin model for swin.h from a checkpoint of a Swin or GLAM model.

    convert.py CHECKPOINT -o MODEL.swin [options]
    convert.py --info FILE          prints what a checkpoint or a .swin model holds

CHECKPOINT: a PyTorch file (zip or legacy), safetensors, an index of shards, or a folder of one,
with the config.json and preprocessor_config.json of Hugging Face or timm.
Needs Python 3.9 and NumPy 1.19. Nothing in a checkpoint is executed, and what is not known is
refused.
Exit codes: 0 done, 1 refused or unreadable, 2 wrong usage.
"""

import argparse
import math
import os
import re
import sys

import require

require.python("convert.py", 3, 9)
require.package("convert.py", "numpy", "NumPy", debian="python3-numpy", oldest=(1, 19))
from swinblob import blob, checkpoint, classes, families, records               # noqa: E402
from swinblob.heads import HEADS, head_features                                 # noqa: E402
from swinblob.records import (Body, Filter, Head, Input, Mode, Refused, Resize,  # noqa: E402
                              Shift)


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
    notes = parser.add_argument_group("notes that travel with the model")
    notes.add_argument("--name")
    notes.add_argument("--licence", metavar="TEXT")
    notes.add_argument("--source", metavar="TEXT")
    notes.add_argument("--note", action="append", default=[], type=typed(note, "KEY=TEXT"),
                       metavar="KEY=TEXT")
    options = parser.parse_args(arguments)
    if not options.info and not options.output:
        parser.error("-o MODEL.swin is missing")
    return options


# Converting ---------------------------------------------------------------------------------------

def convert(options):
    source = checkpoint.read(options.checkpoint, options.entry)
    check_output(options.output, [*source.files, options.classes, options.palette])
    model = families.read(source, options)
    model.trim_tokens(options.max_size or (2048, 2048), required=options.max_size is not None)
    apply_preprocessing(model.description, options)
    classes.apply(model, options)
    apply_notes(model, options)
    size = blob.write(options.output, model, progress)
    print_summary(source, model, options.output, size)


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
    given = {"name": options.name or stem, "source": options.source, "licence": options.licence,
             "converted_from": model.family}
    model.notes = {key: text for key, text in {**given, **model.notes, **dict(options.note)}.items()
                   if text}


def progress(specs):
    """The specs, with a bar on a terminal where tqdm is installed."""
    if not sys.stderr.isatty():
        return specs
    try:
        from tqdm import tqdm
    except ImportError:
        return specs
    return tqdm(specs, desc="packing", unit="tensor", leave=False)


# Printing -----------------------------------------------------------------------------------------

def row(label, text):
    print(f"{label:<11}{printable(text)}")


def describe_model(d):
    def listed(name):
        return " ".join(map(str, d[name]))

    def sides(name):
        rows, columns = d[name + "_h"], d[name + "_w"]
        return listed(name + "_h") if rows == columns else " ".join(
            f"{h}x{w}" for h, w in zip(rows, columns))

    tokens = f", {d['tokens']} global token{'s'[:d['tokens'] > 1]} a window" if d["tokens"] else ""
    body = {Body.BACKBONE: "Swin", Body.UNET: "Swin-Unet",
            Body.CROSS_UNET: "Swin-Unet with cross-attention upsampling"}[d["body"]]
    row("backbone", f"{body} V{d['version']}: widths {listed('width')}, depths {listed('depth')}, "
                    f"heads {listed('heads')}, windows {sides('window')}, shifts {sides('shift')}"
                    f"{tokens}")
    rules = [{Shift.SQUARE: "no shift where a side of the map is the window",
              Shift.PER_AXIS: "no shift along an axis of one window"}.get(d["shift_rule"]),
             "the shift comes before the padding" if d["roll_before_pad"] else None,
             f"mask {d['mask']:g}" if d["mask"] != -100 else None,
             f"eps {d['eps']:g}" if abs(d["eps"] / 1e-5 - 1) > 1e-6 else None]
    if any(rules):
        row("rules", ", ".join(filter(None, rules)))
    row("head", "none: features only" if d["head"] == Head.NONE
        else f"{describe_head(d)}, {d['classes']} classes")


def describe_head(d):
    """A head, the features that it reads, and what else of its fields is not zero."""
    parts = [HEADS[d["head"]].name]
    if d["head_inputs"]:
        parts.append("features " + " ".join(map(str, head_features(d))))
    for field in records.HEAD.fields:
        text = re.sub("( 0)+$", "", field.text(d[field.key]))
        if field.type == "count" and text != "0":
            parts.append(f"{field.name.replace('_', ' ')} {text}")
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
    row("input", f"{order}, {numbers}; {resize}")
    sizes = {Input.PAD: None, Input.FLOOR: "what fills no patch is left out",
             Input.EXACT: f"{d['input_h']}x{d['input_w']} only" if d["input_h"]
             else f"whole patches of {d['patch']} only"}[d["input_rule"]]
    mode = {Mode.WHOLE: None,
            Mode.SLIDE: f"sliding window of {d['crop_h']}x{d['crop_w']}, stride "
                        f"{d['stride_h']}x{d['stride_w']}",
            Mode.CENTRE: f"the centre {d['crop_h']}x{d['crop_w']}"}[d["mode"]]
    if sizes or mode:
        row("sizes", "; ".join(filter(None, (mode, sizes))))


def print_summary(source, model, path, size):
    d = model.description
    row("read", " in ".join([source.container, *source.wrappers[::-1]]) + ": " + model.family)
    describe_model(d)
    describe_input(d)
    for what, reason, names in model.dropped:
        row("dropped", f"{what}{f' ({len(names)} tensors)' if len(names) > 1 else ''}: {reason}")
    if source.others:
        row("not taken", checkpoint.enumerate_names(source.others))
    for remark in source.remarks + model.remarks:
        row("note", remark)
    row("wrote", f"{path}: {model.parameters:,} parameters, {size / 2 ** 20:.1f} MiB")


def print_info(path, entry=None):
    magic = b""
    if os.path.isfile(path):
        with open(path, "rb") as file:
            magic = file.read(len(blob.MAGIC))
    if magic == blob.MAGIC:
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
        layout = blob.LAYOUT_NAMES[spec.form.layout]
        shape = "x".join(map(str, spec.form.shape))
        print(f"  {model.offsets[spec.name]:>10}  f32 {layout:<6}  {shape:<14} {spec.name}")


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
