"""NLVR2 recipes: `configs/nlvr.py[:preset]`, listed in docs/tasks/nlvr.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe("nlvr", preset, {"demo": demo, "nlvr2": nlvr2})


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_small_world(config)
    config.init.teacher = "student"
    config.data.scenes.objects = 3
    # A run this short learns more without a teacher, which is no better than its student.
    config.train.update({"steps": 2000, "momentum": 0.98, "distill": False})
    config.optimizer.lr = 3e-4
    config.evaluation.limit = 1000


def nlvr2(config: ConfigDict) -> None:
    """NLVR2."""
    config.data.root = "data"
    config.data.train_files = "nlvr_train.json"
    config.data.eval_files = "nlvr_test.json"
    config.data.val_files = "nlvr_dev.json"
    config.data.also_eval_files = "dev=nlvr_dev.json"
    config.evaluation.every = "1 epoch"
    config.data.image_root = "nlvr2"
