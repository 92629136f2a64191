"""Retrieval recipes: `configs/retrieval.py[:preset]`, listed in docs/tasks/retrieval.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_small_world


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe(
        "retrieval",
        preset,
        {
            "demo": demo,
            "coco": coco,
            "flickr": flickr,
            "zeroshot_flickr": zeroshot_flickr,
        },
    )


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_small_world(config)
    config.data.scenes.update({"captions": 3})
    config.train.update(
        {
            "steps": 500,
            "contrast_group": 64,
            "queue_size": 128,
            "momentum": 0.98,
        }
    )
    config.evaluation.update({"limit": 300, "rerank": 16})


def coco(config: ConfigDict) -> None:
    """MSCOCO 5K (Karpathy split)."""
    config.data.root = "data"
    config.data.train_files = "coco_train.json"
    config.data.eval_files = "coco_test.json"
    config.data.val_files = "coco_val.json"
    config.data.also_eval_files = "val=coco_val.json"
    config.evaluation.every = "1 epoch"
    config.data.image_root = "coco"


def flickr(config: ConfigDict) -> None:
    """Flickr30K: ten epochs, 128 candidates."""
    config.data.root = "data"
    config.data.train_files = "flickr30k_train.json"
    config.data.eval_files = "flickr30k_test.json"
    config.data.val_files = "flickr30k_val.json"
    config.data.also_eval_files = "val=flickr30k_val.json"
    config.evaluation.every = "1 epoch"
    config.data.image_root = "flickr30k"
    config.train.epochs = 10
    config.evaluation.rerank = 128


def zeroshot_flickr(config: ConfigDict) -> None:
    """Flickr30K without training on it: set init.checkpoint, and pass --eval_only."""
    flickr(config)
    config.data.update({"val_files": "", "also_eval_files": ""})
    config.evaluation.every = ""
