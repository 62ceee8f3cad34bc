"""What all sources of MaskFormer, Mask2Former and OneFormer share: a Swin backbone, and a head
whose queries each predict a class and a mask.

Canonical names here that no blob has: X.in (queries, keys and values of an attention X in one
matrix), head.task.fc1 and head.task.fc2 (OneFormer's MLP that makes a query of the task's words).
"""

import os
import re

import numpy as np

from . import things
from .asking import ask
from .reader import Reader
from ..canonical import Weight, stage_count
from ..records import MAX_THINGS, Head, Refused, Scores

NAMES = {Head.MASKFORMER: "MaskFormer", Head.MASK2FORMER: "Mask2Former",
         Head.ONEFORMER: "OneFormer"}
USUAL_HEADS = 8                 # of the decoder in all released models
SAMPLES = 12                    # of a head of deformable attention: three levels of four points
STAGES = 4
EPS = 1e-5                      # of all norms of the head
OVERLAP_SHARE = 800             # in thousandths, in the authors' configs and in transformers
PART = re.compile(r"(head\..*\.(?:self|cross))\.([qkv])\.(weight|bias)")
# CLIP's tokens of "the task is semantic" and its kin, from the start token to the end token; zeros
# follow up to TASK_TOKENS
TASK_TOKENS = 77
TASKS = {"semantic": (49406, 518, 10549, 533, 29119, 1550, 49407),
         "panoptic": (49406, 518, 10549, 533, 1072, 24755, 49407),
         "instance": (49406, 518, 10549, 533, 34572, 49407)}
# Kinds of segments, and what tells them in the name of a checkpoint or its folder
SEGMENTS = {"panoptic": re.compile("panoptic"),
            "instance": re.compile("(?<![a-z])instance(?![a-z])")}
DROPPED = (("criterion.*", "serves training only"),
           ("pixel_mean", "the description holds it"), ("pixel_std", "the description holds it"))
# Names of modules, or beginnings of them, of backbones that are not Swin
OTHER_BACKBONES = ((r"encoder\.encoder\.levels\.|backbone\.levels\.", "DiNAT"),
                   (r"backbone\.(stem|res2)\.|encoder\.embedder\.|backbone\.layer1\.", "ResNet"),
                   (r"backbone\.(stages|downsample_layers)\.", "ConvNeXt"),
                   (r"encoder\._backbone\.", "backbone of timm"))


