"""Random BiRefNets under the names of their authors' code."""

import numpy as np

from . import backbone_state


def birefnet_state(E=4, inner=3, branch=4, kernels=(1, 1, 3), patches=2, gate=3, seed=11):
    rng, state = np.random.default_rng(seed), {}

    def conv(name, outputs, inputs, k, bias=True):
        state[name + ".weight"] = rng.normal(size=(outputs, inputs, k, k)).astype("f4")
        if bias:
            state[name + ".bias"] = rng.normal(size=outputs).astype("f4")

    def norm(name, n):
        for part in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{part}"] = rng.uniform(0.5, 2, n).astype("f4")
        state[name + ".num_batches_tracked"] = np.array(7, "i8")

    def block(name, inputs, outputs):
        conv(name + ".conv_in", inner, inputs, 3)
        norm(name + ".bn_in", inner)
        for n, k in enumerate(kernels):
            module = name + (f".dec_att.aspp_deforms.{n - 1}" if n else ".dec_att.aspp1")
            conv(module + ".atrous_conv.offset_conv", 2 * k * k, inner, k)
            conv(module + ".atrous_conv.modulator_conv", k * k, inner, k)
            conv(module + ".atrous_conv.regular_conv", branch, inner, k, bias=False)
            norm(module + ".bn", branch)
        conv(name + ".dec_att.global_avg_pool.1", branch, inner, 1, bias=False)
        norm(name + ".dec_att.global_avg_pool.2", branch)
        conv(name + ".dec_att.conv1", inner, (len(kernels) + 1) * branch, 1, bias=False)
        norm(name + ".dec_att.bn1", inner)
        conv(name + ".conv_out", outputs, inner, 3)
        norm(name + ".bn_out", outputs)

    for name, array in backbone_state(E, (1, 2, 1, 1), (1, 1, 2, 2)).items():
        state[name.replace("backbone.", "bb.")] = array
    c1, c2, c3, c4 = (2 * E << i for i in range(4))
    block("squeeze_module.0", c1 + c2 + c3 + c4, c4)
    decoder = "decoder."
    levels = {4: (c4, c4 // 8, c3), 3: (c3, c4 // 8, c2), 2: (c2, c3 // 8, c1), 1: (c1, c2 // 8, E)}
    for level, (width, planes, outputs) in levels.items():
        block(f"{decoder}decoder_block{level}", width + planes, outputs)
        conv(f"{decoder}ipt_blk{level + 1}.conv1", patches, 3 * 4 ** (level + 1), 3)
        conv(f"{decoder}ipt_blk{level + 1}.conv_out", planes, patches, 3)
        if level < 4:
            conv(f"{decoder}lateral_block{level + 1}.conv", width, width, 1)
        if level > 1:
            conv(f"{decoder}gdt_convs_{level}.0", gate, outputs, 3)
            norm(f"{decoder}gdt_convs_{level}.1", gate)
            conv(f"{decoder}gdt_convs_attn_{level}.0", 1, gate, 1)
            conv(f"{decoder}gdt_convs_pred_{level}.0", 1, gate, 1)
            conv(f"{decoder}conv_ms_spvn_{level}", 1, outputs, 1)
    conv(decoder + "ipt_blk1.conv1", patches, 3, 3)
    conv(decoder + "ipt_blk1.conv_out", c1 // 8, patches, 3)
    conv(decoder + "conv_out1.0", 1, E + c1 // 8, 1)
    return state
