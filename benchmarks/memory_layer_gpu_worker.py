"""What `memory_layer_gpu.py` measures, each in a process of its own."""

from benchmarks import accelerator
from benchmarks import engines
from benchmarks import workers
from benchmarks.built import built
from benchmarks.memory_layer_worker import split
from benchmarks.variants import DEEP


class OnDevice:
    """An engine on the device that is asked for, and what it holds there."""

    def __init__(self, spec):
        kind = spec["engine"]
        self.engine = engines.engine_on(spec["device"], kind, tf32=spec["tf32"])
        self.name = accelerator.device_name(kind)
        self.spec, self.calls = spec, {}

    def versions(self):
        return {**self.engine.versions(), "device": self.name}

    def inputs(self):
        """The input and the output's cotangent, `(B, N, D)`."""
        spec = self.spec
        shape = spec["batch"], spec["length"], spec["dim"]
        for seed in (0, 2):
            values = engines.random(seed, *shape)
            yield self.engine.array(values, spec["dtype"])

    def prepare(self, mode):
        self.calls[mode] = self.make(mode)
        result = self.call(mode)
        output = result if mode == "forward" else split(result)[1][1]
        finite = abs(float(output.sum())) < float("inf")
        peak = accelerator.device_peak(self.spec["engine"])
        return {"finite": finite, "device_peak": peak}

    def call(self, mode):
        return self.calls[mode]()


class Ours(OnDevice):
    """`keras_titans.layers.NeuralMemory`, mixed precision."""

    def __init__(self, spec):
        super().__init__(spec)
        import keras_titans

        policy = spec["dtype"]
        self.layer = keras_titans.layers.NeuralMemory(
            num_heads=spec["heads"],
            head_dim=spec["head_dim"],
            network=keras_titans.memory.MLPMemory(
                depth=spec["depth"], expansion=spec["expansion"]
            ),
            chunk_size=spec["chunk"],
            anchor=spec["anchor"],
            update_rule=built(DEEP)["update_rule"],
            dtype=policy if policy == "float32" else f"mixed_{policy}",
        )
        self.x, self.weights = self.inputs()
        self.layer.build(self.x.shape)

    def make(self, mode):
        if mode == "forward":
            return self.engine.forward(self.layer, self.x)
        return self.engine.train(self.layer, self.x, self.weights)


class Attention(OnDevice):
    """torch's scaled-dot-product attention, causal, with its four projections
    (`"layer"`) or alone (`"product"`)."""

    def __init__(self, spec):
        super().__init__(spec)
        torch = self.engine.torch
        inner = spec["heads"] * spec["head_dim"]
        self.x, self.weights = self.inputs()
        options = {
            "bias": False,
            "dtype": self.x.dtype,
            "device": spec["device"],
        }
        self.into = torch.nn.Linear(spec["dim"], 3 * inner, **options)
        self.out = torch.nn.Linear(inner, spec["dim"], **options)
        if spec["variant"] == "product":
            shape = spec["batch"], spec["length"], 3 * inner
            self.x = self.engine.array(engines.random(0, *shape), spec["dtype"])
            shape = spec["batch"], spec["length"], inner
            self.weights = self.engine.array(
                engines.random(2, *shape), spec["dtype"]
            )

    def versions(self):
        return {"torch": self.engine.torch.__version__, "device": self.name}

    def _mix(self, x):
        rows, length, _ = x.shape
        shape = rows, length, 3, self.spec["heads"], self.spec["head_dim"]
        query, key, value = x.view(shape).permute(2, 0, 3, 1, 4)
        y = self.engine.torch.nn.functional.scaled_dot_product_attention(
            query, key, value, is_causal=True
        )
        return y.transpose(1, 2).reshape(rows, length, -1)

    def _layer(self, x):
        return self.out(self._mix(self.into(x)))

    def make(self, mode):
        whole = self.spec["variant"] == "layer"
        function = self._layer if whole else self._mix
        if mode == "train":
            layers = (self.into, self.out) if whole else ()
            sources = [layer.weight for layer in layers]
            return self.engine.gradient(function, sources, self.x, self.weights)

        def forward():
            with self.engine.torch.no_grad():
                return self.engine.wait(function(self.x))

        return forward


class Rate(OnDevice):
    """Matrix products: `large`, and `small` as one chunk's are."""

    def __init__(self, spec):
        super().__init__(spec)
        self.shapes = {
            "large": ([spec["large"]] * 2, [spec["large"]] * 2),
            "small": spec["small"],
        }

    def make(self, mode):
        size, dtype = mode.split()
        a, b = (
            self.engine.array(engines.random(seed, *shape), dtype)
            for seed, shape in zip((4, 5), self.shapes[size], strict=True)
        )
        return self.engine.product(a, b)

    def prepare(self, mode):
        self.calls = {mode: self.make(mode)}
        self.call(mode)


def make(spec):
    kinds = {"ours": Ours, "attention": Attention, "rate": Rate}
    return kinds[spec["what"]](spec)


if __name__ == "__main__":
    workers.serve(make)
