"""Checkpoints that are recognised only to be refused by name."""

import re

BIREFNET = r"(^|\.)decoder\.decoder_block4\."
# (what it is, patterns of which each must occur in some name, or in none after a !); the first that
# fits counts
FOREIGN = (
    ("a BiRefNet over another backbone than Swin", BIREFNET, r"!(^|\.)bb\.layers\.0\.blocks\."),
    ("an early BiRefNet (of March or April 2024), whose decoder does not read the picture",
     BIREFNET, r"!(^|\.)decoder\.ipt_blk5\."),
    ("a BiRefNet with residual blocks (ResBlk)", BIREFNET, r"\.conv_resi\."),
    ("a BiRefNet with a plain ASPP", BIREFNET, r"\.dec_att\.aspp2\."),
    ("a BiRefNet without a deformable ASPP", BIREFNET, r"!\.dec_att\.aspp_deforms\."),
    ("a BiRefNet with a refiner", BIREFNET, r"(^|\.)(refiner|stem_layer)\."),
    ("timm's swinv2_cr", r"meta_mlp"),
    ("a Swin-MoE", r"experts|\._?moe"),
    ("a Swin-MLP", r"spatial_mlp"),
    ("a MaskDINO", r"label_enc|decoder\.bbox_embed", r"pixel_decoder"),
    ("a MaskFormer whose pixel decoder has a transformer (TransformerEncoderPixelDecoder)",
     r"pixel_decoder\.(transformer\.)?encoder\.layers\.0\.self_attn\.(attn\.)?in_proj_weight"),
    ("a MaskFormer whose decoder has encoder layers (ENC_LAYERS)",
     r"predictor\.transformer\.encoder\.layers\.0\."),
    ("a Mask2Former of more than one level beside its deformable attention",
     r"(adapter_2|lateral_convs\.1)\.", r"pixel_decoder.*level_e|module\.decoder\.level_embed"),
    ("a Hugging Face MaskFormer or Mask2Former without its classes (features only)",
     r"^pixel_level_module\."),
    ("a Hugging Face UperNet over a timm backbone", r"^backbone\._backbone\."),
    ("a MONAI SwinUNETR", r"^swinViT\."),
    ("a MoBY variant with BatchNorm", r"blocks\.\d+\.norm2\.running_mean"),
    ("a segmentation model over Swin V2", r"\.(cpb|rpe)_mlp\.", r"^((backbone\.)?norm\d|"
     r"decode_head)\."),
    ("a MaskFormer or Mask2Former of a kind of its own",
     r"pixel_level_module|pixel_decoder|transformer_decoder|sem_seg_head",
     r"!(^|\.)(sem_seg_head\.predictor|decode_head|panoptic_head)\.query_embed\.weight$",
     r"!(^|\.)model\.pixel_level_module\.decoder\.mask_projection\.weight$"),
    ("a K-Net", r"^decode_head\.kernel_(generate|update)_head\."),
    ("a detector", r"^(roi_head|rpn_head|bbox_head|mask_head)\."),
    ("a cascade of heads", r"^decode_head\.\d+\."),
    ("a segmentation model with an ASPP head (DeepLab)", r"^decode_head\.(c1_|.*aspp_modules)"),
    ("a segmentation model whose head has GroupNorm, LayerNorm or InstanceNorm",
     r"^(decode_head|neck)\..*\.(gn|ln|in)\.(weight|bias)$",
     r"!^decode_head\.query_embed\.weight$"),
    ("an mmpretrain classifier", r"attn\.w_msa\.", r"^head\."),
)


def recognise(names):
    """What a checkpoint is that this version does not take, or None."""
    text = "\n".join(names)
    for what, *patterns in FOREIGN:
        if all((re.search(pattern.lstrip("!"), text, re.MULTILINE) is None)
               == pattern.startswith("!") for pattern in patterns):
            return what
    return None