class QueryReader(Reader):
    """kind: of the head; body, head: from canonical names of the backbone and of the head to the
    checkpoint's."""

    def __init__(self, checkpoint, options, family, kind, body, head):
        super().__init__(checkpoint, options, family,
                         lambda name: (head if name.startswith("head.") else body)(name))
        self.kind, self.joint = kind, {}

    # Describing

    def describe(self):
        """Describes all that shapes tell, and windows, which always shift where they can."""
        self.refuse_other_backbones()
        self.describe_layers()
        if self.d["version"] != 1:
            raise Refused(f"this is a {NAMES[self.kind]} over Swin V2, which this version does not "
                          "take")
        if stage_count(self.d) != STAGES:
            raise Refused(f"the backbone has {stage_count(self.d)} stages, and {NAMES[self.kind]} "
                          f"reads {STAGES}")
        self.d["feature_norms"] = (1 << STAGES) - 1
        for i in range(STAGES):
            window = self.square_window(i)
            self.set_window(i, (window,) * 2, (window // 2,) * 2)
        self.describe_pixels()
        self.describe_decoder()

    def refuse_other_backbones(self):
        if self.has("embed.weight") or self.has_group("stage0.block0"):
            return
        text = "\n".join(self.source.left)
        what = next((name for pattern, name in OTHER_BACKBONES if re.search(pattern, text)),
                    "backbone that is not known")
        raise Refused(f"this is a {NAMES[self.kind]} over a {what}, and only Swin is taken "
                      f"({self.name('embed.weight')} is missing)")

    def describe_pixels(self):
        """The pixel decoder."""
        d, first = self.d, "stem" if self.kind == Head.MASKFORMER else "project0"
        d.update(head=self.kind, head_inputs=(1 << STAGES) - 1,
                 head_channels=self.shape(f"head.pixel.{first}.weight", 4)[0],
                 query_masks=self.shape("head.pixel.mask.weight", 4)[0])
        if self.kind == Head.MASKFORMER:
            return
        layer = "head.pixel.layer0"
        rows, _ = self.shape(layer + ".weights.weight", 2)
        if rows % SAMPLES:
            raise Refused(f"{self.name(layer + '.weights.weight')} has {rows} rows, no multiple of "
                          f"{SAMPLES}: only attention to three levels of four points is known")
        d.update(query_pixel_heads=rows // SAMPLES, query_pixel_layers=self.layers("head.pixel"),
                 query_pixel_hidden=self.shape(layer + ".fc1.weight", 2)[0])

    def describe_decoder(self):
        d = self.d
        outputs, _ = self.shape("head.classify.weight", 2)
        if outputs < 2:
            raise Refused(f"{self.name('head.classify.weight')} has {outputs} row, which leaves no "
                          "class beside the null class")
        d["query_count"], d["query_width"] = self.shape("head.query.embed", 2)
        project = "head.query.project" + "0" * (self.kind != Head.MASKFORMER)
        d.update(classes=outputs - 1, query_layers=self.layers("head.decoder"),
                 query_hidden=self.shape("head.decoder.layer0.fc1.weight", 2)[0],
                 query_projected=int(self.has_group(project)))
        if self.kind == Head.ONEFORMER:
            d.update(query_start_layers=self.layers("head.start"),
                     query_start_hidden=self.shape("head.start.layer0.fc1.weight", 2)[0])
        read = d["width"][-1] if self.kind == Head.MASKFORMER else d["head_channels"]
        if read != d["query_width"] and not d["query_projected"]:
            raise Refused(f"{self.name(project)}.weight and its like are missing, but the queries "
                          f"have {d['query_width']} channels, and what they attend to has {read} "
                          "(transformers before version 5 does not save these layers)")

    def layers(self, module):
        return self.source.count(lambda i: self.name(f"{module}.layer{i}.fc1"))

    def describe_heads(self, told, as_pixels):
        """Heads of the decoder's attentions, which no shape tells.

        told: what a config says, or None; as_pixels: does the source give the pixel decoder as
        many?"""
        pixels, option = self.d["query_pixel_heads"], self.option("decoder_heads")
        if told and as_pixels and pixels not in (0, told):
            raise Refused(f"the config says that attentions have {told} heads, but "
                          f"{self.name('head.pixel.layer0.weights.weight')} has {pixels}")
        heads = option or told or as_pixels and pixels
        if not heads and pixels in (0, USUAL_HEADS) and not self.d["query_width"] % USUAL_HEADS:
            heads = USUAL_HEADS
            self.model.remarks.append(f"nothing tells the heads of the decoder's attentions: "
                                      f"{heads}, as in all released models (--decoder-heads N)")
        if not heads:
            raise ask("nothing tells the heads of the decoder's attentions", "--decoder-heads N")
        if self.d["query_width"] % heads:
            raise Refused(f"{heads} heads do not divide the {self.d['query_width']} channels of "
                          f"{self.name('head.query.embed')} (--decoder-heads)")
        self.d["query_heads"] = heads

    def describe_scores(self, usual):
        """Where masks become probabilities: as an option says, else as the source has it."""
        option = self.option("scores")
        self.d["query_scores"] = Scores[f"AT_{option.upper()}"] if option else usual

    def describe_segments(self, rules, ids=None, told=None):
        """Panoptic or instance results, where the checkpoint was trained for them.

        rules: the source's things.Rule of "panoptic" and of "instance", as far as it has both; ids:
        the things that the source lists, or None; told: which of both a config asks for, or
        None."""
        K, kind = self.d["classes"], self.asked_segments(rules, told)
        if kind not in rules:
            if kind in SEGMENTS:
                raise Refused(f"--segments {kind}: there is no rule for such results of "
                              f"{self.model.family}")
            return
        if K > MAX_THINGS:
            raise Refused(f"--things: segments are for {MAX_THINGS} classes at most, and this "
                          f"model has {K}")
        rule, chosen = rules[kind], self.choose_things(kind, rules[kind], ids)
        if chosen is None:
            return
        if any(k >= K for k in chosen):
            raise Refused(f"class {max(chosen)} is called one of things, and this model's classes "
                          f"are 0-{K - 1} (--things)")
        if kind == "instance" and not chosen:
            raise Refused("--things none: instances are of things")
        score, share = self.option("object_score"), self.option("overlap_share")
        if share is not None and rule.rule in things.OVERLAPPING:
            raise Refused("--overlap-share: instances of this model overlap, none has to leave "
                          "anything to others")
        self.d.update(segment_rule=rule.rule, segment_things=things.bits(chosen),
                      segment_object_score=rule.object_score if score is None else score,
                      segment_overlap_share=rule.overlap_share if share is None else share,
                      instance_most=rule.most if rule.most != self.d["query_count"] else 0)

    def asked_segments(self, rules, told):
        """"panoptic", "instance" or neither: as an option says, or else, as far as there are
        rules, a config, the number of classes or the checkpoint's name."""
        given, asked, K = self.option("things"), self.option("segments"), self.d["classes"]
        if self.kind == Head.ONEFORMER:
            task = self.option("task")
            if asked:
                raise Refused("--segments: OneFormer is asked for segments by --task")
            if given and task not in SEGMENTS:
                raise Refused("--things is about panoptic and instance results, for which "
                              "OneFormer is asked by --task panoptic or --task instance")
            return task if task in SEGMENTS else None
        name = "/".join(os.path.abspath(self.options.checkpoint).split(os.sep)[-2:]).lower()
        # Only models trained for COCO's panoptic results or instances have as many classes.
        by_classes = "panoptic" if things.known(K) == "coco" else (
            "instance" if K == things.COCO_INSTANCES else None)
        by_name = next((kind for kind, word in SEGMENTS.items()
                        if kind in rules and word.search(name)), None)
        known = asked or next((kind for kind in (told, by_classes) if kind in rules), None)
        if by_name and not known:
            self.model.remarks.append(f"its name says {by_name}: it is taken for a model of such "
                                      "results (--segments)")
        return known or by_name or ("panoptic" if given else None)

    def choose_things(self, kind, rule, ids):
        """The classes of things: as an option says, else as the source does, or else as far as the
        number of classes tells the data set. None: nothing tells them."""
        given, K = self.option("things"), self.d["classes"]
        data_set = things.known(K)
        if given:
            return given(K)
        if rule.all_things:
            return range(K)
        if ids is not None:
            return ids
        if data_set:
            chosen = things.parse(data_set)(K)
            self.model.remarks.append(f"{K} classes are taken for those of {data_set}, "
                                      f"{len(chosen)} of them things (--things)")
            return chosen
        if kind == "instance":
            return range(K)
        self.model.remarks.append("no panoptic results: nothing tells which of the "
                                  f"{K} classes are things (--things)")
        return None

    def expect_told(self, told):
        """Refuses a config that speaks of other sizes: (its words, value, the field of ours)."""
        for words, value, field in told:
            if value is not None and value != self.d[field]:
                raise Refused(f"the config says that {words} is {str(value)[:40]}, but the weights "
                              f"have {self.d[field]}")

    # Taking

    def weight(self, name):
        if name == "head.query.task":
            return self.task_token()
        part = PART.fullmatch(name)
        if part and not any(self.has_group(f"{part[1]}.{each}") for each in "qkv"):
            return self.third(*part.groups())
        return super().weight(name)

    def third(self, attention, part, end):
        """Queries, keys or values of a matrix that holds all three."""
        name, D = f"{attention}.in.{end}", self.d["query_width"]
        if name not in self.joint:
            self.joint[name] = self.take(name)
            self.expect_shape(self.joint[name], (3 * D, D)[:1 + (end == "weight")])
        first = "qkv".index(part) * D
        whole = self.joint[name]
        return whole.map((D, *whole.shape[1:]), lambda x: x[first:first + D])

    def task_token(self):
        """OneFormer's query of a task: its MLP of the token ids, as numbers, and the decoder's
        norm. It depends on no picture."""
        D, task = self.d["query_width"], self.option("task") or "semantic"
        shapes = {"head.task.fc1.weight": (D, TASK_TOKENS), "head.task.fc1.bias": (D,),
                  "head.task.fc2.weight": (D, D), "head.task.fc2.bias": (D,)}
        parts = {name: self.take(name) for name in shapes}
        for name, shape in shapes.items():
            self.expect_shape(parts[name], shape)
        gain, shift = (self.model.weights.setdefault(name, self.take(name)) for name in (
            "head.decoder.norm.weight", "head.decoder.norm.bias"))
        ids = np.zeros(TASK_TOKENS)
        ids[:len(TASKS[task])] = TASKS[task]
        self.model.notes["task"] = task

        def token():
            first, first_bias, second, second_bias, scale, offset = (
                weight.load().astype(np.float64) for weight in (*parts.values(), gain, shift))
            x = second @ np.maximum(first @ ids + first_bias, 0) + second_bias
            x -= x.mean()
            return (x / np.sqrt(np.square(x).mean() + EPS) * scale + offset)[None]

        return Weight((1, D), token, self.name("head.task.fc2.weight"))


