"""What `keras.ops` cannot say on all three engines.

`scan`: a loop over the leading axis that keeps only its carries for the
backward pass and recomputes the rest. `vjp`: a vector-Jacobian product that
may stand inside such a loop and be differentiated again. `where_any`: some
rows from here, the others from there, skipped where it can be when there are
none. `either`: the result of one of two functions. `known`: a tensor's truth,
where it can be had now. `when`: work that is skipped where it is not needed.
`eager`: a scope whose operations are carried out at once, also while something
around it is traced. `with_rows`: a batch of a size that is checked. `repeat`: a
loop for inference. `inference`: a compiled function that only reads the
weights. `split_last`: two parts of the last axis. `linear_scan` and
`unit_lower_inverse`: see `linear_scan` and `triangular` of `keras_titans.ops`.
`KERAS_BACKEND` picks the file; nothing outside this folder names a framework.
"""

import keras

from keras_titans.backend.loop import repeat

if keras.backend.backend() == "jax":
    from keras_titans.backend.jax_engine import eager
    from keras_titans.backend.jax_engine import either
    from keras_titans.backend.jax_engine import inference
    from keras_titans.backend.jax_engine import known
    from keras_titans.backend.jax_engine import scan
    from keras_titans.backend.jax_engine import vjp
    from keras_titans.backend.jax_engine import when
    from keras_titans.backend.jax_engine import where_any
    from keras_titans.backend.jax_linear_scan import linear_scan
    from keras_titans.backend.rows import split_last
    from keras_titans.backend.rows import with_rows
    from keras_titans.backend.triangular import unit_lower_inverse
elif keras.backend.backend() == "tensorflow":
    from keras_titans.backend.branch import either
    from keras_titans.backend.rows import split_last
    from keras_titans.backend.rows import where_rows as where_any
    from keras_titans.backend.tensorflow_engine import eager
    from keras_titans.backend.tensorflow_engine import inference
    from keras_titans.backend.tensorflow_engine import known
    from keras_titans.backend.tensorflow_engine import scan
    from keras_titans.backend.tensorflow_engine import vjp
    from keras_titans.backend.tensorflow_engine import when
    from keras_titans.backend.tensorflow_engine import with_rows
    from keras_titans.backend.tensorflow_linear_scan import linear_scan
    from keras_titans.backend.triangular import unit_lower_inverse
elif keras.backend.backend() == "torch":
    from keras_titans.backend.branch import either
    from keras_titans.backend.branch import when
    from keras_titans.backend.rows import where_rows as where_any
    from keras_titans.backend.rows import with_rows
    from keras_titans.backend.torch_engine import eager
    from keras_titans.backend.torch_engine import inference
    from keras_titans.backend.torch_engine import known
    from keras_titans.backend.torch_engine import scan
    from keras_titans.backend.torch_engine import split_last
    from keras_titans.backend.torch_engine import unit_lower_inverse
    from keras_titans.backend.torch_engine import vjp
    from keras_titans.backend.torch_linear_scan import linear_scan
else:
    raise ImportError(
        "keras_titans runs on the Keras backends 'jax', 'tensorflow' and "
        f"'torch'. Received: KERAS_BACKEND={keras.backend.backend()!r}."
    )

# PyTorch's compiler takes a minute for a model without a memory, and cannot
# compile the loop's checkpoints. Keras asks each layer before it compiles.
SUPPORTS_JIT = keras.backend.backend() != "torch"

# Whether a matrix memory is computed for all chunks at once, or chunk by chunk.
# `python -m benchmarks.linear_scan` compares the two: on a CPU the first is
# faster on PyTorch, the second on JAX and TensorFlow. No other device has been
# measured.
PARALLEL_MATRIX = keras.backend.backend() == "torch"

__all__ = [
    "PARALLEL_MATRIX",
    "SUPPORTS_JIT",
    "eager",
    "either",
    "inference",
    "known",
    "linear_scan",
    "repeat",
    "scan",
    "split_last",
    "unit_lower_inverse",
    "vjp",
    "when",
    "where_any",
    "with_rows",
]
