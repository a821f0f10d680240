"""From strings to what a `TitansClassifier` reads."""

import keras
import keras_hub

from keras_titans.models.titans_backbone import TitansBackbone
from keras_titans.models.titans_tokenizer import TitansTokenizer
from keras_titans.validation import check_choice
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer


@keras.saving.register_keras_serializable("keras_titans")
class TitansTextClassifierPreprocessor(
    keras_hub.models.TextClassifierPreprocessor
):
    """Strings to token ids and padding masks, with a start and an end token.

    Args:
        tokenizer: A `TitansTokenizer` or a `TitansByteTokenizer`.
        sequence_length: Tokens of a sequence, padding included.
        truncate: As `keras_hub.models.TextClassifierPreprocessor`.
        **kwargs: `name` and so on.

    Call arguments:
        x: A string or several, or a tuple of these for segments.
        y: Labels, which are passed on.
        sample_weight: Likewise.

    Example:

    ```python
    import keras_hub
    import keras_titans

    preprocessor = keras_titans.models.TitansTextClassifierPreprocessor(
        keras_titans.models.TitansByteTokenizer(), sequence_length=16
    )
    x, y = preprocessor(["well", "lost"], [1, 0])
    ```
    """

    backbone_cls = TitansBackbone
    tokenizer_cls = TitansTokenizer

    def __init__(
        self,
        tokenizer,
        sequence_length=512,
        truncate="round_robin",
        **kwargs,
    ):
        super().__init__(
            check_instance(
                "tokenizer", tokenizer, keras_hub.tokenizers.Tokenizer
            ),
            check_positive_integer("sequence_length", sequence_length),
            check_choice("truncate", truncate, ("round_robin", "waterfall")),
            **kwargs,
        )

    def call(self, x, y=None, sample_weight=None):
        results = super().call(x, y=y, sample_weight=sample_weight)
        inputs, y, sample_weight = keras.utils.unpack_x_y_sample_weight(results)
        inputs = {
            key: inputs[key] for key in ("token_ids", "padding_mask")
        }  # and no segments, which the backbone tells apart by their tokens
        return keras.utils.pack_x_y_sample_weight(inputs, y, sample_weight)
