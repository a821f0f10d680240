"""The packages that are compared, each called in its own way.

An interpreter has but one of them, so no file here imports a package at its
top.
"""

from benchmarks.peers_features.subjects.flash_linear_attention_subject import (
    FlashLinearAttention,
)
from benchmarks.peers_features.subjects.keras_titans_subject import KerasTitans
from benchmarks.peers_features.subjects.open_titans_subject import OpenTitans
from benchmarks.peers_features.subjects.titans_pytorch_subject import (
    TitansPytorch,
)
from benchmarks.peers_features.subjects.titans_trainer_subject import (
    TitansTrainer,
)
from benchmarks.peers_features.subjects.titans_unofficial_subject import (
    TitansUnofficial,
)

SUBJECTS = {
    "keras-titans": KerasTitans,
    "titans-pytorch": TitansPytorch,
    "titans-unofficial": TitansUnofficial,
    "open-titans": OpenTitans,
    "titans-trainer": TitansTrainer,
    "flash-linear-attention": FlashLinearAttention,
}
