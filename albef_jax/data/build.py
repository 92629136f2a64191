"""From the configuration to sources and transforms."""

from collections.abc import Callable
from typing import Any, Literal

from ml_collections import ConfigDict

from albef_jax.config.data_paths import annotation_files, data_files, data_path, image_root
from albef_jax.config.file_patterns import split_list
from albef_jax.data import held_out, pair_files
from albef_jax.data.annotations.by_image import PairsByImage
from albef_jax.data.annotations.labels import folder_labels, json_labels, read_lines
from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.annotations.questions import JsonQuestions, read_answer_list
from albef_jax.data.annotations.referring import JsonReferring
from albef_jax.data.annotations.sentences import JsonSentences, JsonTwoImages
from albef_jax.data.images.augment import EvalTransform, TrainTransform, Transform
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.pair_files import PairFiles
from albef_jax.data.records import PairSource
from albef_jax.data.scenes.language.questions import ANSWERS
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.scenes.task_sources import (
    ScenesObjects,
    ScenesQuestions,
    ScenesReferring,
    ScenesSentences,
    ScenesTwoImages,
)
from albef_jax.data.scenes.world.split import SceneSplit
from albef_jax.storage.paths import AnyPath

Part = Literal["train", "eval"]
Opened = tuple[Any, str]  # a source, and its description
SCENES = 1000  # held-out scenes where no number is given


def open_train_pairs(config: ConfigDict) -> PairSource:
    """The training pairs."""
    parts = pair_files.mixture(config)
    if not parts:
        return open_pairs(config, pair_files.train_files(config))
    sources = {part.name: open_pairs(config, part) for part in parts}
    weights = [part.weight for part in parts if part.weight is not None]
    mixed = MixedPairs(sources, weights or None)
    mixed.order(config.train.batch_size, config.seed)  # raises its errors now
    return mixed


def open_eval_pairs(config: ConfigDict) -> tuple[PairSource, str]:
    """The pairs to evaluate on, and their description."""
    part = pair_files.eval_files(config)
    if part is None:
        return _by_image(open_train_pairs(config)), "TRAINING items (data.eval_files is empty)"
    if part.source == "scenes":
        size = config.evaluation.limit or SCENES
        source = ScenesSource(
            config.data.scenes.eval_split,
            size,
            config.model.image_size,
            seed=config.seed,
            most_objects=config.data.scenes.objects,
            captions_per_image=1,
        )
        return source, f"{size} unseen scenes, one full caption each"
    parts = pair_files.mixture(config) or (pair_files.train_files(config),)
    trained_on = [path for one in parts for path in _paths(config, one)]
    what = held_out.describe(trained_on, _paths(config, part))
    return _by_image(open_pairs(config, part)), what


def _paths(config: ConfigDict, part: PairFiles) -> tuple[AnyPath, ...]:
    """The files of a part; none for scenes and for data sets given by name."""
    return () if part.source in ("scenes", "tfds") else data_files(config, part.files)


def _by_image(pairs: PairSource) -> PairSource:
    """Join the rows of an image in JSON lists; other sources are unchanged."""
    return PairsByImage(pairs) if isinstance(pairs, JsonPairs) else pairs


def open_pairs(config: ConfigDict, part: PairFiles) -> PairSource:
    """The pairs of one kind; libraries that only one kind needs are imported here."""
    if part.source == "scenes":
        return _training_scenes(config)
    if part.source == "tfds":
        from albef_jax.data.shards.tfds import TfdsPairs

        names = split_list(part.files)
        tfds = TfdsPairs(
            names, config.data.root, part.image_field, part.caption_field, part.setting
        )
        return _oriented(config, tfds)
    files = data_files(config, part.files)
    if part.source == "webdataset":
        from albef_jax.data.shards.webdataset import TarPairs

        return _oriented(config, TarPairs(files, part.caption_field, part.setting))
    if part.source == "array_record":
        from albef_jax.data.shards.array_record import ArrayRecordPairs

        return _oriented(config, ArrayRecordPairs(files, part.setting))
    return _oriented(config, JsonPairs(files, data_path(config, part.image_root), part.setting))


def _oriented(config: ConfigDict, source: Any) -> Any:
    """Set whether a source turns its images upright."""
    source.upright = config.data.exif_orientation
    return source


