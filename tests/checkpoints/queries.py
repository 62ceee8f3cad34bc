"""Random models of MaskFormer, Mask2Former and OneFormer: our names first, the sources' by tables
that are written from what their code calls its layers."""

import re

import numpy as np

from . import upstream_names
from .families import hugging_face_state, official_state

KINDS = ("maskformer", "mask2former", "oneformer")
WIDTHS = (4, 8, 16, 32)
PIXELS, QUERIES = 32, {"maskformer": 24, "mask2former": 32, "oneformer": 32}


def head_state(kind, M=32, Q=5, K=3, layers=2, heads=2, hidden=12, D=None, projected=None, seed=11):
    """Weights of a head by our names without `head.`; attentions in one matrix (X.in)."""
    rng, state, D, Cf = np.random.default_rng(seed), {}, D or QUERIES[kind], PIXELS
    deformable = kind != "maskformer"
    projected = D != (Cf if deformable else WIDTHS[-1]) if projected is None else projected

    def add(name, *shape):
        state[name] = rng.normal(0.2, 0.5, shape).astype("f4")

    def pair(name, outputs, *inputs):
        add(name + ".weight", outputs, *inputs)
        add(name + ".bias", outputs)

    def normed(name, inputs, k, bias=False):
        add(name + ".weight", Cf, inputs, k, k)
        if bias:
            add(name + ".bias", Cf)
        pair(name + ".norm", Cf)

    def layer(name, order):
        for number, part in enumerate(order, 1):
            pair(f"{name}.{part}.in", 3 * D, D)
            pair(f"{name}.{part}.proj", D, D)
            pair(f"{name}.norm{number}", D)
        pair(name + ".fc1", hidden, D)
        pair(name + ".fc2", D, hidden)
        pair(name + ".norm3", D)

    if deformable:
        for level in range(3):
            normed(f"pixel.project{level}", WIDTHS[3 - level], 1, bias=True)
        add("pixel.levels", 3, Cf)
        block = "pixel.layer0"
        for part, rows in (("offsets", 24 * heads), ("weights", 12 * heads), ("value", Cf),
                           ("proj", Cf)):
            pair(f"{block}.{part}", rows, Cf)
        pair(block + ".norm1", Cf)
        pair(block + ".fc1", 20, Cf)
        pair(block + ".fc2", Cf, 20)
        pair(block + ".norm2", Cf)
    else:
        normed("pixel.stem", WIDTHS[3], 3)
    for level in (0,) if deformable else (0, 1, 2):
        normed(f"pixel.lateral{level}", WIDTHS[level], 1)
        normed(f"pixel.out{level}", Cf, 3)
    pair("pixel.mask", M, Cf, *((1, 1) if deformable else (3, 3)))
    add("query.embed", Q, D)
    if projected:
        for level in ("0", "1", "2") if deformable else ("",):
            pair(f"query.project{level}", D, Cf if deformable else WIDTHS[-1], 1, 1)
    if deformable:
        add("query.levels", 3, D)
    if kind == "mask2former":
        add("query.start", Q, D)
    if kind == "oneformer":
        pair("task.fc1", D, 77)
        pair("task.fc2", D, D)
        pair("query.input", D, Cf, 1, 1)
        layer("start.layer0", ("self", "cross"))
        pair("start.norm", D)
    for i in range(layers):
        layer(f"decoder.layer{i}", ("cross", "self") if deformable else ("self", "cross"))
    pair("decoder.norm", D)
    for n, outputs in enumerate((D, D, M), 1):
        pair(f"mask_embed.fc{n}", outputs, D)
    pair("classify", K + 1, D)
    return state


def body_state():
    """The Swin of four stages, by its authors' names."""
    state = official_state(E=4, depths=(2, 1, 1, 1), heads=(1, 2, 2, 4), grid=24, window=3,
                           classes=0)
    state = {name: a for name, a in state.items()
             if not name.startswith("norm.") and not name.endswith("attn_mask")}
    rng = np.random.default_rng(12)
    for i, width in enumerate(WIDTHS):
        for part in ("weight", "bias"):
            state[f"norm{i}.{part}"] = rng.normal(1, 0.3, width).astype("f4")
    return state


def renamed(state, rules):
    result = {}
    for name, a in state.items():
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        result[name] = a
    return result


