"""How titans-trainer is called."""

from benchmarks.peers_features.sizes import CHUNK
from benchmarks.peers_features.sizes import HEADS
from benchmarks.peers_features.sizes import TOKENS
from benchmarks.peers_features.sizes import WIDTH
from benchmarks.peers_features.subjects.subject import Torch


class TitansTrainer(Torch):
    module = "titans_trainer"

    def __init__(self):
        super().__init__()
        self.language_model = self.made(
            self.package.TitansModel,
            vocab_size=TOKENS,
            d_model=WIDTH,
            n_layers=2,
            n_heads=HEADS,
            n_persistent=4,
            chunk_size=CHUNK,
            causal=True,
        )
        self.models = {"MAC": self.on_ids(self.language_model)}
        self.memory_class = self.package.NeuralMemory
        self.settings = {"d_model": WIDTH, "chunk_size": CHUNK}
        self.memory = self.made_memory()

    def layer(self, x, state=None, mask=None):
        return self.read(self.memory, self.tensor(x)), None

    def surprise(self, x):
        return self.memory(self.tensor(x), return_surprise=True)[1].detach()
