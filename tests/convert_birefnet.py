"""The converter on BiRefNet: recognised, folded, asked about patches, refused by name."""

import re

import numpy as np
import pytest

from checkpoints import safetensors
from checkpoints.birefnet import birefnet_state
from checkpoints.convert import convert_state, families, run
from swinblob.canonical import Refused
from swinblob.records import Body, Filter, Head, Input, Resize

STATE = birefnet_state()
ROWS, COLUMNS = ("--patch-order", "rows"), ("--patch-order", "columns")
DEAD = ("relative_position_index", "num_batches_tracked", "conv_ms_spvn", "gdt_convs_pred")


def without(*parts):
    return {name: a for name, a in STATE.items() if not any(part in name for part in parts)}


def test_it_is_described_by_its_shapes():
    model = convert_state(STATE, *ROWS)
    d = model.description
    assert (d["body"], d["head"], d["classes"]) == (Body.BIREFNET, Head.BIREFNET, 2)
    assert [d["birefnet_" + name] for name in ("inner", "branch", "kernel", "patches", "gate")] == [
        3, 4, [1, 1, 3, 0], 2, 3]
    assert (d["width"], d["window_h"], d["shift_h"]) == ([4, 8, 16, 32], [3] * 4, [1] * 4)
    assert (d["input_rule"], d["resize_rule"], d["resize_a"], d["resize_b"]) == (
        Input.EXACT, Resize.EXACT, 1024, 1024)
    assert (d["resize_filter"], d["resize_round"], d["align_corners"]) == (
        Filter.BILINEAR_ANTIALIASED, 1, 1)
    assert np.allclose(d["mean"], [123.675, 116.28, 103.53])
    assert model.class_names == ["background", "foreground"]
    assert convert_state(STATE, *ROWS, "--image-size", "1440x2560").description["resize_b"] == 2560
    for size in ("1000x1024", "1024x1000"):
        with pytest.raises(Refused, match="multiples of 32"):
            convert_state(STATE, *ROWS, "--image-size", size)


@pytest.mark.parametrize("prefix", ["module.", "module._orig_mod.", "net."])
def test_prefixes_are_taken_off(prefix):
    plain = convert_state(STATE, *ROWS)
    model = convert_state({prefix + name: a for name, a in STATE.items()}, *ROWS)
    assert model.description == plain.description


def test_patches_of_both_orders():
    """An input of the first convolution of patches, by its place in the picture."""
    name, grid = "decoder.ipt_blk3.conv1.weight", 8
    weight = STATE[name]
    stored = {order: convert_state(STATE, "--patch-order", order).weights["head.patches1.weight"]
              .load() for order in ("rows", "columns")}
    for row, column, plane in ((0, 1, 2), (3, 7, 0), (7, 0, 1)):
        at = (row * grid + column) * 3 + plane
        assert (stored["rows"][:, at] == weight[:, plane * grid ** 2 + row * grid + column]).all()
        assert (stored["columns"][:, at] == weight[:, (column * grid + row) * 3 + plane]).all()


def test_the_order_is_asked_for_unless_a_name_tells_it(tmp_path, capsys):
    with pytest.raises(Refused, match="--patch-order columns.*--patch-order rows"):
        convert_state(STATE)
    for folder, order, size in (("BiRefNet_lite", "columns", "1024 high, 1024"),
                                ("RMBG-2.0", "columns", "1024 high, 1024"),
                                ("BiRefNet_HR", "rows", "2048 high, 2048"),
                                ("BiRefNet_lite-2K", "columns", "1440 high, 2560"),
                                ("BiRefNet_512x512", "rows", "512 high, 512")):
        (tmp_path / folder).mkdir()
        safetensors(STATE, tmp_path / folder / "model.safetensors")
        assert run(tmp_path / folder, "-o", tmp_path / "m.swin") == 0
        assert size in capsys.readouterr().out
        assert run("--info", tmp_path / "m.swin") == 0
        assert f"patch_order: {order}, by the name {folder}" in capsys.readouterr().out
    safetensors(STATE, tmp_path / "BiRefNet_HR-general-epoch_130.safetensors")
    assert run(tmp_path / "BiRefNet_HR-general-epoch_130.safetensors", "-o", tmp_path / "m.swin",
               *COLUMNS) == 0
    assert "2048 high, 2048" in capsys.readouterr().out
    (tmp_path / "BiRefNet").mkdir()             # a clone of the code is called so, too
    safetensors(STATE, tmp_path / "BiRefNet" / "model.safetensors")
    assert run(tmp_path / "BiRefNet", "-o", tmp_path / "m.swin") == 1
    (tmp_path / "BiRefNet" / "config.json").write_text('{"architectures": ["BiRefNet"]}')
    assert run(tmp_path / "BiRefNet", "-o", tmp_path / "m.swin") == 0


