"""Models that keep their weights where a step fails."""


class KeptWeights:
    """A base class for models: bad input to a step loses no weights.

    On JAX, Keras takes the weights out of a model while `fit`, `evaluate` and
    `predict` run, and puts them back at the end. If the first step raises an
    error, it has nothing to put back: the model is lost. Here the weights stay.
    """

    def _purge_model_variables(self, **kinds):
        """Keras' JAX trainer calls this to take the weights out."""
