"""NLVR2 recipes: `configs/nlvr.py[:preset]`.

demo   the built-in world and a tiny model, minutes on a laptop (the bare file)
nlvr2  the published fine-tuning, from a text-assignment checkpoint (paper table 4)
"""

from ml_collections import ConfigDict

from albef_jax.config import default, use_preset


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of that name."""
    recipes = {"demo": demo, "nlvr2": nlvr2}
    if preset not in recipes:
        raise ValueError(f"configs/nlvr.py has no preset {preset!r}; it has {sorted(recipes)}")
    config = default("nlvr")
    config.preset = preset
    recipes[preset](config)
    return config


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_preset(config, "tiny", vocab_size=480)
    config.init.teacher = "student"
    config.data.update({"source": "scenes", "vocab": "scenes", "augment": "none", "threads": 2})
    config.data.text_len = 25
    config.data.scenes.train_size = 64_000
    config.train.update({"batch_size": 64, "steps": 1000, "momentum": 0.98})
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 50})
    config.checkpoint.every_steps = 200
    config.log.every_steps = 20
    config.evaluation.limit = 1000


def nlvr2(config: ConfigDict) -> None:
    """NLVR2."""
    config.data.root = "data"
    config.data.train_files = "nlvr_train.json"
    config.data.eval_files = "nlvr_test.json"
    config.data.image_root = "nlvr2"
