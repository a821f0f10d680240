"""What a training step needs on each engine, as functions of values.

`loop`: a loop that is not differentiated. `vjp_with_aux`: a vector-Jacobian
product beside results that have none. `replayed`: around what is run again.
`SteppedModel`: a model whose steps are functions from the values of its
variables to new ones.
"""

import keras

if keras.backend.backend() == "jax":
    from keras_titans.backend.jax_training import SteppedModel
    from keras_titans.backend.jax_training import loop
    from keras_titans.backend.jax_training import vjp_with_aux
    from keras_titans.backend.stepped_model import replayed
elif keras.backend.backend() == "tensorflow":
    from keras_titans.backend.stepped_model import replayed
    from keras_titans.backend.tensorflow_training import SteppedModel
    from keras_titans.backend.tensorflow_training import loop
    from keras_titans.backend.tensorflow_training import vjp_with_aux
else:
    from keras_titans.backend.torch_training import SteppedModel
    from keras_titans.backend.torch_training import loop
    from keras_titans.backend.torch_training import replayed
    from keras_titans.backend.torch_training import vjp_with_aux

__all__ = ["SteppedModel", "loop", "replayed", "vjp_with_aux"]
