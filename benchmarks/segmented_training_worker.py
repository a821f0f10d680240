"""What `segmented_training.py` measures, each in a process of its own."""

from benchmarks import engines
from benchmarks import measure
from benchmarks import workers
from benchmarks.shared_width import memory_of

TOKENS = 256  # of the vocabulary


class Training:
    """A small causal language model, trained on one long sequence."""

    def __init__(self, spec):
        self.engine = engines.ENGINES[spec["engine"]](spec["threads"])
        import keras
        import numpy as np

        from keras_titans.layers import TitansBlock
        from keras_titans.models import SegmentedTrainer

        keras.utils.set_random_seed(0)
        tokens = keras.Input((None,), dtype="int32")
        x = keras.layers.Embedding(TOKENS, spec["dim"])(tokens)
        for mixer in spec["mixers"]:
            x = TitansBlock(
                mixer,
                2 * spec["dim"],
                num_heads=spec["heads"],
                window_size=spec["window"],
                memory=memory_of(mixer, spec["dim"], spec["heads"]),
            )(x)
        x = keras.layers.RMSNormalization()(x)
        model = keras.Model(tokens, keras.layers.Dense(TOKENS)(x))
        self.parameters = model.count_params()
        self.model = model
        if spec["how"] != "plain":
            self.model = SegmentedTrainer(
                model, spec["segment"], spec["per_gradient"]
            )
        self.model.compile(
            "adam",
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            jit_compile=spec["engine"] != "torch",
        )
        rng = np.random.default_rng(0)
        text = rng.integers(0, TOKENS, (1, spec["length"] + 1), dtype="int32")
        self.data = text[:, :-1], text[:, 1:]

    def versions(self):
        return self.engine.versions()

    def prepare(self, mode):
        self.call(mode)
        return {"parameters": self.parameters}

    def call(self, mode):
        loss = self.model.train_on_batch(*self.data)
        return float(loss[0] if isinstance(loss, list) else loss)


def make(spec):
    measure.use_cores(spec["threads"])
    return Training(spec)


if __name__ == "__main__":
    workers.serve(make)