def _training_scenes(config: ConfigDict) -> ScenesSource:
    scenes = config.data.scenes
    return ScenesSource(
        "train",
        scenes.train_size,
        config.model.image_size,
        seed=config.seed,
        most_objects=scenes.objects,
        noise=scenes.get("noise", 0.0),
        captions_per_image=scenes.captions,
    )


def open_questions(config: ConfigDict, part: Part) -> Opened:
    """Questions about images."""
    if config.data.source == "scenes":
        return _scenes(config, part, ScenesQuestions, "questions about unseen scenes")
    files, what = _files(config, part)
    vg_root = config.data.vg_image_root
    source = JsonQuestions(
        files,
        image_root(config),
        data_path(config, vg_root) if vg_root else None,
        training=part == "train",
        max_answers=config.data.max_answers if part == "train" else None,
        setting=f"data.{part}_files",
    )
    return _oriented(config, source), what


def open_answer_list(config: ConfigDict) -> tuple[str, ...]:
    """The answers to rank; none if answers are generated."""
    if config.data.answer_list:
        return read_answer_list(data_path(config, config.data.answer_list))
    return ANSWERS if config.data.source == "scenes" else ()


def open_sentences(config: ConfigDict, part: Part) -> Opened:
    """Sentences about one image each."""
    if config.data.source == "scenes":
        return _scenes(config, part, ScenesSentences, "sentences about unseen scenes")
    return _from_json(config, part, JsonSentences)


def open_two_images(config: ConfigDict, part: Part) -> Opened:
    """Sentences about two images each."""
    if config.data.source == "scenes":
        return _scenes(config, part, ScenesTwoImages, "sentences about pairs of unseen scenes")
    return _from_json(config, part, JsonTwoImages)


def open_labelled(config: ConfigDict) -> Opened:
    """Images with a class each, to classify."""
    if config.data.source == "scenes":
        size = config.evaluation.limit or SCENES
        split = config.data.scenes.eval_split
        scenes = ScenesObjects(split, size, config.model.image_size, seed=config.seed)
        return scenes, f"{size} unseen scenes of one object each"
    names = config.data.classes
    classes = read_lines(data_path(config, names), "data.classes") if names else ()
    if config.data.source == "folder":
        source = folder_labels(image_root(config), classes)
        return _oriented(config, source), f"the images below {image_root(config)}"
    files = annotation_files(config, "eval_files")
    source = json_labels(files, image_root(config), classes)
    return _oriented(config, source), ", ".join(map(str, files))


def open_referring(config: ConfigDict, part: Part) -> Opened:
    """Phrases for things in images, with boxes where they are evaluated."""
    if config.data.source == "scenes":
        return _scenes(config, part, ScenesReferring, "phrases for objects of unseen scenes")
    files, what = _files(config, part)
    boxes = {
        option: data_path(config, config.data[option])
        for option in ("references", "instances", "detections")
        if config.data[option]
    }
    source = JsonReferring(
        files,
        image_root(config),
        training=part == "train",
        **(boxes if part == "eval" else {}),
        setting=f"data.{part}_files",
    )
    return _oriented(config, source), what


def _scenes(config: ConfigDict, part: Part, kind: type[SceneSplit], what: str) -> Opened:
    size = config.data.scenes.train_size
    if part == "eval":
        size = config.evaluation.limit or SCENES
    split = {"train": "train", "eval": config.data.scenes.eval_split}[part]
    source = kind(
        split,
        size,
        config.model.image_size,
        seed=config.seed,
        most_objects=config.data.scenes.objects,
    )
    return source, f"{size} {what}"


def _from_json(config: ConfigDict, part: Part, kind: Callable) -> Opened:
    files, what = _files(config, part)
    source = kind(files, image_root(config), setting=f"data.{part}_files")
    return _oriented(config, source), what


def _files(config: ConfigDict, part: Part) -> tuple[tuple[AnyPath, ...], str]:
    """The annotation files of a part, and their description."""
    files = annotation_files(config, f"{part}_files")
    if files or part == "train":
        return files, held_out.describe(annotation_files(config, "train_files"), files)
    return annotation_files(config, "train_files"), "TRAINING items (data.eval_files is empty)"


def train_transform(config: ConfigDict) -> Transform:
    """The transform of training images."""
    if config.data.augment == "none":
        return EvalTransform(config.model.image_size)
    scale = config.data.get("crop_scale")
    return TrainTransform(
        config.model.image_size,
        crop_scale=None if scale is None else tuple(scale),
        randaugment_ops=config.data.randaugment_ops,
        randaugment_level=config.data.randaugment_level,
    )
