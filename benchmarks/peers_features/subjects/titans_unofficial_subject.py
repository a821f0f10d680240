"""How titans-unofficial is called."""

import importlib

from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import HEADS
from benchmarks.peers_features.sizes import WIDTH
from benchmarks.peers_features.subjects.subject import Torch


class TitansUnofficial(Torch):
    module = "titans"

    def __init__(self):
        super().__init__()
        titans = self.package
        shared = {
            "d_model": WIDTH,
            "n_layers": 2,
            "n_heads": HEADS,
            "persistent_tokens": 4,
            "window_size": CHUNK,
        }
        made = {
            "MAC": self.made(titans.TitansMAC, chunk_size=CHUNK, **shared),
            "MAG": self.made(titans.TitansMAG, **shared),
            "MAL": self.made(titans.TitansMAL, **shared),
        }
        self.models = {name: self.on_vectors(made[name]) for name in made}
        self.language_model = made["MAC"]
        memory = importlib.import_module("titans.utils.memory")
        self.memory_class = memory.NeuralMemoryModule
        self.settings = {"d_model": WIDTH}
        self.memory = self.made_memory()

    def layer(self, x, state=None, mask=None):
        with self.torch.no_grad():
            y, state = self.memory(self.tensor(x), state)
        return self.array(y), state
