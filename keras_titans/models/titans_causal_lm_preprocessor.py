"""From strings to what a `TitansCausalLM` reads, and back."""

import keras
import keras_hub

from keras_titans.models.titans_backbone import TitansBackbone
from keras_titans.models.titans_tokenizer import TitansTokenizer
from keras_titans.validation import check_bool
from keras_titans.validation import check_instance
from keras_titans.validation import check_positive_integer


@keras.saving.register_keras_serializable("keras_titans")
class TitansCausalLMPreprocessor(keras_hub.models.CausalLMPreprocessor):
    """Strings to token ids, padding masks, labels and weights.

    Args:
        tokenizer: A `TitansTokenizer` or a `TitansByteTokenizer`.
        sequence_length: Tokens of a training sequence, and of what `generate`
            returns where it is told no other length.
        add_start_token: Whether a training sequence begins with the start
            token.
        add_end_token: Whether it ends with the end token.
        **kwargs: `name` and so on.

    Call arguments:
        x: A string or several.
        y, sample_weight: Not used: labels are the next tokens, and padding
            weighs nothing.
        sequence_length: In place of the constructor's.

    Example:

    ```python
    from keras_titans.models import TitansByteTokenizer
    from keras_titans.models import TitansCausalLMPreprocessor

    preprocessor = TitansCausalLMPreprocessor(
        TitansByteTokenizer(), sequence_length=16
    )
    x, y, sample_weight = preprocessor(["Hello", "again"])
    prompt = preprocessor.generate_preprocess(["Hel"])
    text = preprocessor.generate_postprocess(prompt)
    ```
    """

    backbone_cls = TitansBackbone
    tokenizer_cls = TitansTokenizer

    def __init__(
        self,
        tokenizer,
        sequence_length=1024,
        add_start_token=True,
        add_end_token=True,
        **kwargs,
    ):
        super().__init__(
            check_instance(
                "tokenizer", tokenizer, keras_hub.tokenizers.Tokenizer
            ),
            check_positive_integer("sequence_length", sequence_length),
            check_bool("add_start_token", add_start_token),
            check_bool("add_end_token", add_end_token),
            **kwargs,
        )
