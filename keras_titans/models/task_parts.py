"""What a task model joins must fit: a preprocessor and a backbone."""

from keras_titans.validation import check_instance


def check_preprocessor(preprocessor, kind, backbone, spare_ids=0):
    """Raise a ValueError for a preprocessor that a task can't use.

    Args:
        preprocessor: The preprocessor, or None for none.
        kind: The class that it must be of.
        backbone: What embeds its tokens: it must have an id for each.
        spare_ids: int. How many of the tokenizer's last ids may have no
            embedding, because text never has them. Defaults to `0`.
    """
    if preprocessor is None:
        return
    check_instance("preprocessor", preprocessor, kind)
    tokenizer = preprocessor.tokenizer
    # A tokenizer that is being loaded gets its vocabulary later.
    for name in ("vocabulary", "proto"):
        if getattr(tokenizer, name, True) is None:
            return
    size = tokenizer.vocabulary_size()
    if size - spare_ids > backbone.vocabulary_size:
        raise ValueError(
            "Argument `preprocessor` must have a tokenizer of at most the "
            f"backbone's {backbone.vocabulary_size} token ids. Received: "
            f"preprocessor={preprocessor!r}, with a vocabulary of {size}."
        )
