"""Checks of a whole configuration, before an hour is wasted on it."""

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from albef_jax.checkpoints.init_from.hub import is_hub_name
from albef_jax.config import evaluation, image_encoder, parts, renamed, schema, text_buckets
from albef_jax.config.auto import AUTO
from albef_jax.config.data_paths import annotation_files, data_path, image_root, use_storage
from albef_jax.config.file_patterns import is_unreadable, nearest_file, not_read, split_list
from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.data import pair_files
from albef_jax.data.tokenizer import vocab_path
from albef_jax.errors import ConfigError
from albef_jax.observability import metrics
from albef_jax.pretrained.folders import locate
from albef_jax.storage.addresses import in_bucket

REMAT = ("none", "dots", "full", AUTO)
# Of options that are lists of losses: which they may name, and how many at least.
LOSSES = {"train.losses": (("itc", "mlm", "itm"), 1), "train.distilled": (("itc", "mlm"), 0)}
CHOICES = {
    "task": TASKS,
    "init.teacher": ("official", "student"),
    "model.dtype": ("float32", "bfloat16", AUTO),
    "model.reduce_dtype": ("float32", "bfloat16"),
    "model.image_stem": ("patches", "convolutions"),
    "model.image_positions": ("normal", "sincos"),
    "model.text_pooling": ("cls", "mean"),
    "model.attention": ("xla", "cudnn", AUTO),
    "model.remat_image": REMAT,
    "model.remat_text": REMAT,
    "model.remat_fusion": REMAT,
    "train.negatives": ("hard", "random"),
    "train.xla_flags": ("fast", "none"),
    "data.source": (*pair_files.SOURCES, "folder"),
    "data.augment": ("official", "none"),
    "data.bucket_order": ("grouped", "published"),
    "data.if_changed": ("refuse", "accept"),
    "data.scenes.eval_split": ("val", "test"),
    "optimizer.schedule": ("official", "cosine"),
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
    "model.image_attention_gain",
    "model.unroll",
    "data.text_len",
    "data.max_words",
    "data.threads",
    "train.batch_size",
    "train.contrast_group",
    "train.queue_size",
    "train.microbatches",
    "mesh.fsdp",
    "checkpoint.every_steps",
    "checkpoint.keep",
    "log.every_steps",
    "guards.max_skipped",
    "distributed.join_seconds",
    "distributed.peer_seconds",
    "storage.lock_seconds",
    "storage.upload_seconds",
    "storage.cache_gb",
    "evaluation.batch_size",
    "evaluation.rerank",
    "evaluation.rank",
    "evaluation.beams",
    "optimizer.lr",
    "data.max_answers",
    "data.scenes.train_size",
    "data.scenes.objects",
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
    "guards.stall_seconds",
    "train.alpha_ramp_epochs",
    "data.randaugment_ops",
    "evaluation.examples",
    "evaluation.limit",
    "evaluation.layer",
    "evaluation.image_block",
    "train.cached_views",
    "checkpoint.keep_every",
    "storage.retry_seconds",
    "mesh.slices",
)
# Lowest and highest value.
RANGES = {
    "seed": (0, 2**32 - 1),
    "data.randaugment_level": (0, 10),
    "data.workers": (0, 256),
}


def validate(config: ConfigDict, eval_only: bool = False, *, started: bool = False) -> None:
    """Check options and their kinds, ranges, choices, sizes that must divide each other, and files.

    With `eval_only` there need be no training files where there are some to evaluate on. What a run
    begins with need not be there any more once it has `started` and saved checkpoints of its own.

    Raises:
        ConfigError: one line for each problem, with the option's name and a remedy.
    """
    problems = list(schema.problems(config))  # else the other checks would stumble
    start = () if started else _start(config)
    problems = problems or [*_values(config), *_sizes(config), *start, *_files(config, eval_only)]
    if problems:
        raise ConfigError("\n".join(problems))


def value_of(config: ConfigDict, name: str):
    """The value at a dotted name; None if the task has no such option."""
    for part in name.split("."):
        if part not in config:
            return None
        config = config[part]
    return config


