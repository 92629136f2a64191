"""The baseline of few photographs: a ridge regression between two frozen encoders.

Encodes images and captions with the encoders that `init.vision` and `init.text` would start from,
fits one linear map from images to texts (or back) on the training images, and ranks the unseen
ones by cosine. Prints recall both ways. The penalty is chosen on a fifth of the training images.
With `--write`, the same split becomes two annotation files, `train.json` and `test.json`, for a
run that is to be compared.

Example:
    python -m benchmarks.ridge --annotations captions.json --images photos --text minilm \\
        --vision vit.safetensors --image_size=224 --fold=0 --write=split
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import jax
import numpy as np

from albef_jax.checkpoints.init_from.unimodal import Encoder, read_image_encoder, read_text_encoder
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.data.annotations.by_image import PairsByImage
from albef_jax.data.annotations.files import read_json
from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.images.decode import resize_for_eval
from albef_jax.data.tokenizer import Tokenizer, clean_caption
from albef_jax.errors import BadSample, CheckpointError
from albef_jax.evaluate.recall import recall
from albef_jax.models import albef
from albef_jax.models.config import ModelConfig
from albef_jax.models.position_embedding import resize_position_embedding
from albef_jax.models.primitives import normalize
from albef_jax.system.atomic import write_text

PENALTIES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
POOLING = ("cls", "mean")


@dataclass(frozen=True)
class Features:
    """Images `[N, D]`, captions `[M, E]`, and the row of each caption's image `[M]`."""

    image: np.ndarray
    text: np.ndarray
    image_of_text: np.ndarray

    def of(self, images: np.ndarray) -> "Features":
        """Those of the images at the given rows, and of their captions."""
        place = np.full(len(self.image), -1)
        place[images] = np.arange(len(images))
        found = place[self.image_of_text]
        return Features(self.image[images], self.text[found >= 0], found[found >= 0])


def split(images: int, folds: int, fold: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of training and of unseen images, in order; every image is unseen in one fold."""
    order = np.random.default_rng(seed).permutation(images)
    unseen = np.arange(images) % folds == fold
    return np.sort(order[~unseen]), np.sort(order[unseen])


def fit(inputs: np.ndarray, outputs: np.ndarray, penalty: float) -> np.ndarray:
    """The matrix `[D, E]` of the ridge regression from `[M, D]` to `[M, E]`, both with mean 0.

    Args:
        penalty: as a multiple of the mean variance of the inputs' columns.
    """
    covariance = inputs.T @ inputs / len(inputs)
    strength = penalty * np.trace(covariance) / len(covariance)
    ridge = covariance + strength * np.eye(len(covariance))
    return np.linalg.solve(ridge, inputs.T @ outputs / len(inputs))


def scores(seen: Features, unseen: Features, towards: str, penalty: float) -> np.ndarray:
    """Cosines `[N, M]` of unseen images and captions, where the map of the seen ones ends.

    Args:
        towards: `text` maps the images, `image` the captions.
    """
    paired = seen.image[seen.image_of_text]
    image_mean, text_mean = paired.mean(axis=0), seen.text.mean(axis=0)
    image, text = unseen.image - image_mean, unseen.text - text_mean
    if towards == "text":
        image = image @ fit(paired - image_mean, seen.text - text_mean, penalty)
    else:
        text = text @ fit(seen.text - text_mean, paired - image_mean, penalty)
    return _directions(image) @ _directions(text).T


def measure(found: np.ndarray, image_of_text: np.ndarray) -> dict[str, dict[str, float]]:
    """Recall at 1, 5 and 10 both ways, in percent, of cosines `[N, M]`."""
    image_ids = np.arange(len(found))
    return {
        "text_retrieval": recall(found, image_ids, image_of_text),
        "image_retrieval": recall(found.T, image_of_text, image_ids),
    }


def choose_penalty(seen: Features, towards: str, seed: int) -> float:
    """The penalty with the highest mean recall on a fifth of the images, fitted on the others."""
    first, second = (seen.of(rows) for rows in split(len(seen.image), 5, 0, seed))

    def mean(penalty: float) -> float:
        figures = measure(scores(first, second, towards, penalty), second.image_of_text)
        return float(np.mean([value for way in figures.values() for value in way.values()]))

    return max(PENALTIES, key=mean)


def encode_images(
    encoder: Encoder, images: Sequence[np.ndarray], given: argparse.Namespace
) -> np.ndarray:
    """Features `[N, D]` of uint8 `[S, S, 3]`: the class token, or the mean of the patches."""
    config = replace(
        _config({"image_encoder": encoder.params}),
        image_size=given.image_size,
        image_heads=given.image_heads or encoder.heads or encoder.params["cls_token"].size // 64,
    )
    patches = (config.image_size // config.patch_size) ** 2
    positions = resize_position_embedding(encoder.params["pos_embed"], patches)
    params = {"image_encoder": {**encoder.params, "pos_embed": positions}}

    @jax.jit
    def encode(image: jax.Array) -> jax.Array:
        tokens = albef.encode_image(config, params, normalize(image))
        return tokens[:, 0] if given.image_pooling == "cls" else tokens[:, 1:].mean(axis=1)

    return _in_batches(encode, (np.stack(images),), given.batch)


def encode_texts(
    encoder: Encoder, captions: Sequence[str], given: argparse.Namespace
) -> np.ndarray:
    """Features `[M, E]` after `--text_depth` layers: the class token, or the mean of all tokens."""
    layers = {name: encoder.params[name] for name in ("embeddings", "layers")}
    config = _config({"text_encoder": layers})
    config = replace(config, text_heads=encoder.heads or config.text_width // 64)
    depth = given.text_depth or config.text_depth
    vocab = given.vocab or encoder.file.with_name("vocab.txt")
    cleaned = [clean_caption(caption, given.max_words) for caption in captions]
    inputs = Tokenizer(vocab, given.text_len).encode(cleaned)

    @jax.jit
    def encode(text_ids: jax.Array, mask: jax.Array) -> jax.Array:
        params = {"text_encoder": layers}
        _, outputs = albef.encode_text(config, params, text_ids, mask, collect=True)
        if given.text_pooling == "cls":
            return outputs[depth][:, 0]
        weights = mask[..., None] / mask.sum(axis=1)[:, None, None]
        return (outputs[depth] * weights).sum(axis=1)

    return _in_batches(encode, inputs, given.batch)


def _in_batches(
    function: Callable[..., jax.Array], inputs: tuple[np.ndarray, ...], size: int
) -> np.ndarray:
    """The function's rows in float64, by one program for batches of `size`."""
    count, found = len(inputs[0]), []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)  # the last one repeats
        out = np.asarray(function(*(array[rows] for array in inputs)), np.float64)
        found.append(out[: count - start])
    return np.concatenate(found)


