"""The contract of every layer that remembers, after `keras.layers.RNN`.

A state is a plain nested structure of tensors with the batch on axis 0. It
enters as `initial_state`, leaves with `return_state=True`, and a layer built
with `stateful=True` keeps it from call to call until `reset_state()`.
"""

from functools import partial
from typing import Any

import keras
from keras import ops
from keras import tree

from keras_titans import backend
from keras_titans.layers.kept_state import KeptState
from keras_titans.layers.quantized_parts import LayerOfParts
from keras_titans.layers.quantized_parts import prepare_parts
from keras_titans.layers.watching import current_watch
from keras_titans.layers.write_cost import paying
from keras_titans.layers.write_cost import pays
from keras_titans.ops import alignment
from keras_titans.ops.finite import fill_tokens
from keras_titans.validation import check_bool
from keras_titans.validation import check_mask
from keras_titans.validation import same_shape


class StatefulLayer(LayerOfParts):
    """A layer from a sequence to a sequence of the same shape, with a state.

    A subclass says what its state looks like (`state_spec`), where it starts
    (`get_initial_state`), and how tokens are mixed (`mix`). Masks, states and
    checks are the same for all and are seen to here: whatever the padding,
    `mix` gets each row's real tokens at its front.

    Args:
        return_state: Whether a call returns the state as its last output. A
            call's own argument `return_state` comes before it.
        stateful: Whether a call starts where the last one ended. Needs a
            batch size that is known when the layer is built.
    """

    has_memory = True  # takes `update` and `return_diagnostics`
    is_memory = False  # True for what MAC, MAG and MAL take as a memory

    def __init__(self, return_state=False, stateful=False, **kwargs):
        # Keras would cast a state that is passed to the compute dtype.
        super().__init__(autocast=False, **kwargs)
        self.return_state = check_bool("return_state", return_state)
        self.stateful = check_bool("stateful", stateful)
        self.supports_masking = True
        self.supports_jit = backend.SUPPORTS_JIT
        self.width: int | None = None  # known once built
        self._kept: KeptState | None = None

    def state_spec(self, batch_size):
        """The state's structure, as nested `keras.KerasTensor`s."""
        raise NotImplementedError

    def get_initial_state(self, batch_size):
        """The state before anything was read."""
        raise NotImplementedError

    def mix(self, *args: Any, **options: Any) -> Any:
        """The layer's work on tokens without padding: `mix(x, state, count)`.

        Args:
            x: `(batch, tokens, width)`, each row's real tokens first. Some
                may not be finite: see `keras_titans.ops.finite`.
            state: The state to start from, or None for a fresh one that
                nobody asks for afterwards.
            count: `(batch,)`, int32: each row's real tokens, or None if all
                are.
            **options: `training`, and what else the layer's `call` takes.

        Returns:
            The outputs, as `x`; the diagnostics, a dictionary of `(batch,
            tokens, heads, ...)`, or None; both NaN at tokens that are not
            finite, and only there; the state, or None where none was passed.
        """
        raise NotImplementedError

    def run(
        self,
        inputs,
        mask,
        initial_state,
        return_state=None,
        aligned=None,
        **options,
    ):
        """What every `call` does: `mix`, with all that stands around it.

        `aligned`: further sequences for `mix`, by name, that are brought into
        the order of the inputs.
        """
        mask = mask_of(inputs, mask)
        self._check_call(inputs, mask, initial_state)
        return_state = self.returns_state(return_state)
        watch = current_watch() if self.has_memory else None
        if watch is None:
            inputs = self._of_kept_batch_size(inputs)
        x = ops.cast(inputs, self.compute_dtype)
        if watch is not None:
            outputs, diagnostics, state = watch.run(
                self, x, mask, initial_state, aligned, options
            )
        else:
            state = self.starting_state(initial_state)
            if state is None and (return_state or self.stateful):
                state = self.get_initial_state(ops.shape(x)[0])
            mixed = partial(paying, self) if pays(self, options) else self.mixed
            outputs, diagnostics, state = mixed(
                x, mask, state, aligned, options
            )
            if state is not None:
                self.keep_state(state)
        results = [outputs]
        if diagnostics is not None:
            results.append(diagnostics)
        if return_state:
            results.append(state)
        return results[0] if len(results) == 1 else tuple(results)

    def mixed(self, x, mask, state, aligned, options):
        """`mix` for tokens with padding among them: what it returns."""
        slot, count = None, None
        if mask is not None:
            order, slot, count = alignment.real_tokens_first(mask)
            # Padding may be NaN, and a product of NaN with zero is NaN.
            x, aligned = tree.map_structure(
                lambda x: alignment.take_tokens(fill_tokens(x, mask), order),
                (x, aligned or {}),
            )
        outputs, diagnostics, state = self.mix(
            x, state, count, **options, **(aligned or {})
        )
        if slot is not None:
            outputs, diagnostics = tree.map_structure(
                lambda x: None if x is None else alignment.take_tokens(x, slot),
                (outputs, diagnostics),
            )
        return outputs, diagnostics, state

    def run_spec(
        self, inputs, mask, initial_state, return_state=None, shapes=None
    ):
        """What `run` returns, in symbols.

        `shapes`: of one token's diagnostics by name, or None for none.
        """
        self._check_call(inputs, mask, initial_state)
        self._of_kept_batch_size(inputs)
        results: list[Any] = [
            keras.KerasTensor(inputs.shape, self.compute_dtype)
        ]
        if shapes is not None:
            results.append(
                {
                    name: keras.KerasTensor(
                        (*inputs.shape[:2], *shape), self.state_dtype
                    )
                    for name, shape in shapes.items()
                }
            )
        if self.returns_state(return_state):
            results.append(self.state_spec(inputs.shape[0]))
        return results[0] if len(results) == 1 else tuple(results)

    def returns_state(self, return_state=None):
        """What a call was asked for, or else what the layer was made for."""
        return self.return_state if return_state is None else return_state

    def check_width(self, input_shape):
        """Raise a ValueError for what is no sequence; return its width."""
        if len(input_shape) != 3 or input_shape[-1] is None:
            raise ValueError(
                f"Layer '{self.name}' takes inputs of shape (batch, length, "
                "width) with a known width. "
                f"Received: shape {tuple(input_shape)}."
            )
        return input_shape[-1]

    def check_built(self):
        """Raise a ValueError where the state's shapes aren't known yet."""
        if self.width is None:
            raise ValueError(
                f"Layer '{self.name}' knows its state's shapes once it is "
                "built: call it first, or call `build` with the shape of its "
                "inputs. Received: a layer that is not built."
            )

    def _check_call(self, inputs, mask, initial_state):
        width = self.check_width(inputs.shape)
        if width != self.width:
            raise ValueError(
                f"Layer '{self.name}' was built for inputs of width "
                f"{self.width}. Received: shape {tuple(inputs.shape)}."
            )
        if inputs.shape[1] == 0:
            raise ValueError(
                f"Layer '{self.name}' needs inputs of at least one token. "
                f"Received: shape {tuple(inputs.shape)}."
            )
        if mask is not None:
            check_mask(mask, inputs.shape[:2], self.name)
        if initial_state is not None:
            self.check_state(initial_state, inputs.shape[0])

    def _of_kept_batch_size(self, inputs):
        """The inputs, if their batch is that of the state that is kept."""
        kept = self._kept
        if kept is None:
            return inputs
        message = (
            f"Layer '{self.name}' is stateful and was built for batches of "
            f"{kept.batch_size}: every batch must have this size. Received: "
        )
        batch_size = inputs.shape[0]
        if not same_shape((batch_size,), (kept.batch_size,)):
            raise ValueError(f"{message}a batch of {batch_size}.")
        if keras.utils.is_keras_tensor(inputs):
            return inputs
        return backend.with_rows(
            inputs, kept.batch_size, f"{message}another size."
        )

    @property
    def state_dtype(self):
        """float32 whatever the compute dtype, but for float64."""
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def state(self):
        """The kept state, or None if the layer keeps none."""
        if self._kept is None:
            return None
        return self._kept.value(self.get_initial_state)

    @property
    def variables(self):
        """All that a call may change: the kept state is no weight."""
        kept = [] if self._kept is None else self._kept.variables
        return [*super().variables, *kept]

    def build_state(self, batch_size):
        """Make the variables that a stateful layer keeps its state in.

        What `build` does last.
        """
        prepare_parts(self)
        if not self.stateful:
            return
        if batch_size is None:
            raise ValueError(
                "A layer with `stateful=True` must know its batch size when it "
                "is built: pass `batch_size` to `keras.Input`, or the full "
                "shape to `build`. Received: batch size None."
            )
        self._kept = KeptState(self.state_spec(batch_size))

    def reset_state(self):
        """Forget everything: back to the learned initial state."""
        if self._kept is not None:
            self._kept.reset()

    def reset_states(self):
        """Another name of `reset_state`, as `keras.layers.RNN` has it."""
        self.reset_state()

    def starting_state(self, initial_state):
        """The state that a call starts from, or None for a fresh one."""
        return self.state if initial_state is None else initial_state

    def keep_state(self, state):
        """Keep the state for the next call, if the layer is stateful."""
        if self._kept is not None:
            self._kept.keep(state)

    def check_state(self, state, batch_size):
        """Raise a ValueError where a state does not fit this layer."""
        spec = self.state_spec(batch_size)
        try:
            tree.assert_same_structure(spec, state)
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"Argument `initial_state` of layer '{self.name}' must have "
                "the structure that `get_initial_state` returns: "
                f"{_shapes(spec)}. Received: {_shapes(state)}."
            ) from error
        wanted = tree.flatten_with_path(spec)
        for (path, want), have in zip(wanted, tree.flatten(state), strict=True):
            name = "/".join(str(key) for key in path)
            shape = tuple(getattr(have, "shape", ()))
            if not same_shape(shape, want.shape):
                raise ValueError(
                    f"Entry '{name}' of argument `initial_state` of layer "
                    f"'{self.name}' must have shape {want.shape}. "
                    f"Received: shape {shape}."
                )
            dtype = keras.backend.standardize_dtype(have.dtype)
            if dtype != want.dtype:
                raise ValueError(
                    f"Entry '{name}' of argument `initial_state` of layer "
                    f"'{self.name}' must have dtype {want.dtype}. "
                    f"Received: {dtype}."
                )

    def get_config(self):
        config = super().get_config()
        config.update(
            {"return_state": self.return_state, "stateful": self.stateful}
        )
        return config


def mask_of(inputs, mask):
    """The mask that was passed, or else the one that the inputs bring along.

    Keras itself looks for that only where no other tensor is passed, and a
    state is one.
    """
    return getattr(inputs, "_keras_mask", None) if mask is None else mask


def zeros_like_spec(spec, batch_size):
    """Zeros for `batch_size` rows, of the shapes and dtypes that it names."""
    return tree.map_structure(
        lambda x: ops.zeros((batch_size, *x.shape[1:]), x.dtype), spec
    )


def _shapes(structure):
    return tree.map_structure(
        lambda x: tuple(getattr(x, "shape", ())) or type(x).__name__, structure
    )
