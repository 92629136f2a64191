"""Training examples of pairs: a picture as it is augmented, and one caption as token ids."""

from typing import Any

import numpy as np

from albef_jax.data.augment import Transform
from albef_jax.data.records import Pair
from albef_jax.data.text import Tokenizer, clean_caption


def pair_example(
    pair: Pair,
    transform: Transform,
    tokenizer: Tokenizer,
    rng: np.random.Generator,
    max_words: int,
) -> dict[str, Any]:
    """A pair with one of its captions, drawn by `rng`.

    Returns:
        image uint8 `[S, S, 3]`, text_ids int32 `[T]`, text_mask int32 `[T]`, image_id int32.
    """
    caption = pair.captions[rng.integers(len(pair.captions))]
    text_ids, text_mask = tokenizer.encode([clean_caption(caption, max_words)])
    return {
        "image": transform(pair.image, rng),
        "text_ids": text_ids[0],
        "text_mask": text_mask[0],
        "image_id": np.int32(pair.image_id),
    }
