"""Samplers that show what generation is made of."""

import keras_hub
from keras import ops

samplers = keras_hub.samplers


class Recorder(samplers.Sampler):
    """Puts the logits of each step where the tokens would go.

    It takes the prompt for what was sampled, so steps have a known truth.
    """

    def __init__(self, vocabulary_size):
        super().__init__()
        self.vocabulary_size = vocabulary_size

    def __call__(
        self, next, prompt, cache=None, index=0, model=None, **options
    ):
        rows, length = ops.shape(prompt)
        logits = ops.zeros((rows, length, self.vocabulary_size))

        def body(logits, cache, index):
            here, _, cache = next(prompt, cache, index)
            here = ops.cast(here, "float32")[:, None]
            logits = ops.slice_update(logits, (0, index - 1, 0), here)
            return logits, cache, index + 1

        logits, _, _ = self.run_loop(
            lambda *_: ops.convert_to_tensor(True),
            body,
            model=model,
            loop_vars=(logits, cache, index),
            maximum_iterations=length + 1 - index,
        )
        return logits


class HiddenRecorder(samplers.ContrastiveSampler):
    """Puts the prompt's hidden states where the tokens would go."""

    def __call__(self, next, prompt, hidden_states=None, **options):
        return hidden_states