def test_the_last_layers_are_folded():
    """Nine shares of the last convolutions against these themselves, at one pixel."""
    model = convert_state(STATE, *ROWS)
    out, image, bias = (model.weights[f"head.{name}"].load()
                        for name in ("out.weight", "image.weight", "image.bias"))
    s = {name: a.astype(float) for name, a in STATE.items()}
    share = s["decoder.conv_out1.0.weight"][0, :, 0, 0]
    rng = np.random.default_rng(1)

    def conv(x, name):                          # of [C, n, n] to [C', n - 2, n - 2]
        w = s[name + ".weight"]
        n = x.shape[1] - 2
        windows = np.array([[x[:, i:i + n, j:j + n] for j in range(3)] for i in range(3)])
        return np.einsum("ocij,ijcyx->oyx", w, windows) + s[name + ".bias"][:, None, None]

    x = rng.normal(size=(3, 5, 5))
    block = "decoder.decoder_block1."
    y = rng.normal(size=(3, 3, 3))
    norm = [s[f"{block}bn_out.{part}"] for part in ("weight", "bias", "running_mean",
                                                    "running_var")]
    last = conv(y, block + "conv_out")[:, 0, 0]
    last = (last - norm[2]) / np.sqrt(norm[3] + 1e-5) * norm[0] + norm[1]
    second = conv(conv(x, "decoder.ipt_blk1.conv1"), "decoder.ipt_blk1.conv_out")[:, 0, 0]
    expected = share @ np.concatenate([last, second]) + s["decoder.conv_out1.0.bias"][0]
    got = sum(bias) + sum(out[3 * i + j, :, 0, 0] @ y[:, i, j] for i in range(3) for j in range(3))
    got += sum((image[3 * i + j] * x[:, i:i + 3, j:j + 3]).sum()
               for i in range(3) for j in range(3))
    assert abs(got - expected) < 1e-5 * abs(expected)


def test_missing_extra_and_misshapen_tensors_are_named():
    kinds = {}
    for name in STATE:
        if not any(part in name for part in DEAD):
            kinds.setdefault(re.sub(r"\d+", "", name), []).append(name)
    for n, name in enumerate(sorted({name for kind in kinds.values()
                                     for name in (kind[0], kind[-1])})):
        with pytest.raises(Refused) as refusal:
            convert_state(without(name), *ROWS)
        if name not in ("bb.layers.0.blocks.0.attn.qkv.weight",
                        "decoder.gdt_convs_4.0.weight"):        # read for what they tell
            assert name in str(refusal.value) or "BiRefNet" in str(refusal.value), name
        array = STATE[name]
        damage = (array[..., None], array[:0], np.ones(array.shape, "i8"),
                  np.concatenate([array, array[:1]]))[n % 4]
        with pytest.raises(Refused):
            convert_state({**STATE, name: damage}, *ROWS)
    for extra in ("more.weight", "decoder.more.weight", "bb.norm3.more"):
        with pytest.raises(Refused, match=extra):
            convert_state({**STATE, extra: np.ones((3, 3), "f4")}, *ROWS)


def renamed(old, new):
    return {name.replace(old, new): a for name, a in STATE.items()}


def changed(name, shape):
    return {**STATE, name: np.ones(shape, "f4")}


@pytest.mark.parametrize("message, state", [
    ("another backbone than Swin", without("bb.layers.")),
    ("another backbone than Swin", renamed("bb.layers.", "bb.block1.")),
    ("early BiRefNet", without("ipt_blk5")),
    ("plain ASPP", renamed("aspp_deforms.0", "aspp2")),
    ("without a deformable ASPP", without("aspp_deforms")),
    ("residual blocks", renamed("decoder_block4.conv_in", "decoder_block4.conv_resi")),
    ("with a refiner", {**STATE, "refiner.conv.weight": np.ones((3, 3), "f4")}),
    ("with a refiner", {**STATE, "stem_layer.conv.weight": np.ones((3, 3), "f4")}),
    ("squeeze_block is not BasicDecBlk_x1", without("squeeze_module")),
    ("squeeze_block is not BasicDecBlk_x1",
     {**STATE, "squeeze_module.1.conv_in.weight": np.ones((3, 3, 3, 3), "f4")}),
    ("out_ref is off", without("gdt_convs")),
    ("mul_scl_ipt is not cat", changed("decoder.lateral_block4.conv.weight", (16, 16, 1, 1))),
    ("dec_ipt_split is off", changed("decoder.ipt_blk5.conv1.weight", (2, 3, 3, 3))),
    ("cxt_num is not 3", changed("squeeze_module.0.conv_in.weight", (3, 64, 3, 3))),
    ("cxt_num is not 3", changed("squeeze_module.0.conv_in.weight", (3, 112, 3, 3)))])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_other_variants_are_refused_by_name(message, state, prefix):
    with pytest.raises(Refused, match=message):
        convert_state({prefix + name: a for name, a in state.items()}, *ROWS)


def test_it_is_told_from_others():
    assert families.recognised(STATE) == "BiRefNet over Swin"
    assert "another backbone" in families.recognised(without("bb.layers."))
    backbone = {name[len("bb."):]: a for name, a in STATE.items() if name.startswith("bb.")}
    assert convert_state(backbone).description["body"] == Body.BACKBONE
    mine = {"bb." + name: a for name, a in backbone.items()}
    assert convert_state(mine).description["body"] == Body.BACKBONE
    remarks = convert_state(backbone, *ROWS).remarks
    assert any("--patch-order has no effect" in remark for remark in remarks)
