"""Recipes of text assignment: `configs/nlvr_pretrain.py[:preset]`, listed in docs/tasks/nlvr.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe("nlvr_pretrain", preset, {"demo": demo, "4m": official_4m})


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_small_world(config)
    config.data.scenes.update({"captions": 2, "objects": 3})
    config.train.update({"steps": 400})
    config.optimizer.lr = 5e-4
    config.checkpoint.every_steps = 100
    config.evaluation.limit = 512


def official_4m(config: ConfigDict) -> None:
    """One epoch over the 4M pairs."""
    config.data.root = "data"
    config.data.train_files = "coco.json,vg.json,sbu.json,cc3m_train.json,cc3m_val.json"
