"""A Titans language model, to KerasHub's contract."""

import itertools

import keras
import keras_hub
from keras import ops

from keras_titans import backend
from keras_titans.models.continuation import continued
from keras_titans.models.continuation import prompts_of
from keras_titans.models.continuation import token_at
from keras_titans.models.fingerprint import fingerprint
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.memory_calls import MemoryRows
from keras_titans.models.memory_calls import current_generation
from keras_titans.models.memory_keeper import MemoryKeeper
from keras_titans.models.memory_snapshot import MemorySnapshot
from keras_titans.models.task_parts import check_preprocessor
from keras_titans.models.titans_backbone import TitansBackbone
from keras_titans.models.titans_causal_lm_preprocessor import (
    TitansCausalLMPreprocessor,
)
from keras_titans.ops.alignment import pad_tokens
from keras_titans.validation import check_choice
from keras_titans.validation import check_instance
from keras_titans.validation import check_padding_mask
from keras_titans.validation import check_texts
from keras_titans.validation import check_unknown


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class TitansCausalLM(keras_hub.models.CausalLM, MemoryKeeper):
    """A language model that goes on memorising while it reads and writes.

    What `generate` carries from token to token is the blocks' state, of one
    size whatever the prompt's length. A prompt is read `prefill_length` tokens
    at a time, so that nothing but its ids grows with it either.

    What `memorize` reads, and `generate` where it is told to, is kept: it is
    what `generate` starts from. `get_memory`, `set_memory`, `save_memory`,
    `load_memory` and `reset_memory` see to it.

    `generate`, `score`, `predict` and `memorize` also take a memory as
    `memory`, and return the one after. Such calls are independent of each
    other and of what the model keeps, so one model serves many users, each
    in a thread of its own.

    Args:
        backbone: A `TitansBackbone`.
        preprocessor: A `TitansCausalLMPreprocessor`, or None for a model of
            token ids.
        **kwargs: `compile`, `name` and `trainable`, as
            `keras_hub.models.CausalLM`'s.

    Attributes:
        prefill_length: Tokens of a prompt that are read at once. Larger
            pieces are faster up to a point, and take more memory.

    Example:

    ```python
    import keras_hub
    from keras_titans.layers import NeuralMemory
    from keras_titans.models import TitansBackbone
    from keras_titans.models import TitansByteTokenizer
    from keras_titans.models import TitansCausalLM
    from keras_titans.models import TitansCausalLMPreprocessor

    tokenizer = TitansByteTokenizer()
    model = TitansCausalLM(
        TitansBackbone(
            vocabulary_size=tokenizer.vocabulary_size(),
            num_layers=1,
            hidden_dim=16,
            memory=NeuralMemory(head_dim=8, chunk_size=4),
            window_size=8,
        ),
        TitansCausalLMPreprocessor(tokenizer, sequence_length=24),
    )
    model.compile(optimizer="adam", sampler="greedy")
    model.fit(["To be, or not to be", "that is the question"], verbose=0)
    text = model.generate("To be", max_length=12)
    ```

    References:
        - [Titans: Learning to Memorize at Test Time](
            https://arxiv.org/abs/2501.00663)
    """

    backbone_cls = TitansBackbone
    preprocessor_cls = TitansCausalLMPreprocessor
    prefill_length = 512

    def __init__(self, backbone, preprocessor=None, **kwargs):
        check_unknown(self, kwargs, ("compile", "name", "trainable"))
        backbone = check_instance("backbone", backbone, TitansBackbone)
        check_preprocessor(
            preprocessor, keras_hub.models.CausalLMPreprocessor, backbone
        )
        self.backbone = backbone
        self.preprocessor = preprocessor
        inputs = backbone.input
        outputs = backbone.token_embedding(backbone(inputs), reverse=True)
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

    def call_with_cache(self, token_ids, cache, padding_mask=None):
        """Read tokens from a state on.

        Args:
            token_ids: `(batch, length)`.
            cache: A state of the backbone's blocks.
            padding_mask: `(batch, length)`. Tokens where it is 0 change
                nothing. Defaults to `None`: all are real.

        Returns:
            The logits `(batch, length, vocabulary_size)`, the hidden states
            `(batch, length, hidden_dim)`, and the state after.
        """
        hidden, cache = self.backbone.stream(
            token_ids, cache, padding_mask, training=False
        )
        logits = self.backbone.token_embedding(hidden, reverse=True)
        return logits, hidden, cache

    def generate(
        self,
        inputs,
        *args,
        memory=None,
        return_memory=False,
        keep_memory=False,
        **kwargs,
    ):
        """As `keras_hub.models.CausalLM.generate`, from a memory on.

        Args:
            inputs: As `keras_hub.models.CausalLM.generate`'s.
            *args: As `keras_hub.models.CausalLM.generate`.
            memory: `MemorySnapshot`. The memory to start from, with a row for
                each prompt of all batches, or with one for all. Defaults to
                `None`, for the kept memory.
            return_memory: bool. Whether to return the memory after the
                prompts and what followed them, too. They are read once more
                for that. Defaults to `False`.
            keep_memory: bool. Whether that memory is kept. Other calls that
                change the kept memory wait meanwhile. Defaults to `False`.
            **kwargs: As `keras_hub.models.CausalLM.generate`.

        Returns:
            What `keras_hub.models.CausalLM.generate` returns. With
            `return_memory=True` a pair: that, and a `MemorySnapshot` with a
            row for each prompt.
        """
        return self._generate(
            lambda: super(TitansCausalLM, self).generate(
                inputs, *args, **kwargs
            ),
            memory,
            return_memory,
            keep_memory,
        )

    def make_generate_function(self):
        """KerasHub's, with the memory to start from among its inputs."""
        return self._generate_function(super().make_generate_function)

    def _normalize_generate_inputs(self, inputs):
        if self.preprocessor is not None:
            check_texts("inputs", inputs)
        batches, is_scalar = super()._normalize_generate_inputs(inputs)
        generation = current_generation()
        if generation is not None:
            batches = list(batches)
            generation.check(batches)
        return batches, is_scalar

    def generate_step(self, inputs, stop_token_ids=None):
        """Continue a batch of prompts. What `generate` compiles and calls.

        Args:
            inputs: A dictionary: `"token_ids"` and `"padding_mask"`,
                `(batch, length)`, prompts of one or more tokens at the front;
                and, optionally, `"memory"`, the blocks' state to start from,
                as `TitansBackbone.stream` returns it, with the prompts' rows.
            stop_token_ids: Ids of which one ends a row; None for none.

        Returns:
            A dictionary of `"token_ids"` and `"padding_mask"`.
        """
        token_ids, padding_mask, index = prompts_of(inputs)
        state = inputs.get("memory")
        if state is None:
            state = self.backbone.get_initial_state(ops.shape(token_ids)[0])
        state, hidden = self._prefill(token_ids, state, index - 1)
        return continued(
            self,
            lambda token, state, _: self.call_with_cache(token, state),
            token_ids,
            padding_mask,
            state,
            index,
            hidden,
            stop_token_ids,
        )

    def _prefill(self, token_ids, state, count):
        """Read the first `count` tokens of all rows, piece by piece.

        They are those before the token that the sampler begins with: what is
        written into a memory twice is not what was written once.

        Returns:
            The state; and the hidden states of the first `count + 1` tokens,
            or None if the sampler takes none.
        """
        rows, length = ops.shape(token_ids)
        size = min(length, self.prefill_length)
        padded = pad_tokens(token_ids, -(-length // size) * size)
        keeps = isinstance(self.sampler, keras_hub.samplers.ContrastiveSampler)
        hidden = ()
        if keeps:
            hidden = ops.zeros(
                (*ops.shape(padded), self.backbone.hidden_dim),
                self.backbone.compute_dtype,
            )

        def read(i, carry):
            state, hidden = carry
            start = i * size
            place = start + ops.arange(size, dtype="int32")[None, :]
            piece = ops.slice(padded, (0, start), (rows, size))
            real = ops.broadcast_to(place < count, (rows, size))
            here, state = self.backbone.stream(
                piece, state, real, training=False
            )
            if keeps:
                hidden = ops.slice_update(hidden, (0, start, 0), here)
            return state, hidden

        pieces = (count + size - 1) // size
        state, hidden = backend.repeat(read, (state, hidden), pieces)
        if not keeps:
            return state, None
        last = token_at(token_ids, count)
        _, here, _ = self.call_with_cache(last, state)
        hidden = ops.slice_update(hidden, (0, count, 0), here)
        return state, hidden[:, :length]

    def score(
        self,
        token_ids,
        padding_mask=None,
        scoring_mode="logits",
        layer_intercept_fn=None,
        target_ids=None,
        memory=None,
        return_memory=False,
    ):
        """Logits or losses of given tokens.

        Args:
            token_ids: `(batch, length)`.
            padding_mask: `(batch, length)`. All tokens are real by default.
            scoring_mode: `"logits"` or `"loss"`.
            layer_intercept_fn: A function of the activations and a block's
                number, or -1 for the embeddings, to what takes their place.
            target_ids: `(batch, length)`: what the loss is of.
            memory: `MemorySnapshot`. The memory to start from, with a row for
                each row of the tokens, or with one for all. Defaults to
                `None`, for a fresh one.
            return_memory: bool. Whether to return the memory after the real
                tokens, too. Defaults to `False`.

        Returns:
            `(batch, length, vocabulary_size)`, or `(batch, length)` for
            losses. With `return_memory=True` a pair: that, and a
            `MemorySnapshot`.
        """
        check_choice("scoring_mode", scoring_mode, ("logits", "loss"))
        if scoring_mode == "loss" and target_ids is None:
            raise ValueError(
                "Argument `target_ids` must be given with "
                "scoring_mode='loss'. Received: target_ids=None."
            )
        mask = None
        if padding_mask is not None:
            check_padding_mask(padding_mask, token_ids)
            mask = ops.cast(padding_mask, "bool")
        states = None
        if memory is not None or return_memory:
            mine = fingerprint(self.backbone)
            before = self._memory_before(memory, mine)
            before = MemoryRows(before).take_all(len(token_ids))
            states = before.to_state(self.memory_spec())
        logits, states = self._logits(
            token_ids, mask, layer_intercept_fn or (lambda x, i: x), states
        )
        result = logits
        if scoring_mode == "loss":
            result = ops.sparse_categorical_crossentropy(
                target_ids, logits, from_logits=True
            )
        if not return_memory:
            return result
        read = token_ids.shape[1]
        if mask is not None:
            read = ops.convert_to_numpy(mask).sum(axis=1)
        return result, MemorySnapshot(states, mine, before.tokens + read)

    def _logits(self, token_ids, mask, intercept, states=None):
        """The logits, and the states after; none where none were passed."""
        backbone = self.backbone
        x = intercept(backbone.token_embedding(token_ids), -1)
        after = []
        for i, block in enumerate(backbone.transformer_layers):
            if states is None:
                x = block(x, mask=mask)
            else:
                x, state = block(
                    x, mask=mask, initial_state=states[i], return_state=True
                )
                after.append(state)
            x = intercept(x, i)
        x = backbone.layer_norm(x)
        logits = backbone.token_embedding(x, reverse=True)
        return logits, after

    def predict(
        self,
        x=None,
        batch_size=None,
        memory=None,
        return_memory=False,
        **kwargs,
    ):
        """As `keras_hub.models.CausalLM.predict`, from a memory on.

        Args:
            x: As `keras.Model.predict`'s.
            batch_size: As `keras.Model.predict`'s.
            memory: `MemorySnapshot`. The memory to start from, with a row for
                each row of the data, or with one for all. Defaults to `None`,
                for a fresh one.
            return_memory: bool. Whether to return the memory after each row's
                real tokens, too. Defaults to `False`.
            **kwargs: As `keras.Model.predict`'s.

        Returns:
            What `keras.Model.predict` returns. With `return_memory=True` a
            pair: that, and a `MemorySnapshot` with a row for each row of the
            data.
        """
        if memory is None and not return_memory:
            return super().predict(x, batch_size, **kwargs)

        def read(token_ids, real, state):
            logits, _, state = self.call_with_cache(token_ids, state, real)
            return logits, state

        if self.preprocessor is not None:
            x, steps = self._preprocessed(x, kwargs.get("steps"))
            kwargs["steps"] = steps
        return self._predict(
            read, x, memory, return_memory, batch_size=batch_size, **kwargs
        )

    def _preprocessed(self, x, steps):
        """Data for `predict` as token ids, and how many batches it has."""
        unpack = keras.utils.unpack_x_y_sample_weight

        def preprocessed(x):
            x, _, _ = unpack(self.preprocess_samples(x))
            return {name: ops.convert_to_numpy(x[name]) for name in x}

        if isinstance(x, dict | list | tuple) or hasattr(x, "shape"):
            return preprocessed(x), steps
        batches = [
            (preprocessed(unpack(batch)[0]),)
            for batch in itertools.islice(x, steps)
        ]
        # Keras takes no other iterator than a generator.
        return (batch for batch in batches), len(batches)
