"""Image classification by prompts: a class is the mean of the texts that name it.

Each class name is put into every template, the texts are encoded as captions, and their features
averaged; an image belongs to the class with the most similar feature. Nothing is trained.
Shape letters: B images, C classes, P prompts a class, T text tokens, E embed_dim.
"""

from collections.abc import Sequence
from functools import partial

import jax
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float

from albef_jax.data.tokenizer import Tokenizer, clean_caption
from albef_jax.distributed.mesh import local_rows, to_devices
from albef_jax.inference.gallery import run_in_chunks
from albef_jax.inference.soundness import check_finite
from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize


class PromptClassifier:
    """Scores images against classes that are known by name alone.

    Args:
        templates: texts with one `{}` for the class name.
        rows: texts, and images, at a time.
    """

    def __init__(
        self,
        config: ModelConfig,
        params: Params,
        tokenizer: Tokenizer,
        classes: Sequence[str],
        templates: Sequence[str],
        mesh: Mesh,
        *,
        rows: int,
        max_words: int,
    ):
        prompts = [template.replace("{}", name) for name in classes for template in templates]
        text_ids, text_mask = tokenizer.encode([clean_caption(text, max_words) for text in prompts])

        def text_features(params: Params, batch: dict[str, Array]) -> tuple[Array]:
            embeds = albef.encode_text(config, params, batch["text_ids"], batch["text_mask"])
            pooled = albef.pooled_tokens(config, batch["text_mask"])
            return (albef.text_feature(params, embeds, pooled),)

        def logits(params: Params, image: Array, classes: Array) -> Float[Array, "B C"]:
            feature = albef.image_feature(
                params, albef.encode_image(config, params, normalize(image))
            )
            return feature @ classes.T / params["temperature"]

        texts = {"text_ids": text_ids, "text_mask": text_mask}
        features = partial(jax.jit(text_features), params)
        (found,) = run_in_chunks(features, mesh, rows, texts)
        check_finite("text features", found)
        mean = found.reshape(len(classes), len(templates), -1).mean(axis=1)
        self.class_features = mean / np.linalg.norm(mean, axis=1, keepdims=True)  # [C, E]
        self._logits = partial(jax.jit(logits), params)
        self._mesh = mesh

    def logits(self, image: np.ndarray) -> np.ndarray:
        """Similarities over the temperature, `[B, C]`, of this process's images.

        Args:
            image: uint8 `[B, S, S, 3]`; all processes call this together with as many.
        """
        given = to_devices(self._mesh, {"image": image})["image"]
        found = local_rows(self._mesh, self._logits(given, self.class_features))
        check_finite("logits", found)
        return found