def split(state, pattern):
    """Attentions whose names match, with queries, keys and values apart."""
    result = {}
    for name, a in state.items():
        if not re.search(pattern, name):
            result[name] = a
            continue
        for part, third in zip("qkv", np.split(a, 3)):
            result[name.replace(".in.", f".{part}.")] = third
    return result



# detectron2 ---------------------------------------------------------------------------------------

def detectron2_state(kind, old=False, **sizes):
    """As the authors' code writes it; old: with names of released files."""
    G, R = "sem_seg_head.pixel_decoder.", "sem_seg_head.predictor."
    detr = ((r"\.self\.", ".self_attn."), (r"\.cross\.", ".multihead_attn."), (r"\.fc", ".linear"))
    layers = (
        (r"cross\.", r"cross_attention_layers.\1.multihead_attn."),
        (r"self\.", r"self_attention_layers.\1.self_attn."),
        (r"norm1", r"cross_attention_layers.\1.norm"),
        (r"norm2", r"self_attention_layers.\1.norm"), (r"norm3", r"ffn_layers.\1.norm"),
        (r"fc", r"ffn_layers.\1.linear"))
    masked = tuple((rf"^decoder\.layer(\d)\.{ours}", rf"{R}transformer_{theirs}")
                   for ours, theirs in layers)
    rules = (
        (r"(?<!pixel\.layer0)\.proj\.", ".out_proj."), (r"\.in\.", ".in_proj_"),
        (r"^pixel\.stem", G + "layer_4"), (r"^pixel\.mask", G + "mask_features"),
        (r"^pixel\.lateral(\d)", lambda m: f"{G}adapter_{int(m[1]) + 1}"),
        (r"^pixel\.out(\d)", lambda m: f"{G}layer_{int(m[1]) + 1}"),
        (r"^pixel\.project(\d)\.norm", G + r"input_proj.\1.1"),
        (r"^pixel\.project(\d)", G + r"input_proj.\1.0"),
        (r"^pixel\.levels", G + "transformer.level_embed"),
        (r"^pixel\.layer(\d)\.offsets", r"pixel.layer\1.self_attn.sampling_offsets"),
        (r"^pixel\.layer(\d)\.weights", r"pixel.layer\1.self_attn.attention_weights"),
        (r"^pixel\.layer(\d)\.value", r"pixel.layer\1.self_attn.value_proj"),
        (r"^pixel\.layer(\d)\.proj", r"pixel.layer\1.self_attn.output_proj"),
        (r"^pixel\.layer(\d)\.fc", r"pixel.layer\1.linear"),
        (r"^pixel\.layer(\d)", G + r"transformer.encoder.layers.\1"),
        (r"^query\.embed", R + "query_embed.weight"),
        (r"^query\.start", R + ("static_query" if old else "query_feat") + ".weight"),
        (r"^query\.levels", R + "level_embed.weight"),
        (r"^query\.project\.", R + "input_proj."), (r"^query\.project", R + "input_proj."),
        (r"^query\.input", R + "class_input_proj"),
        (r"^task\.fc(\d)", lambda m: f"task_mlp.layers.{int(m[1]) - 1}"),
        (r"^start\.norm", R + "class_transformer.decoder.norm"),
        *((rf"^start\.(layer.*){ours}", rf"start.\1{theirs}") for ours, theirs in detr),
        (r"^start\.layer(\d)", R + r"class_transformer.decoder.layers.\1"),
        *(((r"^decoder\.norm", R + "transformer.decoder.norm"),
           *((rf"^decoder\.(layer.*){ours}", rf"decoder.\1{theirs}") for ours, theirs in detr),
           (r"^decoder\.layer(\d)", R + r"transformer.decoder.layers.\1"))
          if kind == "maskformer" else ((r"^decoder\.norm", R + "decoder_norm"), *masked)),
        (r"^mask_embed\.fc(\d)", lambda m: f"{R}mask_embed.layers.{int(m[1]) - 1}"),
        (r"^classify", R + "class_embed"))
    state = renamed(head_state(kind, **sizes), rules)
    state.update({"backbone." + name: a for name, a in body_state().items()})
    state["criterion.empty_weight"] = np.ones(4, "f4")
    if kind == "oneformer":
        state["text_encoder.token_embedding.weight"] = np.ones((9, 4), "f4")
        state["text_projector.layers.0.weight"] = np.ones((4, 4), "f4")
        state["prompt_ctx.weight"] = np.ones((2, 4), "f4")
        state["criterion.logit_scale"] = np.ones((), "f4")
    if old and kind == "maskformer":
        state = {name.replace(G, "sem_seg_head."): a for name, a in state.items()}
    return state


