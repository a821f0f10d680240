"""KerasHub's decoders, as small as they come."""

import keras_hub
import numpy as np
import pytest

VOCABULARY, WIDTH = 31, 16
ROWS, TOKENS = 2, 12
IDS = np.random.default_rng(0).integers(1, VOCABULARY, (ROWS, TOKENS))
IDS = IDS.astype("int32")

_SIZES = {
    "vocabulary_size": VOCABULARY,
    "num_layers": 2,
    "hidden_dim": WIDTH,
    "intermediate_dim": 24,
}
_GROUPED = {**_SIZES, "num_query_heads": 4, "num_key_value_heads": 2}
_GEMMA = {**_GROUPED, "head_dim": 8}

_BACKBONES = {
    "gpt2": ("GPT2Backbone", {**_SIZES, "num_heads": 2, "dropout": 0.0}),
    "opt": ("OPTBackbone", {**_SIZES, "num_heads": 2, "dropout": 0.0}),
    "llama": ("LlamaBackbone", _GROUPED),
    "mistral": ("MistralBackbone", {**_GROUPED, "sliding_window": 5}),
    "gemma": ("GemmaBackbone", {**_GEMMA, "use_post_attention_norm": True}),
    "gemma3": (
        "Gemma3Backbone",
        {**_GEMMA, "image_size": None, "vision_encoder": None},
    ),
    "qwen": ("QwenBackbone", _GROUPED),
    "qwen3": ("Qwen3Backbone", {**_GROUPED, "head_dim": 4}),
}
_QUICK = ("gpt2", "llama", "gemma", "qwen")
FAMILIES = [
    family if family in _QUICK else pytest.param(family, marks=pytest.mark.slow)
    for family in _BACKBONES
]


def tiny(family, **options):
    """A backbone of two layers."""
    name, sizes = _BACKBONES[family]
    return getattr(keras_hub.models, name)(**{**sizes, **options})


def inputs(ids=IDS, mask=None):
    mask = np.ones_like(ids) if mask is None else mask
    return {"token_ids": ids, "padding_mask": mask}


def mask_of(*lengths, tokens=TOKENS):
    return np.arange(tokens)[None] < np.array(lengths)[:, None]
