"""From the configuration to sources and transforms."""

from ml_collections import ConfigDict

from albef_jax.config import annotation_files, image_root
from albef_jax.data.augment import EvalTransform, TrainTransform, Transform
from albef_jax.data.json_source import JsonPairs
from albef_jax.data.records import PairSource
from albef_jax.data.scenes.source import ScenesSource


def open_train(config: ConfigDict) -> PairSource:
    """The training pairs."""
    if config.data.source == "scenes":
        scenes = config.data.scenes
        return ScenesSource(
            "train",
            scenes.train_size,
            config.model.image_size,
            seed=config.seed,
            noise=scenes.noise,
            captions_per_image=scenes.captions,
        )
    return JsonPairs(annotation_files(config, "train_files"), image_root(config))


def open_eval(config: ConfigDict) -> tuple[PairSource, str]:
    """The pairs to evaluate on, and what they are, in words."""
    if config.data.source == "scenes":
        pairs = config.evaluation.pairs
        source = ScenesSource(
            "val", pairs, config.model.image_size, seed=config.seed, captions_per_image=1
        )
        return source, f"{pairs} unseen scenes, one full caption each"
    files = annotation_files(config, "eval_files")
    if files:
        return JsonPairs(files, image_root(config)), "held-out pairs of data.eval_files"
    return open_train(config), "TRAINING pairs (data.eval_files is empty)"


def train_transform(config: ConfigDict) -> Transform:
    """What happens to a picture on its way into a training batch."""
    if config.data.augment == "none":
        return EvalTransform(config.model.image_size)
    return TrainTransform(
        config.model.image_size,
        crop_scale=tuple(config.data.crop_scale),
        randaugment_ops=config.data.randaugment_ops,
        randaugment_level=config.data.randaugment_level,
    )
