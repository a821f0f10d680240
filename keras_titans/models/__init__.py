"""Whole models, and what trains and keeps them.

Some build on KerasHub, which is an extra and slow to import. They are loaded
when they are first asked for; or with this package, where KerasHub is imported
already, so that its `from_preset` finds them.
"""

import importlib
import sys

from keras_titans.models.add_memory import add_memory
from keras_titans.models.memory_snapshot import MemorySnapshot
from keras_titans.models.segmented_trainer import SegmentedTrainer
from keras_titans.models.streaming_model import StreamingModel
from keras_titans.models.titans_forecaster import TitansForecaster

_WITH_KERAS_HUB: dict[str, str] = {  # name -> module
    "MemoryBackbone": "keras_titans.models.memory_backbone",
    "MemoryCausalLM": "keras_titans.models.memory_causal_lm",
    "TitansBackbone": "keras_titans.models.titans_backbone",
    "TitansByteTokenizer": "keras_titans.models.titans_byte_tokenizer",
    "TitansCausalLM": "keras_titans.models.titans_causal_lm",
    "TitansCausalLMPreprocessor": (
        "keras_titans.models.titans_causal_lm_preprocessor"
    ),
    "TitansClassifier": "keras_titans.models.titans_classifier",
    "TitansTextClassifierPreprocessor": (
        "keras_titans.models.titans_text_classifier_preprocessor"
    ),
    "TitansTokenizer": "keras_titans.models.titans_tokenizer",
}

__all__ = [
    "MemorySnapshot",
    "SegmentedTrainer",
    "StreamingModel",
    "TitansForecaster",
    "add_memory",
    *_WITH_KERAS_HUB,
]


def __getattr__(name):
    if name not in _WITH_KERAS_HUB:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        importlib.import_module("keras_hub")
    except ImportError as error:
        raise ImportError(
            f"`keras_titans.models.{name}` builds on KerasHub: "
            "pip install keras-hub."
        ) from error
    return getattr(importlib.import_module(_WITH_KERAS_HUB[name]), name)


def __dir__():
    return __all__


if "keras_hub" in sys.modules:
    for _name in _WITH_KERAS_HUB:
        globals()[_name] = __getattr__(_name)
