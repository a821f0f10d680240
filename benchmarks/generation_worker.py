"""What `generation.py` measures, each in a process of its own."""

import os

import numpy as np

from benchmarks import measure
from benchmarks import workers
from benchmarks.blocks_worker import TOKENS
from benchmarks.blocks_worker import Peer
from benchmarks.shared_width import memory_of


def prompt_of(spec):
    rng = np.random.default_rng(0)
    return rng.integers(0, TOKENS, (1, spec["length"])).astype("int32")


class Hub:
    """A KerasHub model: from a prompt, and token by token after it."""

    def __init__(self, spec):
        os.environ["KERAS_BACKEND"] = spec["engine"]
        import keras

        keras.utils.set_random_seed(0)
        self.spec = spec
        self.model = self.make(spec)
        self.model.compile(sampler="greedy")
        self.prompt = prompt_of(spec)
        self.calls = {}

    def versions(self):
        import keras
        import keras_hub

        return {"keras": keras.__version__, "keras-hub": keras_hub.__version__}

    def generate(self, prompt, count):
        """As many tokens after the prompt; ends when they are there."""
        ids = np.pad(prompt, [(0, 0), (0, count)])
        mask = np.arange(ids.shape[1])[None] < prompt.shape[1]
        inputs = {"token_ids": ids, "padding_mask": mask.astype("int32")}
        return lambda: self.model.generate(inputs, stop_token_ids=None)

    def prepare(self, mode):
        if mode == "prompt":
            self.calls[mode] = self.generate(self.prompt, 1)
        else:
            self.calls[mode] = self.after_prompt(self.spec["new_tokens"])
        self.call(mode)
        return {"parameters": self.model.count_params()}

    def call(self, mode):
        self.calls[mode]()


class Titans(Hub):
    """Ours; after the prompt from the memory of it."""

    def make(self, spec):
        from keras_titans.models import TitansBackbone
        from keras_titans.models import TitansCausalLM

        return TitansCausalLM(
            TitansBackbone(
                vocabulary_size=TOKENS,
                num_layers=spec["depth"],
                num_heads=spec["heads"],
                hidden_dim=spec["dim"],
                intermediate_dim=spec["hidden"],
                mixers=spec["variant"],
                memory=memory_of(spec["variant"], spec["dim"], spec["heads"]),
                window_size=spec["window"],
                tie_word_embeddings=True,
            )
        )

    def after_prompt(self, count):
        self.model.memorize(self.prompt)
        return self.generate(self.prompt[:, -1:], count)


class KeyValue(Hub):
    """Full attention with a cache of keys and values: Llama's blocks.

    After the prompt: from a cache that is as long and empty, because the
    attention costs the same whatever is in it.
    """

    def make(self, spec):
        import keras_hub

        return keras_hub.models.LlamaCausalLM(
            keras_hub.models.LlamaBackbone(
                vocabulary_size=TOKENS,
                num_layers=spec["depth"],
                num_query_heads=spec["heads"],
                num_key_value_heads=spec["heads"],
                hidden_dim=spec["dim"],
                intermediate_dim=spec["hidden"],
            )
        )

    def after_prompt(self, count):
        import jax
        from keras import ops

        length, model = self.spec["length"], self.model
        shape = (
            1,
            self.spec["depth"],
            2,
            length + count,
            self.spec["heads"],
            self.spec["dim"] // self.spec["heads"],
        )

        def step(i, carry):
            token, cache = carry
            logits, _, cache = model.call_with_cache(token, cache, length + i)
            return ops.cast(ops.argmax(logits, axis=-1), "int32"), cache

        # The cache is given away, so that it is written in its place.
        run = jax.jit(
            lambda carry: jax.lax.fori_loop(0, count, step, carry),
            donate_argnums=0,
        )
        held = [(self.prompt[:, -1:], ops.zeros(shape))]

        def call():
            held[0] = jax.block_until_ready(run(held[0]))

        return call


class PeerSample(Peer):
    """titans-pytorch's `sample` with its cache."""

    def __init__(self, spec):
        super().__init__(spec)
        self.spec = spec
        self.prompt = self.torch.tensor(prompt_of(spec)).long()

    def call(self, mode):
        count = 1 if mode == "prompt" else 1 + self.spec["new_tokens"]
        self.model.sample(
            self.prompt,
            self.spec["length"] + count,
            show_progress=False,
            use_cache=True,
        )


class Stream(Titans):
    """A causal model that reads on and on; finite to the end, or an error."""

    def prepare(self, mode):
        self.model.memorize(self.prompt[:, : 2 * 4096], piece_length=4096)
        self.model.reset_memory()
        return {"parameters": self.model.count_params()}

    def call(self, mode):
        from keras import tree

        self.model.reset_memory()
        self.model.memorize(self.prompt, piece_length=4096)
        memory = self.model.get_memory()
        arrays = tree.flatten(memory.state)
        if not all(np.isfinite(a.astype("float32")).all() for a in arrays):
            raise ValueError("the memory is not finite")


CELLS = {
    "keras_titans": Titans,
    "keras_hub": KeyValue,
    "titans-pytorch": PeerSample,
    "stream": Stream,
}


def make(spec):
    measure.use_cores(spec["threads"])
    return CELLS[spec["package"]](spec)


if __name__ == "__main__":
    workers.serve(make)
