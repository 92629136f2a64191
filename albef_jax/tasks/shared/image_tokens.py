"""Computes the image tokens of a frozen encoder once, for all epochs of a run."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import eval_batches
from albef_jax.data.examples import PairExamples
from albef_jax.data.image_tokens import TokenExamples, keep_tokens, kept_tokens
from albef_jax.data.images.augment import EvalTransform
from albef_jax.distributed.mesh import fetch, shard_replicated
from albef_jax.distributed.sync import print_on_main
from albef_jax.errors import ConfigError
from albef_jax.models.albef import Params, encode_image
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize


def token_examples(
    examples: PairExamples,
    model: ModelConfig,
    params: Params,
    mesh: Mesh,
    workdir: Path,
    bad_samples: BadSamples,
    *,
    rows: int,
    threads: int,
) -> TokenExamples:
    """Examples with the tokens of their images, which are kept in `workdir`.

    Args:
        examples: of the training pairs.
        params: the model's; the image encoder's weights decide whether kept tokens still hold.
        bad_samples: where unusable images are reported.
        rows: images to encode at a time.

    Raises:
        ConfigError: several processes, or no room on the disk.
    """
    if jax.process_count() > 1:
        raise ConfigError(
            "train.cache_image_tokens=True is for runs of one process; set it to False"
        )
    size = len(examples.source)
    made_of = {
        "images": size,
        "image_size": model.image_size,
        "dtype": model.dtype,
        "image_encoder": _digest(params["image_encoder"]),
    }
    found = kept_tokens(workdir, made_of)
    if found is None:
        shape = (size, model.image_tokens, model.image_width)
        megabytes = 4 * np.prod(shape) / 1e6
        print_on_main(f"image tokens: of {size} images, once; {megabytes:.0f} MB in {workdir}")
        batches = _encoded(examples, model, params, mesh, bad_samples, rows, threads)
        found = keep_tokens(workdir, made_of, shape, batches)
    return TokenExamples(examples, *found)


def _digest(tower: Params) -> str:
    """Of all weights and their names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(fetch(tower)):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _encoded(
    examples: PairExamples,
    model: ModelConfig,
    params: Params,
    mesh: Mesh,
    bad_samples: BadSamples,
    rows: int,
    threads: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers and tokens of usable images, batch by batch."""

    @partial(jax.jit, static_argnums=0)
    def encode(model: ModelConfig, params: Params, image: jax.Array) -> jax.Array:
        return encode_image(model, params, normalize(image)).astype(np.float32)

    batches = eval_batches(
        examples.source,
        EvalTransform(model.image_size),
        rows,
        bad_samples=bad_samples,
        threads=threads,
    )
    total = -(-len(examples.source) // rows)
    with closing(batches):
        for batch in tqdm(batches, "image tokens", total, unit="batch", disable=None):
            arrays = shard_replicated(mesh, {"image": batch["image"]})
            tokens, valid = fetch(encode(model, params, arrays["image"])), batch["valid"]
            yield batch["sample_index"][valid], tokens[valid]
