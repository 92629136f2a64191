"""ITM re-ranking: the official order, pair by pair, against ours, image-major.

The official order gives each pair its own copy of the image's tokens, and so computes keys and
values once a pair, and scores a pair that is in both directions' lists twice. Both orders get the
same candidates; the scores are compared, and the ratio is of times measured in one run.

Example:
    python -m benchmarks.rerank --preset=tiny --images=64 --captions=2 --k=16
"""

import argparse
import json
import time
from functools import partial

import jax
import numpy as np

from albef_jax.distributed.mesh import make_mesh
from albef_jax.inference.gallery import Encoded, Gallery, encode
from albef_jax.inference.rerank import Candidates, candidates, itm_scores
from albef_jax.models import albef
from albef_jax.models.config import PRESETS, ModelConfig, preset
from albef_jax.models.primitives import normalize


def random_gallery(config: ModelConfig, num_images: int, captions: int, length: int) -> Gallery:
    """Noise for images, random words for captions."""
    rng = np.random.default_rng(0)
    side, texts = config.image_size, num_images * captions
    lengths = rng.integers(length // 2, length + 1, texts)
    return Gallery(
        rng.integers(0, 256, (num_images, side, side, 3), np.uint8),
        [""] * texts,
        rng.integers(104, config.vocab_size, (texts, length), dtype=np.int32),
        (np.arange(length) < lengths[:, None]).astype(np.int32),
        np.repeat(np.arange(num_images), captions),
    )


def naive(
    config: ModelConfig,
    params: albef.Params,
    gallery: Gallery,
    encoded: Encoded,
    chosen: Candidates,
    pairs: int,
) -> np.ndarray:
    """Each direction's candidates, `pairs` at a time, every pair with its image's tokens."""

    @jax.jit
    def read(params, image):
        return albef.encode_image(config, params, normalize(image))

    @jax.jit
    def score(params, image_embeds, text_embeds, text_mask):
        fused = albef.fuse(config, params, text_embeds[:, None], text_mask[:, None], image_embeds)
        return albef.itm_logits(params, fused[:, 0, 0])[:, 1]

    scores = np.full(chosen.texts.shape, -np.inf, np.float32)
    image_embeds = np.concatenate([read(params, image[None]) for image in gallery.images])
    for way in chosen:
        images, texts = np.nonzero(way)
        for start in range(0, len(images), pairs):
            places = np.minimum(np.arange(start, start + pairs), len(images) - 1)
            image, text = images[places], texts[places]
            embeds = encoded.text_embeds[text], gallery.text_mask[text]
            scores[image, text] = score(params, image_embeds[image], *embeds)
    return scores


def timed(function) -> tuple[np.ndarray, float]:
    """Scores and seconds of a second run: the first one compiles."""
    function()
    start = time.perf_counter()
    scores = function()
    return scores, time.perf_counter() - start


def main() -> None:
    """Measure both orders and print one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--preset", default="tiny", choices=sorted(PRESETS))
    parser.add_argument("--image_size", type=int, help="in pixels; the preset's own by default")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--captions", type=int, default=2, help="an image")
    parser.add_argument("--text_len", type=int, default=30)
    parser.add_argument("--k", type=int, default=16, help="candidates a query")
    parser.add_argument("--batch", type=int, default=32, help="pairs a call of the naive order")
    given = parser.parse_args()
    size = {"image_size": given.image_size} if given.image_size else {}
    config = preset(given.preset, dtype=given.dtype, **size)
    params = jax.jit(partial(albef.init, config))(jax.random.key(0))
    gallery = random_gallery(config, given.images, given.captions, given.text_len)
    mesh = make_mesh(devices=jax.devices()[:1])
    encoded = encode(config, params, gallery, mesh, given.batch)
    chosen = candidates(encoded.image_feat @ encoded.text_feat.T, given.k)
    block = max(1, given.batch // 4)
    plain, plain_s = timed(lambda: naive(config, params, gallery, encoded, chosen, given.batch))
    fast, fast_s = timed(
        lambda: itm_scores(config, params, gallery, encoded, chosen.either, mesh, block)
    )
    compared = chosen.either
    scored = int(chosen.texts.sum() + chosen.images.sum())
    print(
        json.dumps(
            {
                "benchmark": "rerank",
                "device": jax.devices()[0].device_kind,
                "jax": jax.__version__,
                **vars(given),
                "pairs": scored,
                "distinct_pairs": int(compared.sum()),
                "naive_pairs_per_s": round(scored / plain_s, 1),
                "image_major_pairs_per_s": round(scored / fast_s, 1),
                "speedup": round(plain_s / fast_s, 2),
                "largest_difference": float(np.max(np.abs(plain[compared] - fast[compared]))),
                "largest_score": float(np.max(np.abs(plain[compared]))),
            }
        )
    )


if __name__ == "__main__":
    main()