# mmsegmentation, mmdetection ----------------------------------------------------------------------

def mm_state(kind, head="decode_head.", **sizes):
    layer = ((r"\.in\.", ".attn.in_proj_"), (r"\.proj\.", ".attn.out_proj."),
             (r"\.(self|cross)\.", r".\2_attn."))
    rules = (
        (r"^pixel\.(\w+\d|stem)\.norm\.", r"pixel.\1.gn."),
        (r"^pixel\.((?:project|lateral|out)\d|stem)\.(weight|bias)", r"pixel.\1.conv.\2"),
        (r"^pixel\.stem", "pixel_decoder.last_feat_conv"),
        (r"^pixel\.lateral(\d)", r"pixel_decoder.lateral_convs.\1"),
        (r"^pixel\.out(\d)", r"pixel_decoder.output_convs.\1"),
        (r"^pixel\.project(\d)", r"pixel_decoder.input_convs.\1"),
        (r"^pixel\.mask", "pixel_decoder.mask_feature"),
        (r"^pixel\.levels", "pixel_decoder.level_encoding.weight"),
        *((rf"^pixel\.layer(\d)\.{ours}", rf"pixel_decoder.encoder.layers.\1.self_attn.{theirs}")
          for ours, theirs in (("offsets", "sampling_offsets"), ("weights", "attention_weights"),
                               ("value", "value_proj"), (r"proj\.", "output_proj."))),
        (r"^pixel\.layer(\d)", r"pixel_decoder.encoder.layers.\1"),
        (r"^decoder\.norm", "transformer_decoder.post_norm"),
        *((rf"^(decoder\.layer.*){ours}", rf"\1{theirs}") for ours, theirs in layer),
        (r"^decoder\.layer(\d)", r"transformer_decoder.layers.\1"),
        (r"\.norm(\d)", lambda m: f".norms.{int(m[1]) - 1}"),
        (r"layers(.*)\.fc1", r"layers\1.ffn.layers.0.0"),
        (r"layers(.*)\.fc2", r"layers\1.ffn.layers.1"),
        (r"^query\.embed", "query_embed.weight"), (r"^query\.start", "query_feat.weight"),
        (r"^query\.levels", "level_embed.weight"),
        (r"^query\.project\.", "decoder_input_proj."),
        (r"^query\.project(\d)", r"decoder_input_projs.\1"),
        (r"^mask_embed\.fc(\d)", lambda m: f"mask_embed.{2 * int(m[1]) - 2}"),
        (r"^classify", "cls_embed"))
    body = {"backbone." + name: a for name, a in body_state().items()}
    return {**{head + name: a for name, a in renamed(head_state(kind, **sizes), rules).items()},
            **upstream_names(body)}


# Hugging Face -------------------------------------------------------------------------------------

def hugging_face_body(kind, modules):
    E = "model.pixel_level_module.encoder."
    inner = "model." if kind == "maskformer" else "swin." * modules
    body = body_state()
    names = hugging_face_state({name: a for name, a in body.items() if not name.startswith("norm")},
                               "backbone", modules and kind != "maskformer")
    result = {E + inner + name: a for name, a in names.items()
              if not name.startswith(("hidden_states_norms.", "swin."))}
    for part in ("weight", "bias"):
        for i in range(len(WIDTHS)):
            norm = str(i) if kind == "maskformer" else f"stage{i + 1}"
            result[f"{E}hidden_states_norms.{norm}.{part}"] = body[f"norm{i}.{part}"]
        result[f"{E}{inner or 'swin.'}layernorm.{part}"] = np.ones(32, "f4")
    return result


