"""Entailment recipes: `configs/entailment.py[:preset]`, listed in docs/tasks/entailment.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe("entailment", preset, {"demo": demo, "snli_ve": snli_ve})


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_small_world(config)
    config.train.update({"steps": 1000, "momentum": 0.98})
    config.evaluation.limit = 1000


def snli_ve(config: ConfigDict) -> None:
    """SNLI-VE on the images of Flickr30K."""
    config.data.root = "data"
    config.data.train_files = "ve_train.json"
    config.data.eval_files = "ve_test.json"
    config.data.val_files = "ve_dev.json"
    config.data.also_eval_files = "dev=ve_dev.json"
    config.evaluation.every = "1 epoch"
    config.data.image_root = "flickr30k/flickr30k-images"
