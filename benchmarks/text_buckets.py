"""What `data.text_buckets` saves of a pre-training step's operations, for two sets of captions.

Lengths are drawn, put into batches in both orders (`data.bucket_order`), and the operations of each
batch's width are counted. Nothing is trained. `world` has the captions of the built-in world as the
demo reads them. `cc3m` has lengths by the public statistics of Conceptual Captions (Sharma et al.
2018, table 2: 10.3 tokens a caption, standard deviation 4.5, median 9.0): a lognormal distribution
of that mean and deviation, rounded, and `[CLS]`. Its tokens are words; rare words are several of
BERT's pieces, so real texts are somewhat longer.

Example:
    python -m benchmarks.text_buckets --batch 64 512 --buckets 8,16,25 12,25
"""

import argparse
import json
import math
import runpy
from bisect import bisect_left
from collections.abc import Iterator
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from albef_jax.config.recipe_files import located
from albef_jax.config.text_buckets import widths
from albef_jax.data.build import open_train_pairs
from albef_jax.data.examples import PairExamples
from albef_jax.data.grouping import WINDOW, GroupedPlaces
from albef_jax.data.images.augment import EvalTransform
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.tasks.shared.base import Task
from albef_jax.tasks.shared.sketch import sketch

MEAN, DEVIATION = 10.3, 4.5  # words of a caption of CC3M
ORDERS = ("published", "grouped")
RECIPES = {"cc3m": "4m", "world": "demo"}


def recipe(preset: str) -> ConfigDict:
    """A recipe of pre-training."""
    return runpy.run_path(located("configs/pretrain.py"))["get_config"](preset)


def cc3m(text_len: int) -> np.ndarray:
    """Probabilities `[T + 1]` of texts of 0 to T tokens, cut to T."""
    variance = math.log1p((DEVIATION / MEAN) ** 2)
    middle, spread = math.log(MEAN) - variance / 2, math.sqrt(2 * variance)
    # A word count of n stands for n - 1/2 to n + 1/2, and one word for all that is less.
    below = [
        0.5 * (1 + math.erf((math.log(words + 0.5) - middle) / spread))
        for words in range(1, text_len - 1)
    ]
    return np.diff([0.0, 0.0, 0.0, *below, 1.0])


def world(text_len: int, count: int) -> np.ndarray:
    """The same of captions of the built-in world, as the demo reads them."""
    config = recipe("demo")
    config.data.scenes.train_size = count
    source, tokenizer = open_train_pairs(config), Tokenizer("scenes", text_len)
    examples = PairExamples(source, EvalTransform(16), tokenizer, config.data.max_words)
    rng = np.random.default_rng(0)
    lengths = [examples.length(index, rng) for index in range(count)]
    return np.bincount(lengths, minlength=text_len + 1) / count


@cache
def flops(preset: str, width: int) -> float:
    """Operations of a step for each pair of a recipe."""
    task = _task(preset)
    return (task.step_flops(width) or 0.0) / task.batch_size


@cache
def _task(preset: str) -> Task:
    return sketch(recipe(preset), {})


def shares(
    lengths: np.ndarray, buckets: tuple[int, ...], batch: int, order: str, window: int
) -> np.ndarray:
    """The part of the batches in each bucket.

    Args:
        lengths: of the samples in their shuffled order, whole batches.
    """
    found = np.array([bisect_left(buckets, length) for length in lengths.tolist()])
    if order == "grouped":
        places = GroupedPlaces(found.__getitem__, batch, len(found) // batch, window, seed=0)
        found = found[[places[position] for position in range(len(found))]]
    widest = found.reshape(-1, batch).max(axis=1)
    return np.bincount(widest, minlength=len(buckets)) / len(widest)


def saved(preset: str, buckets: tuple[int, ...], found: np.ndarray) -> float:
    """The part of a recipe's operations that these batches save."""
    whole = flops(preset, buckets[-1])
    return 1 - sum(
        share * flops(preset, width) / whole for share, width in zip(found, buckets, strict=True)
    )


def rows_of(captions: str, chances: np.ndarray, given: argparse.Namespace) -> Iterator[dict]:
    """One row for each size of a batch, choice of buckets, and order."""
    preset, rng = RECIPES[captions], np.random.default_rng(0)
    for batch in given.batch:
        lengths = rng.choice(len(chances), given.batches * batch, p=chances)
        for option, order in product(given.buckets, ORDERS):
            buckets = widths(option)
            found = shares(lengths, buckets, batch, order, given.window)
            yield {
                "captions": captions,
                "recipe": preset,
                "batch": batch,
                "buckets": option,
                "order": order,
                "shares": [round(float(share), 4) for share in found],
                "saved": round(saved(preset, buckets, found), 4),
            }


def measure(given: argparse.Namespace) -> dict:
    """All figures."""
    text_len = widths(given.buckets[0])[-1]
    chances = {"cc3m": cc3m(text_len), "world": world(text_len, given.scenes)}
    # A bucket for each length, and only texts of that length in a batch.
    lengths = tuple(range(text_len + 1))
    most = {name: round(saved(RECIPES[name], lengths, of), 4) for name, of in chances.items()}
    named = sorted({width for option in given.buckets for width in widths(option)})
    return {
        "share_of_length": {name: np.round(of, 4).tolist() for name, of in chances.items()},
        "saved_without_any_padding": most,
        "gflops_a_pair": {
            preset: {width: round(flops(preset, width) / 1e9, 3) for width in named}
            for preset in RECIPES.values()
        },
        "rows": [row for name, of in chances.items() for row in rows_of(name, of, given)],
    }


def table(found: dict) -> str:
    """The rows as a table in Markdown, and the most that any buckets could save."""
    lines = [
        "| captions | recipe | batch | buckets | order | batches in each | saved |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        parts = ", ".join(f"{share:.1%}" for share in row["shares"])
        cells = *(row[name] for name in ("captions", "recipe", "batch", "buckets", "order")), parts
        lines.append(f"| {' | '.join(map(str, cells))} | {row['saved']:.1%} |")
    for captions, share in found["saved_without_any_padding"].items():
        lines.append(f"{captions} without any padding: {share:.1%} saved")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Print a table, and the same figures as a line of JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--buckets", nargs="+", default=["8,16,25"], help="as data.text_buckets")
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 512])
    parser.add_argument("--batches", type=int, default=1024, help="of each size")
    parser.add_argument("--window", type=int, default=WINDOW, help="batches to group within")
    parser.add_argument("--scenes", type=int, default=20_000, help="captions of the built-in world")
    parser.add_argument("--out", type=Path, help="a file for the JSON, too")
    given = parser.parse_args(arguments)
    if len({widths(option)[-1] for option in given.buckets}) > 1:
        parser.error("--buckets: all must end in the same width")
    settings = {name: value for name, value in vars(given).items() if name != "out"}
    found = {"benchmark": "text_buckets", **settings, **measure(given)}
    print(table(found))
    print(json.dumps(found))
    if given.out:
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
