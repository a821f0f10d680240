"""What checks call: a package, whichever it is.

A subject has `models`, for each variant of the paper that the package has a
function of ids to outputs, and `layer`, its memory alone. What else a package
offers is asked of its signatures and names by the checks, and not said here.

b: batch, n: length, d: width.
"""

import importlib

import numpy as np

from benchmarks.peers_features.sizes import TOKENS
from benchmarks.peers_features.sizes import WIDTH


class Subject:
    """A package. `layer(x, state, mask)` gives the outputs and a state."""

    module = None  # what is imported
    models = {}  # variant -> a function of ids (b, n) to outputs (b, n, ...)
    generating = None  # the variant that is asked to generate
    language_model = None
    memory_class = None
    networks_of = None  # the module that has what can be memorised into
    shared = None  # a folder, the same for every engine
    ways_round = {}  # options to train with, where the usual do not


class Torch(Subject):
    """What holds for all of PyTorch's: arrays in and out, one thread."""

    device = "cpu"
    call_name = "forward"

    def __init__(self):
        import torch

        self.torch = torch
        torch.set_num_threads(1)
        self.package = importlib.import_module(self.module)

    def made(self, make, **settings):
        """A module, always the same, that is not being trained."""
        self.torch.manual_seed(0)
        return make(**settings).to(self.device).eval()

    def made_memory(self, **option):
        return self.made(self.memory_class, **{**self.settings, **option})

    def tensor(self, x):
        return self.torch.tensor(x, device=self.device)

    def ids(self, x):
        return self.tensor(x).long()

    def array(self, outputs):
        """The outputs alone, whatever they are wrapped in."""
        if isinstance(outputs, dict) and not hasattr(outputs, "logits"):
            outputs = outputs["logits"]
        outputs = getattr(outputs, "logits", outputs)
        if isinstance(outputs, tuple):
            outputs = outputs[0]
        return outputs.detach().cpu().numpy()

    def read(self, model, inputs):
        with self.torch.no_grad():
            return self.array(model(inputs))

    def on_ids(self, model):
        return lambda ids: self.read(model, self.ids(ids))

    def on_vectors(self, model):
        """For a model of vectors: a fixed vector for each id."""
        vectors = np.random.default_rng(1).normal(size=(TOKENS, WIDTH))
        vectors = self.tensor(vectors.astype("float32"))
        return lambda ids: self.read(model, vectors[self.ids(ids)])

    def with_option(self, x, **option):
        return self.read(self.made_memory(**option), self.tensor(x))

    def loss(self, memory, x):
        outputs = memory(self.tensor(x))
        outputs = outputs[0] if isinstance(outputs, tuple) else outputs
        return outputs.square().sum()

    def trained(self, x, **option):
        """The memory's outputs after a step of Adam."""
        memory = self.made_memory(**option).train()
        optimizer = self.torch.optim.Adam(memory.parameters(), 0.01)
        self.loss(memory, x).backward()
        optimizer.step()
        return self.read(memory.eval(), self.tensor(x))

    def gradients(self, x):
        """Which of the memory's weights the outer gradient reaches.

        Those that the outputs do not depend on are left out, and second names
        of the same numbers.
        """
        memory = self.made_memory().train()
        self.loss(memory, x).backward()
        memory.eval()
        weights = dict(memory.named_parameters())
        found = {
            name: weight.grad is not None and bool(weight.grad.abs().sum() > 0)
            for name, weight in weights.items()
        }
        reached = {weights[name].data_ptr() for name in found if found[name]}
        before = self.read(memory, self.tensor(x))
        for name, weight in weights.items():
            if not found[name] and (
                weight.data_ptr() in reached
                or not self.matters(memory, weight, x, before)
            ):
                del found[name]
        return found

    def matters(self, memory, weight, x, before):
        kept = weight.data.clone()
        weight.data += self.torch.rand_like(weight)
        after = self.read(memory, self.tensor(x))
        weight.data.copy_(kept)
        return bool((after != before).any())
