"""Grounding recipes: `configs/grounding.py[:preset]`.

demo          the built-in world and a tiny model, minutes on a laptop (the bare file)
refcoco_plus  the published fine-tuning on RefCOCO+, without boxes (paper table 5)
"""

from ml_collections import ConfigDict

from albef_jax.config import default, use_preset


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of that name."""
    recipes = {"demo": demo, "refcoco_plus": refcoco_plus}
    if preset not in recipes:
        raise ValueError(f"configs/grounding.py has no preset {preset!r}; it has {sorted(recipes)}")
    config = default("grounding")
    config.preset = preset
    recipes[preset](config)
    return config


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_preset(config, "tiny", vocab_size=480)
    config.data.update({"source": "scenes", "vocab": "scenes", "augment": "none", "threads": 2})
    config.data.text_len = 25
    config.data.scenes.train_size = 64_000
    config.train.update(
        {
            "batch_size": 64,
            "steps": 500,
            "contrast_group": 64,
            "queue_size": 128,
            "momentum": 0.98,
        }
    )
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 50})
    config.checkpoint.every_steps = 200
    config.log.every_steps = 20
    config.evaluation.update({"limit": 500, "layer": 2, "image_block": 3})


def refcoco_plus(config: ConfigDict) -> None:
    """RefCOCO+; boxes come from MAttNet's detections."""
    config.data.root = "data"
    config.data.train_files = "refcoco+_train.json"
    config.data.eval_files = "refcoco+_val.json,refcoco+_test.json"
    config.data.image_root = "coco"
    config.data.references = "refcoco+/refs(unc).p"
    config.data.instances = "refcoco+/instances.json"
    config.data.detections = "refcoco+/dets.json"
