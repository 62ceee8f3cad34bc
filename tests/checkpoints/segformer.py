"""Random checkpoints of SegFormer, as each source names and stores them."""

import numpy as np

from . import conv_module, classify_state, segformer_state

WIDTHS, DEPTHS, REDUCTIONS, HIDDEN = (4, 8, 12), (1, 2, 1), (4, 2, 1), (8, 20, 12)


def mit_state(seed=20):
    """The backbone by the authors' names: patch_embed1.proj.weight, ..."""
    rng, state = np.random.default_rng(seed), {}

    def pair(name, *shape):
        state[name + ".weight"] = rng.normal(size=shape).astype("f4")
        state[name + ".bias"] = rng.normal(size=shape[0]).astype("f4")

    for i, C in enumerate(WIDTHS):
        r, hidden = REDUCTIONS[i], HIDDEN[i]
        pair(f"patch_embed{i + 1}.proj", C, WIDTHS[i - 1] if i else 3, *[3 if i else 7] * 2)
        pair(f"patch_embed{i + 1}.norm", C)
        for j in range(DEPTHS[i]):
            block = f"block{i + 1}.{j}."
            pair(block + "norm1", C)
            pair(block + "attn.q", C, C)
            pair(block + "attn.kv", 2 * C, C)
            pair(block + "attn.proj", C, C)
            if r > 1:
                pair(block + "attn.sr", C, C, r, r)
                pair(block + "attn.norm", C)
            pair(block + "norm2", C)
            pair(block + "mlp.fc1", hidden, C)
            pair(block + "mlp.dwconv.dwconv", hidden, 1, 3, 3)
            pair(block + "mlp.fc2", C, hidden)
        pair(f"norm{i + 1}", C)
    return state


def mit_classifier(K=9):
    rng = np.random.default_rng(21)
    return {**mit_state(), "head.weight": rng.normal(size=(K, WIDTHS[-1])).astype("f4"),
            "head.bias": rng.normal(size=K).astype("f4")}


def authors_state(ch=6, K=3):
    """The authors' segmentor, with the classifier that mmseg gives every head and it does not
    use."""
    rng = np.random.default_rng(22)
    state = {"backbone." + name: a for name, a in mit_state().items()}
    for l, C in enumerate(WIDTHS):
        name = f"decode_head.linear_c{l + 1}.proj"
        state[name + ".weight"] = rng.normal(size=(ch, C)).astype("f4")
        state[name + ".bias"] = rng.normal(size=ch).astype("f4")
    conv_module(state, "decode_head.linear_fuse", ch, len(WIDTHS) * ch, 1, rng)
    return {**state, **classify_state(ch, K, rng, "linear_pred"), **classify_state(128, K, rng)}


def openmmlab_state(ch=6, K=3):
    """The same backbone in mmsegmentation, with its own head."""
    state, old = {}, mit_state()
    for i, depth in enumerate(DEPTHS):
        layers = f"backbone.layers.{i}."
        moves = [(f"patch_embed{i + 1}.proj", layers + "0.projection"),
                 (f"patch_embed{i + 1}.norm", layers + "0.norm"), (f"norm{i + 1}", layers + "2")]
        for j in range(depth):
            moves += [(f"block{i + 1}.{j}.{ours}", f"{layers}1.{j}.{theirs}") for ours, theirs in (
                ("norm1", "norm1"), ("norm2", "norm2"), ("attn.proj", "attn.attn.out_proj"),
                ("attn.sr", "attn.sr"), ("attn.norm", "attn.norm"), ("mlp.fc1", "ffn.layers.0"),
                ("mlp.dwconv.dwconv", "ffn.layers.1"), ("mlp.fc2", "ffn.layers.4"))]
            for part in ("weight", "bias"):
                state[f"{layers}1.{j}.attn.attn.in_proj_{part}"] = np.concatenate(
                    [old[f"block{i + 1}.{j}.attn.{one}.{part}"] for one in ("q", "kv")])
        for ours, theirs in moves:
            for part in ("weight", "bias"):
                if f"{ours}.{part}" in old:
                    x = old[f"{ours}.{part}"]
                    state[f"{theirs}.{part}"] = (
                        x[:, :, None, None] if ".mlp.fc" in ours and part == "weight" else x)
    head = segformer_state(E=4, features=(0, 1), ch=ch, K=K)
    rng = np.random.default_rng(23)
    for l, C in enumerate(WIDTHS):
        conv_module(head, f"decode_head.convs.{l}", ch, C, 1, rng)
    conv_module(head, "decode_head.fusion_conv", ch, len(WIDTHS) * ch, 1, rng)
    return {**state, **head}


def hub_state(kind="segmenter", modules=False):
    """Hugging Face's model of authors_state or mit_classifier: with the names of its files, or of
    version 5's modules."""
    old = mit_classifier() if kind == "classifier" else mit_state()
    head = {} if kind != "segmenter" else {
        n: a for n, a in authors_state().items()
        if n.startswith("decode_head.") and "conv_seg" not in n}
    names = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.q": "attention.q_proj",
             "attn.proj": "attention.o_proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
             "attn.sr": "attention.sequence_reduction.sequence_reduction",
             "attn.norm": "attention.sequence_reduction.layer_norm"} if modules else {
             "norm1": "layer_norm_1", "norm2": "layer_norm_2", "attn.q": "attention.self.query",
             "attn.proj": "attention.output.dense", "mlp.fc1": "mlp.dense1",
             "mlp.fc2": "mlp.dense2", "attn.sr": "attention.self.sr",
             "attn.norm": "attention.self.layer_norm"}
    keys = (("attention.k_proj", "attention.v_proj") if modules
            else ("attention.self.key", "attention.self.value"))
    state = {}
    for name, a in old.items():
        module, _, part = name.rpartition(".")
        stage = int("".join(c for c in module.partition(".")[0] if c.isdigit()) or 1) - 1
        inside = module.partition(".")[2]
        if module == "head":
            state[f"classifier.{part}"] = a
            continue
        if module.startswith("block"):
            j, _, inside = inside.partition(".")
            block = f"segformer.stages.{stage}.blocks.{j}." if modules else (
                f"segformer.encoder.block.{stage}.{j}.")
            if inside == "attn.kv":
                for one, half in zip(keys, np.split(a, 2)):
                    state[f"{block}{one}.{part}"] = half
            else:
                state[f"{block}{names.get(inside, inside)}.{part}"] = a
            continue
        embed = f"stages.{stage}.patch_embeddings" if modules else (
            f"encoder.patch_embeddings.{stage}")
        norm = f"stages.{stage}.layer_norm" if modules else f"encoder.layer_norm.{stage}"
        new = norm if module.startswith("norm") else (
            f"{embed}.{'proj' if inside == 'proj' else 'layer_norm'}")
        state[f"segformer.{new}.{part}"] = a
    levels = "linear_projections" if modules else "linear_c"
    for name, a in head.items():
        for l in range(len(WIDTHS)):
            name = name.replace(f"linear_c{l + 1}.", f"{levels}.{l}.")
        name = name.replace("linear_fuse.conv.", "linear_fuse.").replace("linear_fuse.bn.",
                                                                         "batch_norm.")
        state[name.replace("linear_pred", "classifier")] = a
    return state
