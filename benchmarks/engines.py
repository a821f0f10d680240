"""One engine a class: a Keras layer's forward and training step, and products.

Each method returns a function without arguments that ends when its result is
there. `train` differentiates `sum(output * weights)` by all trainable weights
and by the input. `step` calls `function(x, state) -> (output, state)` again and
again, each time from the state that came out. Frameworks are imported here,
inside the methods, and only the one that is asked for.
"""

import os

import numpy as np

from benchmarks import accelerator


def random(seed, *shape):
    """Standard normal float32, the same for every engine."""
    values = np.random.default_rng(seed).standard_normal(shape)
    return values.astype("float32")


def rotations(count, heads, size):
    """Orthogonal matrices: a chain of products with them neither grows nor
    fades, so it never meets a slow number."""
    return np.linalg.qr(random(1, count, heads, size, size))[0]


def stepping(run, x, state):
    """One call of `run` from the state of the last, waited for."""
    from keras import ops

    held = [state]

    def call():
        output, held[0] = run(x, held[0])
        ops.convert_to_numpy(output)

    return call


class Jax:
    """JAX: everything under one `jax.jit`."""

    def __init__(self, threads=None):
        os.environ["KERAS_BACKEND"] = "jax"
        import jax

        self.jax = jax

    def versions(self):
        import keras

        return {"keras": keras.__version__, "jax": self.jax.__version__}

    def array(self, values, dtype="float32"):
        return self.jax.numpy.asarray(values, dtype)

    def _call(self, run, *arguments):
        """A call of a jitted function; its `compile` does no more than that."""
        call = lambda: self.jax.block_until_ready(run(*arguments))
        call.compile = lambda: run.lower(*arguments).compile()
        return call

    def forward(self, layer, x):
        fixed = self._variables(layer)
        run = self.jax.jit(
            lambda variables, x: layer.stateless_call(
                *variables, x, training=False
            )[0]
        )
        return self._call(run, fixed, x)

    def train(self, layer, x, weights):
        trainable, other = self._variables(layer)

        def loss(trainable, x, other, weights):
            y = layer.stateless_call(trainable, other, x, training=True)[0]
            return self.jax.numpy.sum(y * weights)

        run = self.jax.jit(self.jax.value_and_grad(loss, argnums=(0, 1)))
        return self._call(run, trainable, x, other, weights)

    def step(self, function, x, state):
        # A state is used once: the next is written in its place, as a loop
        # of generation does. What is given away here is a copy.
        run = self.jax.jit(function, donate_argnums=1)
        own = self.jax.tree.map(self.jax.numpy.copy, state)
        return stepping(run, x, own)

    def _variables(self, layer):
        return (
            [v.value for v in layer.trainable_variables],
            [v.value for v in layer.non_trainable_variables],
        )

    def product(self, a, b):
        return self._call(self.jax.jit(self.jax.numpy.matmul), a, b)

    def chain(self, matrices, x):
        step = lambda y, a: (a @ y, None)
        run = self.jax.jit(lambda a, x: self.jax.lax.scan(step, x, a)[0])
        return self._call(run, matrices, x)


class TensorFlow:
    """TensorFlow: everything under one `tf.function(jit_compile=True)`."""

    def __init__(self, threads=None):
        os.environ["KERAS_BACKEND"] = "tensorflow"
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import tensorflow as tf

        if threads:
            tf.config.threading.set_intra_op_parallelism_threads(threads)
            tf.config.threading.set_inter_op_parallelism_threads(threads)
        self.tf = tf

    def versions(self):
        import keras

        return {"keras": keras.__version__, "tensorflow": self.tf.__version__}

    def array(self, values, dtype="float32"):
        return self.tf.cast(values, dtype)

    def _run(self, function, *arguments):
        run = self.tf.function(function, jit_compile=True)

        def call():
            result = run(*arguments)
            self.tf.test.experimental.sync_devices()
            return result

        return call

    def forward(self, layer, x):
        return self._run(lambda x: layer(x, training=False), x)

    def train(self, layer, x, weights):
        sources = [v.value for v in layer.trainable_variables]

        def step(x, weights):
            with self.tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
                loss = self.tf.reduce_sum(y * weights)
            return loss, tape.gradient(loss, [sources, x])

        return self._run(step, x, weights)

    def step(self, function, x, state):
        run = self.tf.function(function, jit_compile=True)
        return stepping(run, x, state)

    def product(self, a, b):
        return self._run(self.tf.matmul, a, b)

    def chain(self, matrices, x):
        def run(matrices, x):
            count = matrices.shape[0]
            body = lambda i, y: (i + 1, self.tf.gather(matrices, i) @ y)
            return self.tf.while_loop(lambda i, y: i < count, body, (0, x))[1]

        return self._run(run, matrices, x)


class Torch:
    """PyTorch: eager."""

    def __init__(self, threads=None, device="cpu"):
        os.environ["KERAS_BACKEND"] = "torch"
        import torch

        if threads:
            torch.set_num_threads(threads)
        self.torch, self.device = torch, device

    def versions(self):
        import keras

        return {"keras": keras.__version__, "torch": self.torch.__version__}

    def array(self, values, dtype="float32"):
        kind = getattr(self.torch, dtype)
        return self.torch.tensor(values).to(self.device, kind)

    def wait(self, result):
        if self.device != "cpu":
            self.torch.cuda.synchronize()
        return result

    def forward(self, layer, x):
        def call():
            with self.torch.no_grad():
                return self.wait(layer(x, training=False))

        return call

    def train(self, layer, x, weights):
        sources = [v.value for v in layer.trainable_variables]
        return self.gradient(
            lambda x: layer(x, training=True), sources, x, weights
        )

    def gradient(self, function, sources, x, weights):
        """`train` for any function of torch tensors."""
        x = x.detach().requires_grad_()

        def call():
            loss = (function(x) * weights).sum()
            wanted = [*sources, x]
            gradients = self.torch.autograd.grad(
                loss, wanted, allow_unused=True
            )
            return self.wait((loss, gradients))

        return call

    def step(self, function, x, state):
        return stepping(self.torch.no_grad()(function), x, state)

    def product(self, a, b):
        return lambda: self.wait(a @ b)

    def chain(self, matrices, x):
        def call():
            y = x
            for a in matrices:
                y = a @ y
            return self.wait(y)

        return call


ENGINES = {"jax": Jax, "tensorflow": TensorFlow, "torch": Torch}


def engine_on(device, kind, threads=None, tf32=True):
    """An engine that computes on `"cpu"`, or on a GPU: `"cuda"`.

    Args:
        device: Where.
        kind: One of `ENGINES`.
        threads: Of the processor.
        tf32: Whether the GPU may shorten the factors of float32 products.
    """
    if device == "cpu":
        return ENGINES[kind](threads)
    if kind == "jax":
        engine = Jax()
        if not tf32:
            engine.jax.config.update("jax_default_matmul_precision", "float32")
    elif kind == "torch":
        engine = Torch(device=device)
        if tf32:
            engine.torch.set_float32_matmul_precision("high")
    else:
        raise ValueError(f"{kind} is not measured on a GPU")
    if accelerator.device_name(kind) == "cpu":
        raise RuntimeError(f"{kind} finds no GPU")
    return engine
