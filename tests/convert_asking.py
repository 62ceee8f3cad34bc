"""What weights do not tell is asked for at once: a refusal names all options that are missing."""

import re

import pytest

from checkpoints import backbone_state, uper_state
from checkpoints.convert import convert_state
from checkpoints.families import (hucao_state, hugging_face_state, official_state, timm_state,
                                  uper_names, without_buffers)
from swinblob.canonical import Refused

SIZE, WINDOW, PRETRAINED = "--image-size 48x48", "--window 3", "--pretrained-windows 0,0,0"
THRESHOLD, POOLS = "--threshold 0.5", "--pool-scales 1,3,5"
ONE, ONE_V2 = official_state(classes=1), official_state(version=2, classes=1)
BACKBONE = {"backbone." + n: a for n, a in hugging_face_state(ONE, "backbone").items()}

# name: (tensors, options that have to be asked for)
CASES = {
    "official": (without_buffers(ONE), [THRESHOLD, SIZE]),
    "official-v2": (without_buffers(ONE_V2), [THRESHOLD, WINDOW, SIZE, PRETRAINED]),
    "official-v2-coordinates": ({n: a for n, a in ONE_V2.items() if "attn_mask" not in n
                                 and "position_index" not in n}, [THRESHOLD, SIZE]),
    "official-v2-masks": ({n: a for n, a in ONE_V2.items() if "coords" not in n},
                          [THRESHOLD, PRETRAINED]),
    "timm-v2": (timm_state(ONE_V2), [THRESHOLD, SIZE, WINDOW, PRETRAINED]),
    "timm-of-odd-tables": ({**timm_state(ONE), "layers.0.blocks.0.attn."
                            "relative_position_bias_table": ONE["norm.bias"].reshape(16, 1)},
                           [THRESHOLD, SIZE]),
    "hf-v2": (hugging_face_state(ONE_V2), [THRESHOLD, SIZE, WINDOW, PRETRAINED]),
    "hf-upernet": ({**BACKBONE, **uper_names(uper_state(features=(0, 1, 2), K=1, pools=3))},
                   [THRESHOLD, POOLS]),
    "mmseg": ({**backbone_state(), **uper_state(K=1, pools=3)}, [THRESHOLD, POOLS]),
    "unet": ({n: a for n, a in hucao_state(classes=1).items() if "attn_mask" not in n},
             [THRESHOLD, SIZE]),
}
CONVERTS = [name for name in CASES if name != "timm-of-odd-tables"]


def asked(state, *arguments):
    """The options that the refusal of a conversion asks for."""
    with pytest.raises(Refused) as refusal:
        convert_state(state, *arguments)
    text = str(refusal.value)
    assert "\n" not in text and text.count(": give --") == 1
    return sorted(re.findall("--[a-z-]+", text[text.index(": give --"):]))


@pytest.mark.parametrize("name", CASES)
def test_all_is_asked_for_in_one_sentence(name):
    state, options = CASES[name]
    assert asked(state) == sorted(option.split()[0] for option in options)


@pytest.mark.parametrize("name", CONVERTS)
def test_only_what_is_missing_is_asked_for(name):
    state, options = CASES[name]
    for missing in options:
        given = " ".join(option for option in options if option != missing).split()
        assert asked(state, *given) == [missing.split()[0]]


@pytest.mark.parametrize("name", CONVERTS)
def test_what_was_asked_for_is_enough(name):
    state, options = CASES[name]
    assert convert_state(state, *" ".join(options).split()).description["classes"] == 2


def test_coordinates_of_another_window_are_refused():
    state = official_state(version=2)
    name = "layers.0.blocks.0.attn.relative_coords_table"
    with pytest.raises(Refused, match=f"{name} belongs to a window of 2, but stage 0"):
        convert_state({**state, name: state[name][:, 1:-1, 1:-1]})
