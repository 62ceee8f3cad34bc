"""Mean IoU of class maps against labels.

    segment --ids -o PRED -m weights/street.swin camvid/test/*.jpg
    python3 tools/miou.py --pred PRED --labels camvid/test --classes 11 --confusion confusion.png

Both folders hold 8- or 16-bit grey PNGs whose pixels are class indices; NAME.png, NAME.ids.png and
NAME.label.png belong together. Label 255 is ignored. Counts are summed over all pictures before any
ratio is taken, as is usual for this measure.
"""

import argparse
import sys
from pathlib import Path

import require

require.python("miou.py", 3, 9)
require.package("miou.py", "numpy", "NumPy", "python3-numpy")
require.package("miou.py", "PIL", "Pillow", "python3-pil", pip="pillow")
import numpy as np                                                              # noqa: E402
from PIL import Image, ImageDraw                                                # noqa: E402

IGNORE = 255


def confusion_matrix(predicted, labels, classes):
    """Pixel counts [true class, predicted class] over the pixels that are not ignored."""
    scored = labels != IGNORE
    pairs = labels[scored].astype(np.int64) * classes + predicted[scored]
    return np.bincount(pairs, minlength=classes ** 2).reshape(classes, classes)


def class_iou(confusion):
    """IoU of each class; NaN for a class that is neither in the labels nor predicted."""
    hits = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hits
    return np.divide(hits, union, out=np.full(len(hits), np.nan), where=union > 0)


def table(confusion, names):
    """The report, as text."""
    iou = class_iou(confusion)
    pixels = confusion.sum(1)
    hits = np.diag(confusion)
    width = max(map(len, names))
    lines = [f"{'class':{width}}     IoU  recall  share of pixels"]
    for k, name in enumerate(names):
        recall = hits[k] / pixels[k] if pixels[k] else np.nan
        share = pixels[k] / pixels.sum()
        lines.append(f"{name:{width}}  {iou[k]:6.4f}  {recall:6.4f}  {share:.4f}")
    lines.append(f"mean IoU {np.nanmean(iou):.4f}   pixel accuracy {hits.sum() / pixels.sum():.4f}")
    return "\n".join(lines)


def confusion_picture(confusion, names, cell=44, margin=110):
    """Rows: true class, columns: predicted class, each row in per cent of its pixels."""
    side = margin + cell * len(names)
    picture = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(picture)
    shares = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    for t, name in enumerate(names):
        middle = margin + cell * t + cell // 2
        draw.text((margin - 6, middle), name, "black", anchor="rm")
        draw.text((middle, margin - 6 - t % 2 * 14), name, "black", anchor="mb")
        for p, share in enumerate(shares[t]):
            x, y = margin + cell * p, margin + cell * t
            shade = round(255 * (1 - share))
            fill = (shade, 255 - (255 - shade) // 3, shade) if t == p else (255, shade, shade)
            draw.rectangle((x, y, x + cell - 2, y + cell - 2), fill)
            draw.text((x + cell // 2, y + cell // 2), f"{100 * share:.0f}", "black", anchor="mm")
    draw.text((6, 6), "rows: label, columns: prediction,\nper cent of the label's pixels", "black")
    return picture


def class_maps(folder):
    """{name: path} of the class maps in a folder."""
    def name(path):
        return path.stem.removesuffix(".label").removesuffix(".ids")

    return {name(path): path for path in sorted(Path(folder).glob("*.png"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pred", required=True, metavar="DIR", help="predicted class indices")
    parser.add_argument("--labels", required=True, metavar="DIR", help="true class indices")
    parser.add_argument("--classes", required=True, type=int, metavar="N")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="class names in order")
    parser.add_argument("--confusion", metavar="PNG", help="write a confusion picture")
    arguments = parser.parse_args()

    names = arguments.names or [str(k) for k in range(arguments.classes)]
    if len(names) != arguments.classes:
        parser.error(f"{len(names)} names for {arguments.classes} classes")
    labels, predictions = class_maps(arguments.labels), class_maps(arguments.pred)
    missing = sorted(labels.keys() - predictions.keys())
    if not labels or missing:
        sys.exit(f"miou: no prediction for {missing[0]} ({len(missing)} of {len(labels)} missing)"
                 if missing else f"miou: no labels in {arguments.labels}")

    confusion = np.zeros((arguments.classes,) * 2, np.int64)
    for name, path in labels.items():
        label, predicted = (np.asarray(Image.open(p)) for p in (path, predictions[name]))
        if label.ndim != 2 or label.shape != predicted.shape:
            sys.exit(f"miou: {name}: label {label.shape}, prediction {predicted.shape}")
        for kind, values in (("label", label[label != IGNORE]), ("prediction", predicted)):
            if values.size and values.max() >= arguments.classes:
                sys.exit(f"miou: {name}: {kind} holds class {values.max()}")
        confusion += confusion_matrix(predicted, label, arguments.classes)
    print(table(confusion, names))
    print(f"{len(labels)} pictures")
    if arguments.confusion:
        confusion_picture(confusion, names).save(arguments.confusion)


if __name__ == "__main__":
    main()
