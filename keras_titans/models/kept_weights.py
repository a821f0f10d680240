"""Models that keep their weights where a step fails."""


def keeps_weights(model_class):
    """A decorator of model classes: bad input to a step loses no weights.

    On JAX, Keras takes the weights out of a model while `fit`, `evaluate` and
    `predict` run, and puts them back at the end. If the first step raises an
    error, it has nothing to put back: the model is lost. Here the weights stay.

    It is no base class, because KerasHub writes the first base into presets.
    """
    model_class._purge_model_variables = _keep
    return model_class


def _keep(self, **kinds):
    """Keras' JAX trainer calls this to take the weights out."""
