"""Classes of whole sequences."""

import keras
import keras_hub
from keras import ops

from keras_titans.layers.quantized_parts import prepare_parts
from keras_titans.layers.quantized_parts import revived
from keras_titans.layers.quantized_parts import with_quantized_parts
from keras_titans.models.kept_weights import keeps_weights
from keras_titans.models.task_parts import check_preprocessor
from keras_titans.models.titans_backbone import TitansBackbone
from keras_titans.models.titans_text_classifier_preprocessor import (
    TitansTextClassifierPreprocessor,
)
from keras_titans.validation import check_activation
from keras_titans.validation import check_choice
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer
from keras_titans.validation import check_threshold
from keras_titans.validation import check_unknown


@keras.saving.register_keras_serializable("keras_titans")
@keeps_weights
class TitansClassifier(keras_hub.models.TextClassifier):
    """Says which class a sequence is of, however long it is.

    The backbone reads the sequence once; a linear map classifies its hidden
    state at the last real token, which has a memory of all before, or the
    mean over all real tokens.

    Args:
        backbone: `TitansBackbone`. The mixers and their memories are its own.
        num_classes: int. Number of classes.
        preprocessor: `TitansTextClassifierPreprocessor`, or `None` for a model
            of token ids. Defaults to `None`.
        pooling: str. `"last"` or `"mean"`. Defaults to `"last"`.
        activation: str or callable. The activation of the outputs. Defaults
            to `None`: the outputs are logits.
        dropout: float. Fraction of the pooled state to drop in training.
            Defaults to `0.0`.
        **kwargs: `compile`, `name` and `trainable`, as
            `keras_hub.models.TextClassifier`'s.

    Call arguments:
        inputs: A dictionary of `"token_ids"` and `"padding_mask"`, `(batch,
            length)`. Padding may stand anywhere.

    Returns:
        `(batch, num_classes)`.

    Example:

    ```python
    import keras_hub
    import keras_titans

    tokenizer = keras_titans.models.TitansByteTokenizer()
    classifier = keras_titans.models.TitansClassifier(
        keras_titans.models.TitansBackbone(
            vocabulary_size=tokenizer.vocabulary_size(),
            num_layers=1,
            hidden_dim=16,
            memory=keras_titans.layers.NeuralMemory(head_dim=8, chunk_size=4),
            window_size=8,
        ),
        num_classes=2,
        preprocessor=keras_titans.models.TitansTextClassifierPreprocessor(
            tokenizer, sequence_length=16
        ),
    )
    classifier.fit(["all is well", "all is lost"], [1, 0], verbose=0)
    logits = classifier.predict(["is all well?"], verbose=0)
    ```
    """

    backbone_cls = TitansBackbone
    preprocessor_cls = TitansTextClassifierPreprocessor

    def __init__(
        self,
        backbone,
        num_classes,
        preprocessor=None,
        pooling="last",
        activation=None,
        dropout=0.0,
        **kwargs,
    ):
        check_unknown(self, kwargs, ("compile", "name", "trainable"))
        backbone = check_instance("backbone", backbone, TitansBackbone)
        num_classes = check_positive_integer("num_classes", num_classes)
        check_preprocessor(
            preprocessor, keras_hub.models.TextClassifierPreprocessor, backbone
        )
        pooling = check_choice("pooling", pooling, ("last", "mean"))
        activation = check_activation("activation", activation)
        dropout = check_threshold("dropout", dropout)
        # Layers.
        self.backbone = backbone
        self.preprocessor = preprocessor
        self.pooler = SequencePooling(
            pooling, dtype=backbone.dtype_policy, name="pooler"
        )
        self.output_dropout = keras.layers.Dropout(
            dropout, dtype=backbone.dtype_policy, name="output_dropout"
        )
        self.output_dense = keras.layers.Dense(
            num_classes,
            activation=activation,
            dtype=backbone.dtype_policy,
            name="logits",
        )

        # Functional model.
        inputs = backbone.input
        pooled = self.pooler(backbone(inputs), inputs["padding_mask"])
        outputs = self.output_dense(self.output_dropout(pooled))
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)

        # Configuration.
        self.num_classes = num_classes
        self.pooling = pooling
        self.activation = activation
        self.dropout = dropout
        prepare_parts(self)

    def get_config(self):
        config = {
            **super().get_config(),
            "num_classes": self.num_classes,
            "pooling": self.pooling,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
        }
        return with_quantized_parts(config, self)

    @classmethod
    def from_config(cls, config):
        return revived(super().from_config, config)


@keras.saving.register_keras_serializable("keras_titans")
class SequencePooling(keras.layers.Layer):
    """Each row's last real token, or the mean over its real tokens.

    Args:
        how: `"last"` or `"mean"`.
        **kwargs: `name` and `dtype`.
    """

    def __init__(self, how, **kwargs):
        super().__init__(**kwargs)
        self.how = how
        self.built = True

    def call(self, x, padding_mask):
        real = ops.cast(padding_mask, "bool")
        if self.how == "last":
            place = ops.arange(ops.shape(x)[1], dtype="int32")[None, :]
            last = ops.max(ops.where(real, place, 0), axis=1)
            return ops.take_along_axis(x, last[:, None, None], axis=1)[:, 0]
        weight = ops.cast(real, "float32")
        share = weight / ops.maximum(
            ops.sum(weight, axis=1, keepdims=True), 1.0
        )
        # A sum of thousands of tokens would not fit half a precision.
        mean = ops.sum(ops.cast(x, "float32") * share[..., None], axis=1)
        return ops.cast(mean, x.dtype)

    def compute_output_shape(self, x_shape, padding_mask_shape=None):
        return (x_shape[0], x_shape[2])

    def get_config(self):
        return {**super().get_config(), "how": self.how}