def read(given: argparse.Namespace) -> tuple[Features, np.ndarray]:
    """Features of all images and captions, and the image's number `[rows]` of each item."""
    items = JsonPairs([given.annotations], given.images, "--annotations")
    pairs = PairsByImage(items)
    images, captions, number = [], [], {}
    for row in range(len(pairs)):
        pair = pairs[row]
        images.append(resize_for_eval(pair.image, given.image_size))
        captions.append(pair.captions)
        number[pair.image_id] = row
    features = Features(
        encode_images(read_image_encoder(given.vision), images, given),
        encode_texts(read_text_encoder(given.text), [*chain.from_iterable(captions)], given),
        np.repeat(np.arange(len(pairs)), [len(texts) for texts in captions]),
    )
    return features, np.array([number[int(image_id)] for image_id in items.image_ids])


def write_split(
    annotations: Path, image_of_item: np.ndarray, parts: Mapping[str, np.ndarray], folder: Path
) -> None:
    """Write the items of each part's images, unchanged, to `<part>.json`."""
    items = read_json(annotations)
    folder.mkdir(parents=True, exist_ok=True)
    for part, images in parts.items():
        kept = [items[row] for row in np.flatnonzero(np.isin(image_of_item, images))]
        write_text(folder / f"{part}.json", json.dumps(kept, indent=1))


def one_fold(features: Features, given: argparse.Namespace, fold: int) -> dict[str, Any]:
    """The figures of one fold, and its penalty."""
    first, second = split(len(features.image), given.folds, fold, given.seed)
    seen, unseen = features.of(first), features.of(second)
    penalty = choose_penalty(seen, given.towards, given.seed)
    figures = measure(scores(seen, unseen, given.towards, penalty), unseen.image_of_text)
    images = {"train_images": len(first), "unseen_images": len(second)}
    return {"fold": fold, "penalty": penalty, **images, **figures}


def _config(params: dict[str, Any]) -> ModelConfig:
    return replace(ModelConfig(fusion_depth=0), **sizes_of(params))


def _directions(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def mean_of(folds: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Mean recall over folds, rounded."""
    return {
        way: {k: round(float(np.mean([fold[way][k] for fold in folds])), 1) for k in folds[0][way]}
        for way in ("text_retrieval", "image_retrieval")
    }


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--annotations", type=Path, required=True, help="a list as data.train_files")
    add("--images", type=Path, required=True, help="as data.image_root")
    add("--text", type=Path, required=True, help="as init.text")
    add("--vision", type=Path, required=True, help="as init.vision")
    add("--vocab", help="as data.vocab; without it the vocab.txt beside the text encoder")
    add("--image_size", type=int, default=224, help="pixels")
    add("--image_heads", type=int, help="if no config.json says so; without it one in 64 channels")
    add("--text_depth", type=int, help="layers that texts pass; without it all")
    add("--text_pooling", choices=POOLING, default="mean")
    add("--image_pooling", choices=POOLING, default="cls")
    add("--towards", choices=("text", "image"), default="text", help="where the map ends")
    add("--max_words", type=int, default=30, help="of a caption")
    add("--text_len", type=int, default=40, help="tokens of a caption")
    add("--folds", type=int, default=5)
    add("--fold", type=int, help="the one to measure; without it all of them")
    add("--seed", type=int, default=0, help="of the split")
    add("--batch", type=int, default=16)
    add("--write", type=Path, metavar="FOLDER", help="where the split of --fold goes")
    return parser


def main() -> None:
    """Measure, and print one JSON line."""
    parser = arguments()
    given = parser.parse_args()
    if given.write and given.fold is None:
        parser.error("--write needs --fold")
    if given.folds < 2 or not 0 <= (given.fold or 0) < given.folds:
        parser.error(f"--fold={given.fold} of --folds={given.folds}")
    try:
        features, image_of_item = read(given)
    except (BadSample, CheckpointError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    if given.write:
        first, second = split(len(features.image), given.folds, given.fold, given.seed)
        write_split(given.annotations, image_of_item, {"train": first, "test": second}, given.write)
    numbers = range(given.folds) if given.fold is None else [given.fold]
    folds = [one_fold(features, given, fold) for fold in numbers]
    line = {name: str(v) if isinstance(v, Path) else v for name, v in vars(given).items()}
    print(json.dumps({"benchmark": "ridge", **line, **mean_of(folds), "by_fold": folds}))


if __name__ == "__main__":
    main()
