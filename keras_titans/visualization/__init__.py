"""Pictures of memories: functions of arrays that return matplotlib figures.

They need matplotlib (`pip install "keras-titans[plot]"`) and leave pyplot's
global state alone: `figure.savefig("name.png")` writes one. What is told by
colour is told by lightness too, in one hue, so it survives a grey printer and
colour blindness.
"""

from keras_titans.visualization.loss_by_position import loss_by_position
from keras_titans.visualization.memory_difference import memory_difference
from keras_titans.visualization.recall_by_token import recall_by_token
from keras_titans.visualization.recall_heat_map import recall_heat_map
from keras_titans.visualization.surprise_over_text import surprise_over_text
from keras_titans.visualization.what_memory_holds import what_memory_holds

__all__ = [
    "loss_by_position",
    "memory_difference",
    "recall_by_token",
    "recall_heat_map",
    "surprise_over_text",
    "what_memory_holds",
]
