"""Checkpoints that are recognised only to be refused by name."""

import re

# (what it is, patterns of which each must occur in some name); the first that fits counts
FOREIGN = (
    ("timm's swinv2_cr", r"meta_mlp"),
    ("a Swin-MoE", r"experts|\._?moe"),
    ("a Swin-MLP", r"spatial_mlp"),
    ("a torchvision Swin V2", r"^features\.0\.0\.weight$", r"cpb_mlp"),
    ("a torchvision Swin", r"^features\.0\.0\.weight$", r"^features\.1\.0\.attn\.qkv\.weight$"),
    ("a Hugging Face MaskFormer or Mask2Former", r"pixel_level_module"),
    ("a Hugging Face Swin V2", r"embeddings\.patch_embeddings\.projection\.weight$",
     r"continuous_position_bias_mlp"),
    ("a Hugging Face UperNet", r"embeddings\.patch_embeddings\.projection\.weight$",
     r"^decode_head\.classifier\."),
    ("a Hugging Face Swin", r"embeddings\.patch_embeddings\.projection\.weight$"),
    ("a MONAI SwinUNETR", r"^swinViT\."),
    ("a MoBY pre-training file", r"^encoder_k\."),
    ("a SimMIM pre-training file", r"^encoder\.layers\.\d+\.blocks\.\d+\.attn\."),
    ("a timm features-only Swin", r"layers_0\.blocks"),
    ("a GLAM-Swin-Unet with cross-attention upsampling", r"layers_cross_attention_up"),
    ("a GLAM-Swin-Unet", r"layers_up", r"global_token"),
    ("a Swin-Unet", r"layers_up|concat_back_dim|swin_unet\."),
    ("a Swin V2", r"cpb_mlp|rpe_mlp|attn\.logit_scale|attn\.q_bias"),
    ("a MaskFormer or Mask2Former", r"pixel_decoder|transformer_decoder|sem_seg_head"),
    ("a detector", r"^(roi_head|rpn_head|bbox_head|mask_head)\."),
    ("a segmentation model with a neck (FPN)", r"^neck\."),
    ("a cascade of heads", r"^decode_head\.\d+\."),
    ("a segmentation model with FPNHead", r"^decode_head\.scale_heads\."),
    ("a segmentation model with GLAM's SegFormerHead", r"^decode_head\.linear_c1\."),
    ("a segmentation model with SegformerHead", r"^decode_head\.fusion_conv\."),
    ("a segmentation model with an ASPP head (DeepLab)", r"^decode_head\.(c1_|.*aspp_modules)"),
    ("an mmpretrain classifier", r"attn\.w_msa\.", r"^head\."),
    ("an image classifier of timm", r"^head\.fc\.", r"^layers\.1\.downsample\."),
    ("an image classifier of the official code", r"^layers\.0\.blocks\.0\.attn\.qkv\.weight$",
     r"^(head|norm)\.weight$"),
)


def recognise(names):
    """What a checkpoint is that this version does not take, or None."""
    text = "\n".join(names)
    for what, *patterns in FOREIGN:
        if all(re.search(pattern, text, re.MULTILINE) for pattern in patterns):
            return what
    return None
