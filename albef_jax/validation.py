"""Checks of a whole configuration, before an hour is wasted on it."""

import difflib
from collections.abc import Iterator
from pathlib import Path

from ml_collections import ConfigDict

from albef_jax.config import ConfigError, annotation_files, image_root

CHOICES = {
    "task": ("pretrain",),
    "model.dtype": ("float32", "bfloat16"),
    "model.attention": ("xla", "cudnn"),
    "data.source": ("json", "scenes"),
    "data.augment": ("published", "none"),
    "optimizer.schedule": ("published", "cosine"),
}
POSITIVE = (
    "model.image_size",
    "model.patch_size",
    "model.image_width",
    "model.image_depth",
    "model.image_heads",
    "model.text_width",
    "model.text_heads",
    "model.text_intermediate",
    "model.text_depth",
    "model.fusion_depth",
    "model.vocab_size",
    "model.max_positions",
    "model.embed_dim",
    "model.temperature",
    "model.unroll",
    "data.text_len",
    "data.max_words",
    "data.threads",
    "data.prefetch",
    "train.batch_size",
    "train.contrast_group",
    "train.queue_size",
    "mesh.fsdp",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "log.every_steps",
    "evaluation.pairs",
    "evaluation.batch_size",
    "evaluation.rerank",
    "optimizer.lr",
    "data.scenes.train_size",
    "data.scenes.captions",
)
SHARES = (
    "model.dropout",
    "model.attention_dropout",
    "data.max_bad_share",
    "data.scenes.noise",
    "train.momentum",
    "train.alpha",
    "train.mlm_probability",
)
NOT_NEGATIVE = (
    "optimizer.min_lr",
    "optimizer.weight_decay",
    "optimizer.warmup_lr",
    "optimizer.warmup_periods",
    "optimizer.warmup_steps",
    "train.alpha_ramp_epochs",
    "data.randaugment_ops",
    "evaluation.examples",
)


def validate(config: ConfigDict) -> None:
    """Check ranges, choices, sizes that must divide each other, and files.

    Raises:
        ConfigError: one line for each problem, with the knob's name and a remedy.
    """
    problems = [*_values(config), *_sizes(config), *_files(config)]
    if problems:
        raise ConfigError("\n".join(problems))


def value_of(config: ConfigDict, name: str):
    """The value at a dotted name."""
    for part in name.split("."):
        config = config[part]
    return config


def _values(config: ConfigDict) -> Iterator[str]:
    for name, choices in CHOICES.items():
        value = value_of(config, name)
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"{name}={value!r}: choose one of {', '.join(choices)}{hint}"
    for name in POSITIVE:
        if not value_of(config, name) > 0:
            yield f"{name}={value_of(config, name)}: must be greater than 0"
    for name in SHARES:
        if not 0 <= value_of(config, name) <= 1:
            yield f"{name}={value_of(config, name)}: must lie between 0 and 1"
    for name in NOT_NEGATIVE:
        if value_of(config, name) < 0:
            yield f"{name}={value_of(config, name)}: must not be negative"
    if config.train.steps is None and config.train.epochs < 1:
        yield f"train.epochs={config.train.epochs}: must be at least 1, or set train.steps"
    if config.train.steps is not None and config.train.steps < 1:
        yield f"train.steps={config.train.steps}: must be at least 1"
    scale = tuple(config.data.crop_scale)
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        yield f"data.crop_scale={scale}: give two shares of the picture, 0 < low <= high <= 1"


def _multiple(config: ConfigDict, whole: str, part: str) -> Iterator[str]:
    """`whole` must be a multiple of `part`; the remedy names the nearest right value."""
    big, small = value_of(config, whole), value_of(config, part)
    if big <= 0 or small <= 0 or big % small == 0:
        return
    near = max(round(big / small), 1) * small
    yield f"{whole}={big} is not a multiple of {part}={small}; the nearest is {whole}={near}"


def _sizes(config: ConfigDict) -> Iterator[str]:
    yield from _multiple(config, "model.image_size", "model.patch_size")
    yield from _multiple(config, "model.image_width", "model.image_heads")
    yield from _multiple(config, "model.text_width", "model.text_heads")
    yield from _multiple(config, "train.batch_size", "train.contrast_group")
    yield from _multiple(config, "train.queue_size", "train.batch_size")
    if config.train.contrast_group == 1:
        yield (
            "train.contrast_group=1: matching needs a negative in the group; use at least 2 "
            "(and a train.batch_size of at least 2)"
        )
    if config.data.text_len > config.model.max_positions:
        yield (
            f"data.text_len={config.data.text_len} exceeds "
            f"model.max_positions={config.model.max_positions}; lower the first"
        )
    if config.data.text_len < 2:
        yield f"data.text_len={config.data.text_len}: must be at least 2, [CLS] and one token"


def _files(config: ConfigDict) -> Iterator[str]:
    if config.data.source != "json":
        return
    if not annotation_files(config, "train_files"):
        yield "data.train_files is empty: name annotation files, or set data.source=scenes"
    for knob in ("train_files", "eval_files"):
        for path in annotation_files(config, knob):
            if not path.is_file():
                yield f"data.{knob}: no such file: {path}{_nearest_file(path)}"
    if not image_root(config).is_dir():
        root = image_root(config)
        yield f"data.image_root: no such directory: {root}{_nearest_file(root)}"


def _nearest_file(path: Path) -> str:
    """A hint at a file or directory of a similar name."""
    siblings = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.parent / near[0]}?" if near else ""
