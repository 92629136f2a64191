"""How fast a trained model reads: images and texts a second through the two encoders.

The student's encoders and projections as evaluation and search run them, on random inputs that are
on the device already. Needs jax, flax and optax alone.

Example:
    python -m benchmarks.encoders --preset=base --batch=256 --dtype=bfloat16
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from albef_jax.models import albef
from albef_jax.models.config import PRESETS, ModelConfig, preset
from albef_jax.models.primitives import normalize
from albef_jax.observability import flops


def images(config: ModelConfig, params: albef.Params, image: jax.Array) -> jax.Array:
    """Features of uint8 images."""
    return albef.image_feature(params, albef.encode_image(config, params, normalize(image)))


def texts(config: ModelConfig, params: albef.Params, text_ids: jax.Array) -> jax.Array:
    """Features of texts without padding."""
    mask = jax.numpy.ones_like(text_ids)
    return albef.text_feature(params, albef.encode_text(config, params, text_ids, mask))


def seconds(function: Callable, inputs: jax.Array, rounds: int) -> float:
    """Median time of a call, compiled before."""
    jax.block_until_ready(function(inputs))
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        jax.block_until_ready(function(inputs))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def measure(given: argparse.Namespace) -> dict[str, Any]:
    """Items a second, and the share of the device's peak, for each encoder."""
    config = preset(
        given.preset, image_size=given.image_size, dtype=given.dtype, attention=given.attention
    )
    params = jax.jit(partial(albef.init, config))(jax.random.key(0))
    rng = np.random.default_rng(0)
    side = config.image_size
    patches, blocks = flops.image_encoder(config)
    work = {
        "image": (
            images,
            rng.integers(0, 256, (given.batch, side, side, 3), np.uint8),
            patches + blocks,
        ),
        "text": (
            texts,
            rng.integers(104, config.vocab_size, (given.batch, given.length), np.int32),
            flops.text_encoder(config, given.length),
        ),
    }
    found = {}
    peak = flops.peak(jax.devices()[0])
    for name, (function, inputs, operations) in work.items():
        step = jax.jit(partial(function, config, params))
        taken = seconds(step, jax.device_put(inputs), given.rounds)
        rate = given.batch / taken
        found[name] = {
            "per_s": round(rate, 1),
            "mfu": None if peak is None else round(rate * operations / peak, 4),
        }
    return found


def main() -> None:
    """Measure, and print one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="base", choices=sorted(PRESETS))
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--length", type=int, default=25, help="tokens of a text")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--attention", default="xla", choices=("xla", "cudnn"))
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    line = {
        "benchmark": "encoders",
        "device": f"1 x {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        **vars(given),
        "encoders": measure(given),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
