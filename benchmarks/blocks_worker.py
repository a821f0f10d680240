"""What `blocks.py` measures, each in a process of its own."""

from benchmarks import accelerator
from benchmarks import engines
from benchmarks import measure
from benchmarks import workers
from benchmarks.shared_width import memory_of

TOKENS = 256  # of the vocabulary


def full_attention(spec):
    """A block around the engine's own causal attention, else as ours."""
    import keras
    from keras import ops

    heads = spec["heads"], spec["dim"] // spec["heads"]
    norm = keras.layers.RMSNormalization

    def dense(x, units):
        return keras.layers.Dense(units, use_bias=False)(x)

    def block(x):
        h = norm()(x)
        q, k, v = (
            keras.layers.Reshape((-1, *heads))(dense(h, spec["dim"]))
            for _ in range(3)
        )
        y = ops.dot_product_attention(q, k, v, is_causal=True)
        y = keras.layers.Reshape((-1, spec["dim"]))(y)
        x = x + dense(y, spec["dim"])
        h = norm()(x)
        gate = keras.layers.Activation("silu")(dense(h, spec["hidden"]))
        return x + dense(gate * dense(h, spec["hidden"]), spec["dim"])

    return block


def ours(spec):
    """A block with one of our mixers, by name."""
    from keras_titans.layers import TitansBlock

    mixer = spec["variant"].removesuffix(", recomputed")
    return TitansBlock(
        mixer,
        spec["hidden"],
        num_heads=spec["heads"],
        window_size=spec["window"],
        memory=memory_of(mixer, spec["dim"], spec["heads"]),
        remat=spec.get("remat", False),
    )


def on_device(spec):
    """The accelerator's name, and the most bytes it has held."""
    name = accelerator.device_name(spec["engine"])
    if name == "cpu":
        return {}
    return {
        "device_name": name,
        "device_peak": accelerator.device_peak(spec["engine"]),
    }


class Model:
    """Embedding, blocks, norm and logits, on one engine."""

    def __init__(self, spec):
        self.spec = spec
        self.engine = engines.engine_on(
            spec["device"], spec["engine"], spec["threads"]
        )
        import keras

        keras.utils.set_random_seed(0)
        dtype = spec["dtype"]
        if dtype != "float32":
            keras.config.set_dtype_policy(f"mixed_{dtype}")
        make = full_attention if spec["variant"] == "full" else ours
        x = inputs = keras.Input((None, spec["dim"]))
        self.blocks = [make(spec) for _ in range(spec["depth"])]
        for block in self.blocks:
            x = block(x)
        x = keras.layers.RMSNormalization()(x)
        outputs = keras.layers.Dense(TOKENS, use_bias=False)(x)
        self.model = keras.Model(inputs, outputs)
        shape = (spec["batch"], spec["length"])
        array = lambda *args: self.engine.array(engines.random(*args), dtype)
        self.x = array(0, *shape, spec["dim"])
        self.weights = array(1, *shape, TOKENS)
        self.calls = {}

    def versions(self):
        return self.engine.versions()

    def compile(self, mode):
        """Compiles and runs nothing: JAX's cache has it then."""
        self._make(mode).compile()
        return {}

    def prepare(self, mode):
        self.calls[mode] = self._make(mode)
        self.call(mode)
        return {
            "parameters": self.model.count_params(),
            **on_device(self.spec),
        }

    def _make(self, mode):
        if mode == "step":
            return self._step()
        if mode == "forward":
            return self.engine.forward(self.model, self.x)
        return self.engine.train(self.model, self.x, self.weights)

    def _step(self):
        """One token through all blocks, from their states: generation."""
        states = [
            block.get_initial_state(self.spec["batch"]) for block in self.blocks
        ]

        def step(x, states):
            after = []
            for block, state in zip(self.blocks, states, strict=True):
                x, state = block(x, initial_state=state, return_state=True)
                after.append(state)
            return x, after

        return self.engine.step(step, self.x[:, :1], states)

    def call(self, mode):
        self.calls[mode]()


class Peer:
    """titans-pytorch's `MemoryAsContextTransformer` of the same size."""

    def __init__(self, spec):
        self.engine = engines.engine_on(
            spec["device"], "torch", spec["threads"]
        )
        from titans_pytorch import MemoryAsContextTransformer
        from titans_pytorch import MemoryMLP

        torch = self.engine.torch
        torch.manual_seed(0)
        self.spec = spec
        width = spec["dim"] // spec["heads"]
        self.model = MemoryAsContextTransformer(
            num_tokens=TOKENS,
            dim=spec["dim"],
            depth=spec["depth"],
            segment_len=spec["window"],
            num_persist_mem_tokens=4,
            dim_head=width,
            heads=spec["heads"],
            num_residual_streams=1,
            neural_memory_batch_size=spec["peer_batch"],
            neural_memory_segment_len=64,
            neural_memory_model=MemoryMLP(
                dim=width, depth=2, expansion_factor=4
            ),
            neural_memory_kwargs={
                "heads": spec["heads"],
                "dim_head": width,
            },
        ).to(spec["device"])
        shape = spec["batch"], spec["length"]
        self.ids = torch.randint(0, TOKENS, shape).to(spec["device"])
        self.weights = [p for p in self.model.parameters() if p.requires_grad]

    def versions(self):
        from importlib.metadata import version

        return {"titans-pytorch": version("titans-pytorch")}

    def prepare(self, mode):
        self.call(mode)
        count = sum(p.numel() for p in self.model.parameters())
        return {"parameters": count, **on_device(self.spec)}

    def call(self, mode):
        torch = self.engine.torch
        with torch.set_grad_enabled(mode == "train"):
            result = self._forward()
        if mode == "train":
            loss = result.float().square().sum()
            result = torch.autograd.grad(loss, self.weights, allow_unused=True)
        self.engine.wait(result)

    def _forward(self):
        torch, dtype = self.engine.torch, self.spec["dtype"]
        with torch.autocast(
            self.spec["device"],
            dtype=getattr(torch, dtype),
            enabled=dtype != "float32",
        ):
            return self.model(self.ids)


def make(spec):
    if spec["device"] == "cpu":
        measure.use_cores(spec["threads"])
    return (Peer if spec["package"] == "titans-pytorch" else Model)(spec)


if __name__ == "__main__":
    workers.serve(make)