def _present(config: ConfigDict, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The options that the task has, with their values."""
    for name in names:
        if (value := value_of(config, name)) is not None:
            yield name, value


def _numbers(config: ConfigDict, names: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The same without those that are `auto`."""
    return ((name, value) for name, value in _present(config, names) if value != AUTO)


def _values(config: ConfigDict) -> Iterator[str]:
    for name, value in _present(config, CHOICES):
        choices = CHOICES[name]
        if value not in choices:
            if old := renamed.replacement(name, value):
                yield old
                continue
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            yield f"{name}={value!r}: choose one of {', '.join(choices)}{hint}"
    for name, value in _numbers(config, POSITIVE):
        if not value > 0:
            yield f"{name}={value}: must be greater than 0"
    for name, value in _present(config, SHARES):
        if not 0 <= value <= 1:
            yield f"{name}={value}: must lie between 0 and 1"
    for name, value in _present(config, NOT_NEGATIVE):
        if value < 0:
            yield f"{name}={value}: must not be negative"
    for name, value in _present(config, RANGES):
        low, high = RANGES[name]
        if not low <= value <= high:
            yield f"{name}={value}: must lie between {low} and {high}"
    if config.optimizer.min_lr > config.optimizer.lr:
        yield (
            f"optimizer.min_lr={config.optimizer.min_lr} exceeds optimizer.lr="
            f"{config.optimizer.lr}; lower the first"
        )
    if config.train.steps is None and config.train.epochs < 1:
        yield f"train.epochs={config.train.epochs}: must be at least 1, or set train.steps"
    if config.train.steps is not None and config.train.steps < 1:
        yield f"train.steps={config.train.steps}: must be at least 1"
    scale = tuple(value_of(config, "data.crop_scale") or (1, 1))
    if len(scale) != 2 or not 0 < scale[0] <= scale[1] <= 1:
        yield f"data.crop_scale={scale}: give two shares of the image, 0 < low <= high <= 1"
    yield from _losses(config)
    yield from parts.problems(config)
    yield from evaluation.problems(config)
    yield from text_buckets.problems(config)
    yield from metrics.problems(config.log.writers)


def _losses(config: ConfigDict) -> Iterator[str]:
    """The losses that pre-training names are known ones, and at least one is trained."""
    for name, (known, least) in LOSSES.items():
        option = value_of(config, name)
        if option is None:
            continue
        named = split_list(option)
        if len(named) < least:
            yield f"{name}={option!r}: name at least one of {', '.join(known)}"
        for loss in named:
            if loss not in known:
                yield f"{name}={option!r}: {loss} is unknown; choose among {', '.join(known)}"


def _multiple(config: ConfigDict, whole: str, part: str) -> Iterator[str]:
    """`whole` must be a multiple of `part`; the remedy names the nearest right value."""
    big, small = value_of(config, whole), value_of(config, part)
    if big is None or small is None or big <= 0 or small <= 0 or big % small == 0:
        return
    near = max(round(big / small), 1) * small
    yield f"{whole}={big} is not a multiple of {part}={small}; the nearest is {whole}={near}"


def _sizes(config: ConfigDict) -> Iterator[str]:
    yield from _multiple(config, "model.image_size", "model.patch_size")
    yield from _multiple(config, "model.image_width", "model.image_heads")
    yield from _multiple(config, "model.text_width", "model.text_heads")
    yield from _multiple(config, "train.batch_size", "train.contrast_group")
    yield from _multiple(config, "train.queue_size", "train.batch_size")
    yield from _microbatches(config)
    yield from image_encoder.problems(config.model)
    # Text assignment shows two wrong images.
    least = 3 if config.task == "nlvr_pretrain" else 2
    group = value_of(config, "train.contrast_group")
    if group is not None and 0 < group < least:
        yield (
            f"train.contrast_group={group}: a text needs {least - 1} negative(s) in its group; use "
            f"at least {least} (and a train.batch_size of at least {least})"
        )
    lengths = ("data.text_len", "data.answer_len", "evaluation.text_len")
    for name, length in _present(config, lengths):
        if length > config.model.max_positions:
            yield (
                f"{name}={length} exceeds model.max_positions={config.model.max_positions}; "
                "lower the first"
            )
        if length < 2:
            yield f"{name}={length}: must be at least 2, [CLS] and one token"
    yield from _layers(config)
    if config.task == "grounding" and config.data.scenes.objects == 1:
        yield "data.scenes.objects=1: a phrase distinguishes an object from others; use at least 2"


def _microbatches(config: ConfigDict) -> Iterator[str]:
    """Micro-batches have whole contrast groups; tasks without contrast have groups of one row."""
    parts, group = config.train.microbatches, value_of(config, "train.contrast_group")
    if parts == AUTO or parts < 1 or (group is not None and group < 1):
        return
    groups = config.train.batch_size // (group or 1)
    if groups % parts == 0:
        return
    remedy = f"choose a divisor of {groups}"
    if group is None:
        yield f"train.microbatches={parts} does not divide train.batch_size={groups}; {remedy}"
    else:
        yield (
            f"train.microbatches={parts} does not divide the {groups} contrast groups of a batch; "
            f"{remedy}, or another train.contrast_group"
        )


def _layers(config: ConfigDict) -> Iterator[str]:
    """Heat maps come from layers that exist."""
    first, model = config.model.text_depth, config.model
    layer, block = (value_of(config, f"evaluation.{name}") for name in ("layer", "image_block"))
    if layer is not None and not first <= layer < first + model.fusion_depth:
        yield (
            f"evaluation.layer={layer}: fusion layers are numbered {first} to "
            f"{first + model.fusion_depth - 1} in this model"
        )
    if block is not None and not block < model.image_depth:
        yield f"evaluation.image_block={block}: blocks are numbered 0 to {model.image_depth - 1}"


# Single files that some tasks need; relative paths start from data.root.
FILES = ("answer_list", "references", "instances", "detections", "classes", "templates")


def _start(config: ConfigDict) -> Iterator[str]:
    """What the run begins with."""
    start = locate(config.init.checkpoint)
    if not in_bucket(config.init.checkpoint) and not start.exists():
        yield f"init.checkpoint: no such file or directory: {start}{nearest_file(start)}"
    for option in ("text", "vision"):
        name = config.init[option]
        if name and config.init.checkpoint:
            yield f"init.{option}={name}: init.checkpoint has that encoder already; leave one empty"
        if name and not Path(name).exists() and not is_hub_name(name):
            near = nearest_file(Path(name))
            yield f"init.{option}: no such file or directory: {name}{near}"


def _files(config: ConfigDict, eval_only: bool) -> Iterator[str]:
    use_storage(config)
    yield from evaluation.set_problems(config)
    if not eval_only:
        yield from evaluation.file_problems(config)
    try:
        vocab_path(config.data.vocab)
    except ValueError as error:
        yield f"data.vocab: {error}"
    spec = task_spec(config.task)
    if config.data.source == "folder" and "folder" not in spec.sources:
        yield f"data.source=folder: {config.task} needs texts; choose another source"
        return
    if "mixture" in config.data:
        yield from dict.fromkeys(pair_files.problems(config, eval_only))
        return
    if config.data.source not in spec.sources:
        yield (
            f"data.source={config.data.source}: {config.task} reads its annotations from JSON "
            "files; set data.source=json"
        )
    if config.data.source == "folder" and not config.data.image_root:
        yield "data.image_root is empty: name the folder whose sub-folders are the classes"
    if config.data.source not in ("json", "folder"):
        return
    for option in FILES:
        if config.data.get(option):
            path = data_path(config, config.data[option])
            if not path.is_file():
                yield f"data.{option}: no such file: {path}{nearest_file(path)}"
    trains = spec.trains and not (eval_only and annotation_files(config, "eval_files"))
    needed = ["train_files", "eval_files"] if trains else ["eval_files"]
    if config.data.source == "folder":
        needed = []
    elif not annotation_files(config, needed[0]):
        yield f"data.{needed[0]} is empty: name annotation files, or set data.source=scenes"
    for option in needed:
        named = (config.data.root, *split_list(config.data[option]))
        if unreadable := next(filter(is_unreadable, named), None):
            yield not_read(f"data.{option}", unreadable)
            return
        for path in annotation_files(config, option):
            if not path.is_file():
                yield f"data.{option}: no such file: {path}{nearest_file(path)}"
    root = image_root(config)
    if not root.is_dir():
        yield f"data.image_root: no such directory: {root}{nearest_file(root)}"
