"""What `memory_layer.py` measures, each in a process of its own.

Run by `workers.Worker`, under our interpreter or the peer's; see `workers`.
"""

import numpy as np

from benchmarks import engines
from benchmarks import measure
from benchmarks import workers
from benchmarks.built import built
from benchmarks.variants import DEEP


class Ours:
    """`keras_titans.layers.NeuralMemory` on one engine."""

    def __init__(self, spec):
        self.spec = spec
        self.engine = engines.ENGINES[spec["engine"]](spec["threads"])
        import keras_titans

        self.layer = keras_titans.layers.NeuralMemory(
            num_heads=spec["heads"],
            head_dim=spec["head_dim"],
            network=keras_titans.memory.MLPMemory(
                depth=spec["depth"], expansion=spec["expansion"]
            ),
            chunk_size=spec["chunk"],
            anchor=spec["anchor"],
            update_rule=built(DEEP)["update_rule"],
        )
        shape = (spec["batch"], spec["length"], spec["dim"])
        self.layer.build(shape)
        self.x = self.engine.array(engines.random(0, *shape))
        self.weights = self.engine.array(engines.random(2, *shape))
        self.calls = {}

    def versions(self):
        import keras_titans

        ours = {"keras-titans": getattr(keras_titans, "__version__", "?")}
        return ours | self.engine.versions()

    def prepare(self, mode):
        if mode == "forward":
            self.calls[mode] = self.engine.forward(self.layer, self.x)
            return _describe(self.calls[mode]())
        step = self.engine.train(self.layer, self.x, self.weights)
        self.calls[mode] = step
        _, (by_weight, by_input) = split(step())
        return _describe_gradients([*by_weight, by_input])

    def call(self, mode):
        self.calls[mode]()


def split(result):
    """`loss, (gradients by weights, gradient by input)` of any engine."""
    loss, gradients = result
    if len(gradients) != 2 or not isinstance(gradients[0], (list, tuple)):
        gradients = gradients[:-1], gradients[-1]
    return loss, gradients


class Peer:
    """`titans_pytorch.NeuralMemory`.

    `variant="chunk starts"` takes each chunk's gradients at the weights that
    the chunk starts from (the paper's, ours); `"initial weights"` is its
    default.
    """

    def __init__(self, spec):
        import torch
        from titans_pytorch import MemoryMLP
        from titans_pytorch import NeuralMemory

        torch.set_num_threads(spec["threads"])
        torch.manual_seed(0)
        self.torch = torch
        paper = spec["variant"] == "chunk starts"
        self.layer = NeuralMemory(
            dim=spec["dim"],
            heads=spec["heads"],
            dim_head=spec["head_dim"],
            chunk_size=spec["chunk"],
            batch_size=spec["chunk"] if paper else None,
            model=MemoryMLP(
                dim=spec["head_dim"],
                depth=spec["depth"],
                expansion_factor=spec["expansion"],
            ),
        )
        shape = (spec["batch"], spec["length"], spec["dim"])
        self.x = torch.tensor(engines.random(0, *shape)).requires_grad_()
        self.weights = torch.tensor(engines.random(2, *shape))

    def versions(self):
        from importlib.metadata import version

        return {
            "titans-pytorch": version("titans-pytorch"),
            "torch (peer)": self.torch.__version__,
        }

    def prepare(self, mode):
        result = self.call(mode)
        if mode == "forward":
            return _describe(result)
        return _describe_gradients(result)

    def call(self, mode):
        if mode == "forward":
            with self.torch.no_grad():
                return self.layer(self.x)[0]
        loss = (self.layer(self.x)[0] * self.weights).sum()
        wanted = [*self.layer.parameters(), self.x]
        return self.torch.autograd.grad(loss, wanted, allow_unused=True)


class Rate:
    """How fast an engine multiplies matrices: `small` ones, as a chunk's are,
    and `large` ones, as benchmarks of machines have them."""

    def __init__(self, spec):
        self.engine = engines.ENGINES[spec["engine"]](spec["threads"])
        batch, rows, columns = spec["small"]
        matrices = engines.rotations(spec["count"], batch, rows)
        x = engines.random(3, batch, rows, columns)
        side = spec["large"]
        a, b = (engines.random(seed, side, side) for seed in (4, 5))
        small = map(self.engine.array, (matrices, x))
        large = map(self.engine.array, (a, b))
        self.calls = {
            "small": self.engine.chain(*small),
            "large": self.engine.product(*large),
        }

    def versions(self):
        return self.engine.versions()

    def prepare(self, mode):
        self.calls[mode]()

    def call(self, mode):
        self.calls[mode]()


def _numpy(tensor):
    tensor = tensor.detach() if hasattr(tensor, "detach") else tensor
    return np.asarray(tensor)


def _describe(output):
    """The output's size, so that a table can say what diverged."""
    output = _numpy(output).astype("float64")
    finite = bool(np.isfinite(output).all())
    with np.errstate(over="ignore", invalid="ignore"):
        size = float(np.sqrt(np.mean(np.square(output))))
    return {"finite": finite, "rms": size if np.isfinite(size) else None}


def _describe_gradients(gradients):
    reached = [g for g in gradients if g is not None]
    return {
        "finite": all(bool(np.isfinite(_numpy(g)).all()) for g in reached),
        "unreached": len(gradients) - len(reached),
    }


def make(spec):
    """The cell that `spec["what"]` names, on as many cores as it says."""
    measure.use_cores(spec["threads"])
    return {"ours": Ours, "peer": Peer, "rate": Rate}[spec["what"]](spec)


if __name__ == "__main__":
    workers.serve(make)
