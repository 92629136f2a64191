"""A configuration that trains in seconds, for tests of whole runs."""

from ml_collections import ConfigDict

from albef_jax.config import default, use_preset
from albef_jax.config.auto import use_auto

SIZES = {
    "image_size": 32,
    "patch_size": 8,
    "image_width": 16,
    "image_depth": 1,
    "image_heads": 2,
    "text_width": 16,
    "text_heads": 2,
    "text_intermediate": 32,
    "text_depth": 1,
    "fusion_depth": 1,
    "embed_dim": 8,
    "max_positions": 32,
}


def scenes_config(dropout: float = 0.1, **train) -> ConfigDict:
    """The built-in world; `train` overrides options of that section.

    The number of steps is part of the program, by its learning rates: tests with this one share it.
    """
    config = default()
    use_preset(config, "tiny", vocab_size=460, dropout=dropout, **SIZES)
    config.data.update({"source": "scenes", "vocab": "scenes", "augment": "none", "threads": 2})
    config.data.scenes.train_size = 50
    config.train.update(
        {"batch_size": 8, "steps": 6, "contrast_group": 4, "queue_size": 16, **train}
    )
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 5})
    config.checkpoint.every_steps = 3
    config.log.every_steps = 3
    config.evaluation.update({"limit": 12, "rerank": 3, "batch_size": 8, "examples": 2})
    return config


def task_config(task: str, dropout: float = 0.1, **train) -> ConfigDict:
    """A downstream task on the built-in world; `train` overrides options of that section.

    Without dropout, a step compiles in three quarters of the time.
    """
    config = default(task)
    use_preset(config, "tiny", vocab_size=460, dropout=dropout, **SIZES)
    config.data.update({"source": "scenes", "vocab": "scenes", "augment": "none", "threads": 2})
    config.data.text_len = 25
    config.data.scenes.train_size = 50
    config.train.update({"batch_size": 8, "steps": 4, **train})
    for option, value in {"contrast_group": 4, "queue_size": 16}.items():
        if option in config.train:
            config.train[option] = value
    if task == "vqa":
        config.data.update({"answer_len": 4, "max_answers": 2})
        config.evaluation.rank = 5
    if task == "retrieval":
        config.evaluation.rerank = 3
    if task == "grounding":
        config.evaluation.update({"layer": 1, "image_block": 0})
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 2})
    config.checkpoint.every_steps = 2
    config.log.every_steps = 2
    config.evaluation.update({"limit": 12, "batch_size": 8, "examples": 2})
    return config


def json_config(train_file: str, image_root: str, **train) -> ConfigDict:
    """The official annotation format, with the official augmentation."""
    config = scenes_config(**train)
    config.data.update(
        {
            "source": "json",
            "augment": "official",
            "train_files": train_file,
            "image_root": image_root,
        }
    )
    return config


SKIPS = 3  # of a run that diverges, until it stops


def diverging():
    """The first update throws all parameters far away."""
    config = scenes_config()
    config.optimizer.update({"lr": 1e30, "warmup_steps": 0})
    config.guards.max_skipped = SKIPS
    config.log.every_steps = 1
    config.checkpoint.every_steps = 1
    return config


def two_processes() -> ConfigDict:
    """A batch for four devices, few steps, all of them saved or logged; they agree what is fast."""
    config = scenes_config()
    use_auto(config)
    config.checkpoint.update({"every_steps": 2, "keep": 5, "best": "itc_r_mean"})
    config.evaluation.every = "3 steps"
    config.log.every_steps = 1
    return config


def get_config(preset: str = "") -> ConfigDict:
    """For runs by command line: saved and logged often, `short` or `two`; or a task's name."""
    if preset == "two":
        return two_processes()
    if preset == "short":
        config = often_saved(steps=12)
        config.evaluation.examples = 0
        return config
    if preset:
        return task_config(preset)
    return often_saved(steps=30)


def often_saved(steps: int) -> ConfigDict:
    """Every second step is saved, every step is logged."""
    config = scenes_config(steps=steps)
    config.checkpoint.every_steps = 2
    config.log.every_steps = 1
    return config
