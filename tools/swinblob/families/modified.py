"""Models whose weights were changed or taken apart after training, which must be put together by
the library that did it."""

import re

from ..records import Refused

# (what the checkpoint holds, pattern of a name, what helps)
MODIFIED = tuple((what, re.compile(pattern), helps) for what, pattern, helps in (
    ("adapters (LoRA and its kin)",
     r"(^|[._])(lora|vera|ia3|oft|boft|hada|lokr|dora|hra|fourierft|vblora)_\w"
     r"|\.(base_layer|original_module|modules_to_save|adapters?)\.",
     "merge them into the model first, with peft by merge_and_unload(), and save that"),
    ("quantised weights",
     r"\.weight\.(absmax|quant_map|nested_absmax|quant_state|_data|_scale|tensor_impl)"
     r"|\.(SCB|weight_format|qweight|qzeros|g_idx|zero_point|_packed_params|weight_scale|"
     r"weight_packed|weight_scale_inv|weight_fake_quant|activation_post_process)(\.|$)",
     "convert the model as it was before, or dequantise it first"),
    ("weights that are parametrised (torch.nn.utils.parametrize)", r"\.parametrizations\.",
     "call remove_parametrizations(module, name) on those modules and save again"),
    ("weights under spectral_norm", r"(^|\.)(weight|bias|\w+_weight)_u$",
     "call remove_spectral_norm(module) on those modules and save again"),
    ("pruned weights with their masks (torch.nn.utils.prune)", r"(^|\.)\w+_orig$",
     "call prune.remove(module, name) on those modules and save again"),
    ("weights under weight_norm", r"^(?!.*\blast_layer\.)(.*\.)?weight_g$",
     "call remove_weight_norm(module) on those modules and save again"),
    ("weights in flat pieces (FSDP)", r"(^|\.)_?flat_param",
     "save the full state dict (StateDictType.FULL_STATE_DICT)"),
))


def refuse(tensors):
    """Refuses a checkpoint whose tensors are not yet, or no longer, the model's own weights."""
    for what, pattern, helps in MODIFIED:
        name = next(filter(pattern.search, tensors), None)
        if name is not None:
            raise Refused(f"this holds {what}, such as {name[:100]}: {helps}")
    empty = [name for name, tensor in tensors.items()
             if tensor.shape == (0,) and name.endswith(".weight")]
    if empty:
        raise Refused(f"{empty[0][:100]} and others are empty: a model in pieces, as DeepSpeed "
                      "(ZeRO 3) and FSDP save it; join it first, by zero_to_fp32.py for DeepSpeed")
