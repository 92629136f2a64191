"""Text assignment, the pre-training step before NLVR2: `configs/nlvr_pretrain.py[:preset]`.

demo  the built-in world and a tiny model, minutes on a laptop (the bare file)
4m    the published recipe: one epoch over the pre-training pairs
"""

from ml_collections import ConfigDict

from albef_jax.config import default, use_preset


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of that name."""
    recipes = {"demo": demo, "4m": published_4m}
    if preset not in recipes:
        raise ValueError(
            f"configs/nlvr_pretrain.py has no preset {preset!r}; it has {sorted(recipes)}"
        )
    config = default("nlvr_pretrain")
    config.preset = preset
    recipes[preset](config)
    return config


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_preset(config, "tiny", vocab_size=480)
    config.data.update({"source": "scenes", "vocab": "scenes", "augment": "none", "threads": 2})
    config.data.scenes.update({"train_size": 64_000, "captions": 2})
    config.train.update({"batch_size": 64, "steps": 300})
    config.optimizer.update({"schedule": "cosine", "lr": 5e-4, "warmup_steps": 50})
    config.checkpoint.every_steps = 100
    config.log.every_steps = 20
    config.evaluation.limit = 512


def published_4m(config: ConfigDict) -> None:
    """One epoch over the 4M pairs."""
    config.data.root = "data"
    config.data.train_files = "coco.json,vg.json,sbu.json,cc3m_train.json,cc3m_val.json"
