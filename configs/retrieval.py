"""Retrieval recipes: `configs/retrieval.py[:preset]`.

demo             the built-in world and a tiny model, minutes on a laptop (the bare file)
coco, flickr     the published fine-tuning (paper table 2)
zeroshot_flickr  evaluation of a checkpoint fine-tuned on COCO (paper table 3); use --eval_only
"""

from ml_collections import ConfigDict

from albef_jax.config import default, use_preset


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of that name."""
    recipes = {
        "demo": demo,
        "coco": coco,
        "flickr": flickr,
        "zeroshot_flickr": zeroshot_flickr,
    }
    if preset not in recipes:
        raise ValueError(f"configs/retrieval.py has no preset {preset!r}; it has {sorted(recipes)}")
    config = default("retrieval")
    config.preset = preset
    recipes[preset](config)
    return config


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_preset(config, "tiny", vocab_size=480)
    config.data.update({"source": "scenes", "vocab": "scenes", "augment": "none", "threads": 2})
    config.data.text_len = 25
    config.data.scenes.update({"train_size": 64_000, "captions": 3})
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
    config.evaluation.update({"limit": 300, "rerank": 16})


def coco(config: ConfigDict) -> None:
    """MSCOCO 5K (Karpathy split)."""
    config.data.root = "data"
    config.data.train_files = "coco_train.json"
    config.data.eval_files = "coco_test.json"
    config.data.image_root = "coco"


def flickr(config: ConfigDict) -> None:
    """Flickr30K: ten epochs, 128 candidates."""
    config.data.root = "data"
    config.data.train_files = "flickr30k_train.json"
    config.data.eval_files = "flickr30k_test.json"
    config.data.image_root = "flickr30k"
    config.train.epochs = 10
    config.evaluation.rerank = 128


def zeroshot_flickr(config: ConfigDict) -> None:
    """Flickr30K without training on it: set init.checkpoint, and pass --eval_only."""
    flickr(config)
