"""Computes the image tokens of a frozen encoder once, for all epochs of a run."""

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import ordered_batches
from albef_jax.data.examples import PairExamples
from albef_jax.data.image_tokens import TokenExamples, keep_tokens, kept_tokens
from albef_jax.distributed.mesh import fetch, shard_replicated
from albef_jax.distributed.sync import print_on_main
from albef_jax.errors import ConfigError
from albef_jax.models.albef import Params, encode_image
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize


@dataclass(frozen=True)
class Views:
    """The images to encode: V views of each, one after the other.

    Attributes:
        examples: of the training pairs; their transform makes the views.
        count: V.
        seed: of the views.
    """

    examples: PairExamples
    count: int
    seed: int

    def __len__(self) -> int:
        return len(self.examples.source) * self.count

    def __call__(self, row: int) -> dict[str, np.ndarray]:
        """The view of a row, uint8 `[S, S, 3]`; raises `BadSample` for an unusable image."""
        record = self.examples.source[row // self.count]
        rng = np.random.default_rng([self.seed, row])
        return {"image": self.examples.transform(record.image, rng)}


def token_examples(
    views: Views,
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
        params: the model's; the image encoder's weights decide whether kept tokens still hold.
        bad_samples: where unusable images are reported.
        rows: images to encode at a time.

    Raises:
        ConfigError: several processes, or no room on the disk.
    """
    if jax.process_count() > 1:
        raise ConfigError("train.cached_views is for runs of one process; set it to 0")
    made_of = {
        "images": len(views.examples.source),
        "views": views.count,
        "seed": views.seed,
        "transform": repr(views.examples.transform),
        "dtype": model.dtype,
        "image_encoder": _digest(params["image_encoder"]),
    }
    found = kept_tokens(workdir, made_of)
    if found is None:
        shape = (len(views), model.image_tokens, model.image_width)
        megabytes = 4 * np.prod(shape) / 1e6
        print_on_main(
            f"image tokens: {views.count} view(s) of {made_of['images']} images, once; "
            f"{megabytes:.0f} MB in {workdir}"
        )
        batches = _encoded(views, model, params, mesh, bad_samples, rows, threads)
        found = keep_tokens(workdir, made_of, shape, batches)
    return TokenExamples(views.examples, *found, views.count)


def _digest(tower: Params) -> str:
    """Of all weights and their names."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree.leaves_with_path(fetch(tower)):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def _encoded(
    views: Views,
    model: ModelConfig,
    params: Params,
    mesh: Mesh,
    bad_samples: BadSamples,
    rows: int,
    threads: int,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Numbers and tokens of usable rows, batch by batch."""

    @partial(jax.jit, static_argnums=0)
    def encode(model: ModelConfig, params: Params, image: jax.Array) -> jax.Array:
        return encode_image(model, params, normalize(image)).astype(np.float32)

    blank = {"image": np.zeros((model.image_size, model.image_size, 3), np.uint8)}
    batches = ordered_batches(
        views, blank, len(views), rows, bad_samples=bad_samples, threads=threads
    )
    with closing(batches):
        for batch in tqdm(batches, "image tokens", -(-len(views) // rows), disable=None):
            arrays = shard_replicated(mesh, {"image": batch["image"]})
            tokens, valid = fetch(encode(model, params, arrays["image"])), batch["valid"]
            yield batch["sample_index"][valid], tokens[valid]
