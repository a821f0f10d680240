"""What `keras.ops` cannot say on all three engines.

`scan`: a loop over the leading axis that keeps only its carries for the
backward pass and recomputes the rest. `vjp`: a vector-Jacobian product that
may stand inside such a loop and be differentiated again. `where_any`: some
rows from here, the others from there, skipped where it can be when there are
none. `repeat`: a loop for inference. `inference`: a compiled function that
only reads the weights. `KERAS_BACKEND` picks the file; nothing outside this
folder names a framework.
"""

import keras

from keras_titans.backend.loop import repeat

if keras.backend.backend() == "jax":
    from keras_titans.backend.jax_engine import inference
    from keras_titans.backend.jax_engine import scan
    from keras_titans.backend.jax_engine import vjp
    from keras_titans.backend.jax_engine import where_any
elif keras.backend.backend() == "tensorflow":
    from keras_titans.backend.rows import where_rows as where_any
    from keras_titans.backend.tensorflow_engine import inference
    from keras_titans.backend.tensorflow_engine import scan
    from keras_titans.backend.tensorflow_engine import vjp
elif keras.backend.backend() == "torch":
    from keras_titans.backend.rows import where_rows as where_any
    from keras_titans.backend.torch_engine import inference
    from keras_titans.backend.torch_engine import scan
    from keras_titans.backend.torch_engine import vjp
else:
    raise ImportError(
        "keras_titans runs on the Keras backends 'jax', 'tensorflow' and "
        f"'torch'. Received: KERAS_BACKEND={keras.backend.backend()!r}."
    )

__all__ = ["inference", "repeat", "scan", "vjp", "where_any"]
