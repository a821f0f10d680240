"""What Titans are compared with, as mixers for a `TitansBackbone`.

Not part of the installed package. `models` builds whole models of equal size
around these mixers and around the package's own.
"""

from benchmarks.baselines.full_attention import FullAttention
from benchmarks.baselines.gated_delta import GatedDelta
from benchmarks.baselines.gated_linear_rnn import GatedLinearRNN
from benchmarks.baselines.mamba2 import Mamba2

__all__ = ["FullAttention", "GatedDelta", "GatedLinearRNN", "Mamba2"]
