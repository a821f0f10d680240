"""What is memorised into, and how."""

from keras_titans.memory.gate import Gate
from keras_titans.memory.gate import Spread
from keras_titans.memory.gated_delta import GatedDelta
from keras_titans.memory.gated_mlp_memory import GatedMLPMemory
from keras_titans.memory.memory_network import MemoryNetwork
from keras_titans.memory.mlp_memory import MLPMemory
from keras_titans.memory.objective import Huber
from keras_titans.memory.objective import LpError
from keras_titans.memory.objective import Objective
from keras_titans.memory.objective import SquaredError
from keras_titans.memory.titans import Titans
from keras_titans.memory.update_rule import UpdateRule

__all__ = [
    "Gate",
    "GatedDelta",
    "GatedMLPMemory",
    "Huber",
    "LpError",
    "MLPMemory",
    "MemoryNetwork",
    "Objective",
    "Spread",
    "SquaredError",
    "Titans",
    "UpdateRule",
]
