"""Makes a source and a plan from a configuration and options."""

from dataclasses import asdict
from typing import Any

from ml_collections import ConfigDict

from albef_jax.data.build import Part, open_eval_pairs, open_train_pairs
from albef_jax.data.fingerprint import stamps
from albef_jax.data.pair_files import eval_files, train_files
from albef_jax.data.prepare.plan import PackingError, Plan
from albef_jax.data.records import PairSource
from albef_jax.data.training_files import of_pairs


def open_pairs(config: ConfigDict, part: Part) -> PairSource:
    """The pairs to train on, or those to evaluate on.

    Raises:
        PackingError: a mixture; its parts need directories of their own to be mixed again.
    """
    if config.data.mixture and part == "train":
        raise PackingError(
            "data.mixture is not empty: pack its parts one by one (data.source and "
            "data.train_files), and mix the packed ones"
        )
    return open_train_pairs(config) if part == "train" else open_eval_pairs(config)[0]


def make_plan(config: ConfigDict, part: Part, source: PairSource, **options: Any) -> Plan:
    """The plan that packs a source opened with this configuration; `options` are its fields."""
    named = train_files(config) if part == "train" else eval_files(config) or train_files(config)
    given: dict[str, Any] = {"part": part, **asdict(named), "root": config.data.root}
    if config.data.exif_orientation:
        given["exif_orientation"] = True
    if named.source == "scenes":
        given |= {"scenes": config.data.scenes.to_dict(), "seed": config.seed}
        given["image_size"] = config.model.image_size
    else:
        given["stamps"] = stamps(*of_pairs((named,), config.data.root, source))
    return Plan(len(source), given, vocab=config.data.vocab, **options)
