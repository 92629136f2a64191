"""Grounding recipes: `configs/grounding.py[:preset]`, listed in docs/tasks/grounding.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe("grounding", preset, {"demo": demo, "refcoco_plus": refcoco_plus})


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_small_world(config)
    config.train.update(
        {
            "batch_size": 32,
            "steps": 3000,
            "contrast_group": 32,
            "queue_size": 128,
            "momentum": 0.98,
            "distill": False,
            # A phrase fits many images: its hardest negatives are often true matches.
            "negatives": "random",
        }
    )
    config.optimizer.update({"lr": 4e-4, "lr_scale": "image_encoder=2.5", "warmup_steps": 100})
    config.evaluation.update({"limit": 500, "layer": 2, "image_block": 1})


def refcoco_plus(config: ConfigDict) -> None:
    """RefCOCO+; boxes come from MAttNet's detections."""
    config.data.root = "data"
    config.data.train_files = "refcoco+_train.json"
    config.data.eval_files = "refcoco+_val.json,refcoco+_test.json"
    config.data.val_files = "refcoco+_val.json"
    config.evaluation.every = "1 epoch"
    config.data.image_root = "coco"
    config.data.references = "refcoco+/refs(unc).p"
    config.data.instances = "refcoco+/instances.json"
    config.data.detections = "refcoco+/dets.json"
