"""Batches that worker processes read."""

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches
from albef_jax.data.examples import PairExamples
from albef_jax.data.grouping import Grouping
from albef_jax.data.images.augment import TrainTransform
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.tokenizer import Tokenizer

BATCH, SEED = 4, 3


def batches(source, workers, bad_samples=None, widths=(), **options):
    read = PairExamples(source, TrainTransform(16), Tokenizer("scenes", 8), 30)
    settings = {"batch_size": BATCH, "seed": SEED, "threads": 2, **options}
    return shuffled_batches(
        read,
        len(source),
        bad_samples=bad_samples or BadSamples(None, 1.0, len(source)),
        workers=workers,
        grouping=Grouping(read.length, widths, window=4) if widths else None,
        order=source.order(BATCH, SEED) if isinstance(source, MixedPairs) else None,
        **settings,
    )
