"""Pre-training recipes: `configs/pretrain.py[:preset]`, listed in docs/pretraining.md."""

from ml_collections import ConfigDict

from albef_jax.config import recipe, use_preset, use_small_world
from albef_jax.config.auto import use_auto


def get_config(preset: str = "demo") -> ConfigDict:
    """The recipe of a preset."""
    return recipe(
        "pretrain",
        preset,
        {
            "demo": demo,
            "demo_long": demo_long,
            "demo_tasks": demo_tasks,
            "4m": official_4m,
            "14m": official_14m,
            "4m_fast": fast_4m,
            "14m_fast": fast_14m,
            "local": local,
            "laptop": laptop,
        },
    )


def demo(config: ConfigDict) -> None:
    """A tiny model on the built-in world."""
    use_small_world(config)
    config.train.update(
        {
            "steps": 500,
            "contrast_group": 64,
            # A short run changes fast: a long queue and a slow teacher would lag far behind the
            # student, and ITC would only learn to distinguish old features from new ones.
            "queue_size": 128,
            "momentum": 0.98,
        }
    )
    config.data.scenes.update({"captions": 2})
    config.evaluation.update({"limit": 500, "rerank": 16})


def demo_long(config: ConfigDict) -> None:
    """The demo for about an hour."""
    demo(config)
    config.train.update({"steps": 4000, "queue_size": 256, "momentum": 0.99})
    config.log.every_steps = 50


def demo_tasks(config: ConfigDict) -> None:
    """Until matching is learnt, in scenes of few objects: the start of the downstream demos."""
    demo_long(config)
    config.train.steps = 1600
    config.data.scenes.objects = 3


def official_4m(config: ConfigDict) -> None:
    """The 4M recipe (paper section 3.5): batch 512, 30 epochs, queue 65,536, 256 px."""
    config.data.root = "data"
    config.data.train_files = "coco.json,vg.json,sbu.json,cc3m_train.json,cc3m_val.json"


def official_14m(config: ConfigDict) -> None:
    """The 14M recipe: the 4M sets and Conceptual 12M."""
    official_4m(config)
    config.data.train_files += ",cc12m.json"


def fast_4m(config: ConfigDict) -> None:
    """The 4M recipe in the fastest way that the devices allow: another precision than official."""
    official_4m(config)
    use_auto(config)


def fast_14m(config: ConfigDict) -> None:
    """The 14M recipe in the same way."""
    official_14m(config)
    use_auto(config)


def local(config: ConfigDict) -> None:
    """The official recipe cut to one GPU: the small model, batch 64, as fast as the GPU allows."""
    use_preset(config, "small")
    use_auto(config)
    config.train.update({"batch_size": 64, "queue_size": 16_384})


def laptop(config: ConfigDict) -> None:
    """A tiny model that memorises a few hundred of your own pairs, on a CPU."""
    use_preset(config, "tiny")
    config.data.update({"augment": "none", "threads": 2})
    config.train.update(
        {
            "batch_size": 64,
            "steps": 1000,
            "contrast_group": 64,
            # In a small set a longer queue would hold the batch's own images as negatives.
            "queue_size": 64,
            "momentum": 0.98,
        }
    )
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 50})
    config.checkpoint.every_steps = 200
    config.log.every_steps = 20
    config.evaluation.update({"limit": 500, "rerank": 16})