def hugging_face_queries_state(kind, modules=False, **sizes):
    """As save_pretrained writes it; modules: as version 5 calls its modules."""
    N, T = "model.pixel_level_module.decoder.", "model.transformer_module."
    C = T + "decoder.query_transformer.decoder."
    out = "o_proj" if modules and kind == "maskformer" else "out_proj"
    mlp = "mlp." * (modules and kind == "maskformer")
    layer = T + r"decoder.layers.\1."
    attentions = {
        "maskformer": (("self", "self_attn."), ("cross", "encoder_attn.")),
        "mask2former": (("self", "self_attn."), ("cross", "cross_attn.")),
        "oneformer": (("self", "self_attn.self_attn."), ("cross", "cross_attn.multihead_attn."))}
    norms = {"maskformer": ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm"),
             "mask2former": ("cross_attn_layer_norm", "self_attn_layer_norm", "final_layer_norm"),
             "oneformer": ("cross_attn.norm", "self_attn.norm", "ffn.norm")}
    apart = {"maskformer": r"\.in\.", "mask2former": r"self\.in\.",
             "oneformer": r"decoder.*self\.in\."}
    embed = {"maskformer": "mask_embedder.{}.0", "oneformer": T + "decoder.mask_embed.layers.{}.0",
             "mask2former": T + "decoder.mask_predictor.mask_embedder.{}.0"}
    rules = (
        (r"\.([qkv])\.(weight|bias)", r".\1_proj.\2"), (r"\.in\.", ".in_proj_"),
        (r"(self|cross)\.proj\.", rf"\1.{out}."),
        (r"^pixel\.stem\.norm", N + "fpn.stem.1"), (r"^pixel\.stem", N + "fpn.stem.0"),
        *((() if kind != "maskformer" else tuple(
            (rf"^pixel\.{ours}(\d)\.{end}", lambda m, p=theirs, e=end: (
                f"{N}fpn.layers.{2 - int(m[1])}.{p}." + ("1" if e == "norm" else "0.weight")))
            for ours, theirs in (("lateral", "proj"), ("out", "block"))
            for end in ("norm", "weight")))),
        (r"^pixel\.lateral0\.norm", N + "adapter_1.1"), (r"^pixel\.lateral0", N + "adapter_1.0"),
        (r"^pixel\.out0\.norm", N + "layer_1.1"), (r"^pixel\.out0", N + "layer_1.0"),
        (r"^pixel\.project(\d)\.norm", N + r"input_projections.\1.1"),
        (r"^pixel\.project(\d)", N + r"input_projections.\1.0"),
        (r"^pixel\.levels", N + "level_embed"), (r"^pixel\.mask", N + "mask_projection"),
        *((rf"^pixel\.layer(\d)\.{ours}", N + rf"encoder.layers.\1.{theirs}") for ours, theirs in (
            ("offsets", "self_attn.sampling_offsets"), ("weights", "self_attn.attention_weights"),
            ("value", "self_attn.value_proj"), ("proj", "self_attn.output_proj"),
            ("norm1", "self_attn_layer_norm"), ("norm2", "final_layer_norm"), ("fc", "fc"))),
        (r"^query\.embed", T + "queries_embedder.weight"),
        (r"^query\.start", T + "queries_features.weight"),
        (r"^query\.levels", T + "level_embed.weight"),
        (r"^query\.project\.", T + "input_projection."),
        (r"^query\.project(\d)", T + r"input_projections.\1"),
        (r"^query\.input", T + "decoder.query_input_projection"),
        (r"^task\.fc(\d)", lambda m: f"model.task_encoder.task_mlp.layers.{int(m[1]) - 1}.0"),
        (r"^start\.norm", C + "norm"), (r"^start\.layer(\d)\.self\.", C + r"layers.\1.self_attn."),
        (r"^start\.layer(\d)\.cross\.", C + r"layers.\1.multihead_attn."),
        (r"^start\.layer(\d)\.fc", C + r"layers.\1.linear"),
        (r"^start\.layer(\d)", C + r"layers.\1"),
        *((rf"^decoder\.layer(\d)\.{ours}\.", layer + theirs) for ours, theirs in attentions[kind]),
        *((rf"^decoder\.layer(\d)\.norm{n}", layer + theirs)
          for n, theirs in enumerate(norms[kind], 1)),
        (r"^decoder\.layer(\d)\.fc", layer + ("ffn.linear" if kind == "oneformer" else mlp + "fc")),
        (r"^decoder\.norm",
         T + ("decoder.decoder_norm" if kind == "oneformer" else "decoder.layernorm")),
        (r"^mask_embed\.fc(\d)", lambda m: embed[kind].format(int(m[1]) - 1)),
        (r"^classify", T + "decoder.class_embed" if kind == "oneformer" else "class_predictor"))
    state = renamed(split(head_state(kind, **sizes), apart[kind]), rules)
    state.update(hugging_face_body(kind, modules))
    state["criterion.empty_weight"] = np.ones(4, "f4")
    if kind == "oneformer":
        state["model.text_mapper.prompt_ctx.weight"] = np.ones((2, 4), "f4")
    return state
