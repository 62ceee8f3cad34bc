"""How Hugging Face's image processors make inputs of pictures, by preprocessor_config.json.

What the file leaves out, or sets to null, is as the processor's class has it."""

import re

from . import pictures
from .hub_config import entries, number, pair, real, triple
from ..heads import HEADS, PIXELS
from ..records import Filter, Head, Resize

FILTERS = {2: Filter.BILINEAR_ANTIALIASED, 3: Filter.BICUBIC_ANTIALIASED}      # by PIL's codes
HALF = dict(image_mean=[0.5] * 3, image_std=[0.5] * 3)
IMAGENET = dict(image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
CLIP = dict(image_mean=[0.48145466, 0.4578275, 0.40821073],
            image_std=[0.26862954, 0.26130258, 0.27577711])
USUAL = dict(do_resize=True, do_rescale=True, rescale_factor=1 / 255, do_normalize=True,
             do_center_crop=False)
CENTRE = dict(USUAL, resample=3, do_center_crop=True, crop_size=224)
# Defaults by class, as far as known; a number for a size is a square or, in some, a shortest edge
CLASSES = {
    "ViT": dict(USUAL, **HALF, size=224, resample=2),
    "Beit": dict(USUAL, **HALF, size=224, resample=3, crop_size=224),
    "DeiT": dict(CENTRE, **HALF, size=256),
    "Bit": dict(CENTRE, **CLIP, size=224),
    "CLIP": dict(CENTRE, **CLIP, size=224),
    "ConvNext": dict(USUAL, **HALF, size=384, resample=3, crop_pct=224 / 256),
    "Segformer": dict(USUAL, **IMAGENET, size=512, resample=2),
    **{name: dict(USUAL, **IMAGENET, size=dict(shortest_edge=800, longest_edge=1333), resample=2,
                  size_divisor=divisor)
       for name, divisor in (("MaskFormer", 32), ("Mask2Former", 32), ("OneFormer", 0))},
}
QUERIES = ("MaskFormer", "Mask2Former", "OneFormer")    # classes with a way of their own to sizes
QUERY_HEADS = {Head.MASKFORMER: "MaskFormer", Head.MASK2FORMER: "Mask2Former",
               Head.ONEFORMER: "OneFormer"}
DIVISORS = ("size_divisor", "size_divisibility")        # the second is an older name
SHORTEST = ("Bit", "CLIP", "ConvNext")      # classes whose size of one number is a shortest edge
HARMLESS = ("do_convert_rgb", "do_reduce_labels", *USUAL)
# Other entries that change the input, where they are true or more than 1
CHANGING = ("size_divisor", "pad_size_divisor", "ensure_multiple_of", "keep_aspect_ratio",
            "rescale_offset", "offset", "pad_size")


def apply(model, told):
    Processor(model, told).apply()


class Processor:
    """Reads a preprocessor_config.json, `told`, into a model; any entry may be anything."""

    def __init__(self, model, told):
        self.d, self.remarks, self.told = model.description, model.remarks, told
        usual = QUERY_HEADS.get(self.d["head"]) or (
            "Segformer" if HEADS[self.d["head"]].gives == PIXELS else "ViT")
        name = told.get("image_processor_type") or told.get("feature_extractor_type") or usual
        self.kind = re.sub(r"(ImageProcessor(Fast|Pil)?|FeatureExtractor)$", "", str(name))
        self.defaults = CLASSES.get(self.kind, USUAL)

    def get(self, key):
        value = self.told.get(key)
        return self.defaults.get(key) if value is None else value

    def remark(self, text):
        self.remarks.append("preprocessor_config.json " + text)

    def apply(self):
        self.set_normalisation()
        if self.d["head"]:
            self.note_others()
            self.set_size()

    def set_normalisation(self):
        factor, mean, std = 1.0, [0.0] * 3, [1.0] * 3
        if self.get("do_rescale") is not False:
            factor = real(self.get("rescale_factor"), 1e-9, 1e9)
            if not factor:
                self.remark("has a rescale_factor that is no such number: it is 1/255 here")
                factor = 1 / 255
        if self.get("do_normalize") is not False:
            told = [self.get(key) for key in ("image_mean", "image_std")]
            told = [[n] * 3 if isinstance(n, (int, float)) else n for n in told]
            told = triple(told[0]), triple(told[1], 1e-6)
            if all(told):
                mean, std = told
            else:
                self.remark("does not tell an image_mean and image_std of three numbers: the mean "
                            "is 0 and std 1 here (--mean, --std)")
        self.d.update(mean=[n / factor for n in mean], scale=[factor / n for n in std])

    def note_others(self):
        """Remarks what changes the input and is not done, or not known."""
        others = [key for key, value in self.told.items()
                  if key in CHANGING and not (key in DIVISORS and self.kind in QUERIES)
                  and (value is True or value not in (None, 0, 1))
                  or key.startswith("do_") and key not in HARMLESS and value is True]
        if self.kind != "ConvNext" and self.told.get("crop_pct") is not None:
            others.append("crop_pct")
        left_out = [key for key in USUAL if self.told.get(key) is None]
        if self.kind not in CLASSES and left_out:
            self.remark(f"is that of a {self.kind[:40]}, whose defaults are not known: "
                        f"{', '.join(left_out)} are as usual here")
        if others:
            self.remark(f"also says {', '.join(sorted(others))}, which is not done here")

    def set_size(self):
        crop = self.get("do_center_crop") is True
        if self.get("do_resize") is False:
            if crop:
                self.remark("takes the centre of pictures of any size (do_center_crop), which is "
                            "not done here")
            return
        words = self.convnext_words() if self.kind == "ConvNext" else self.size_words()
        if words is None:
            self.remark("tells no size that is known: pictures keep their own size (--size)")
            return
        code = self.get("resample")
        if type(code) is not int or code not in FILTERS:
            self.remark(f"has a way of resizing ({str(code)[:20]}) that is not known: it is "
                        "bicubic here")
            code = 3
        self.d.update(words, resize_filter=FILTERS[code])
        if self.kind in QUERIES:
            self.set_sides()
        if crop:
            self.crop()

    def set_sides(self):
        """Sides are cut, then stretched to multiples: nothing is padded."""
        divisor = next((self.told[key] for key in DIVISORS if self.told.get(key) is not None),
                       self.defaults["size_divisor"])
        known = self.kind != "OneFormer" and number(divisor, 0, 1024)
        if known is None:
            self.remark(f"has a size_divisor ({str(divisor)[:20]}) that is no such number: it is "
                        "32 here")
            known = 32
        self.d.update(sides_cut=1, sides_multiple=known if known and known > 1 else 0)

    def size_words(self):
        """The resize rule of `size`, or None."""
        size = self.get("size")
        longest = next((self.told[key] for key in ("max_size", "_max_size")
                        if number(self.told.get(key))), None)
        if self.kind in QUERIES and number(size):       # as older versions write it
            size = {"shortest_edge": size, "longest_edge": longest}
        if number(size) and self.kind in SHORTEST:
            size = {"shortest_edge": size}
        told = entries(size)
        short, long = (number(told.get(key)) for key in ("shortest_edge", "longest_edge"))
        exact = pair([told.get("height"), told.get("width")] if told else size)
        if exact:
            return dict(resize_rule=Resize.EXACT, resize_a=exact[0], resize_b=exact[1])
        if short and long and short <= long:
            return dict(resize_rule=Resize.WITHIN, resize_a=long, resize_b=short)
        if short and told.get("longest_edge") is None:
            return dict(resize_rule=Resize.SHORTEST, resize_a=short, resize_b=0)
        if long and told.get("shortest_edge") is None:
            return dict(resize_rule=Resize.LONGEST, resize_a=long, resize_b=0)
        return None

    def convnext_words(self):
        """ConvNext's: small sizes are the centre of a picture that crop_pct makes larger."""
        side = number(entries(self.get("size")).get("shortest_edge")) or number(self.get("size"))
        share = real(self.get("crop_pct"), 0.1, 1.000001)
        if not side or not share:
            return None
        if side >= 384:
            return dict(resize_rule=Resize.EXACT, resize_a=side, resize_b=side)
        if self.d["head"] != Head.CLASSIFIER:
            return None
        pictures.crop_centre(self.d, int(side / share), (side, side))
        return dict(resize_rule=Resize.SHORTEST)

    def crop(self):
        """Takes the centre, for a classifier."""
        size = self.get("crop_size")
        crop = pair([size.get("height"), size.get("width")] if isinstance(size, dict) else size)
        rule = self.d["resize_rule"]
        if (not crop or self.d["head"] != Head.CLASSIFIER
                or rule not in (Resize.SHORTEST, Resize.EXACT)):
            self.remark("takes a centre (do_center_crop) that is not taken here: the whole picture "
                        "is the input")
            return
        resized = self.d["resize_a"], self.d["resize_b"]
        pictures.crop_centre(self.d, resized if rule == Resize.EXACT else resized[0], crop,
                             self.d["resize_filter"])
