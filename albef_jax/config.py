"""The configuration: every knob with its default, and the checks before anything is built.

`default()` is locked, so a misspelt key is an error wherever it is written: in a file under
`configs/`, or on the command line. Defaults are the published values (LEDGER) where there are any.
"""

from dataclasses import asdict
from pathlib import Path

from ml_collections import ConfigDict, config_dict

from albef_jax.models.sizes import PRESETS, ModelConfig


class ConfigError(ValueError):
    """A configuration that cannot run; the message lists every problem found."""


def default() -> ConfigDict:
    """All knobs of pre-training at their published values, locked."""
    config = ConfigDict(
        {
            "task": "pretrain",
            "preset": "",  # name of the recipe, for logs and reports
            "seed": 0,
            "model": asdict(PRESETS["base"]),
            "data": _data(),
            "train": _train(),
            "optimizer": _optimizer(),
            # Devices are a [data, fsdp] mesh; fsdp cuts parameters, teacher and optimizer.
            "mesh": {"fsdp": 1},
            "checkpoint": {"every_steps": 1000, "keep": 2},
            "log": {"every_steps": 50},
            "evaluation": {
                "pairs": 1000,  # held-out pictures to retrieve among
                "batch_size": 64,
                "rerank": 32,  # candidates that ITM re-ranks, per query
                "examples": 8,  # pictures shown in the report
            },
        }
    )
    return config.lock()


def _data() -> dict:
    return {
        "source": "json",  # json | scenes
        "root": "",  # where relative train_files, eval_files and image_root start from
        "train_files": "",  # comma-separated annotation files
        "eval_files": "",  # empty: evaluate on the training pairs, and say so
        "image_root": "",
        "vocab": "bert-base-uncased",  # or scenes, or a path to a vocab.txt
        "text_len": 25,  # tokens, [CLS] included
        "max_words": 30,
        "augment": "published",  # published | none
        "crop_scale": (0.2, 1.0),
        "randaugment_ops": 2,
        "randaugment_level": 7,
        "threads": 8,
        "prefetch": 2,  # batches made ahead
        "max_bad_share": 0.01,
        # The built-in world; `train_size` pictures are an epoch.
        "scenes": {"train_size": 100_000, "noise": 0.0, "captions": 5},
    }


def _train() -> dict:
    return {
        "batch_size": 512,
        "epochs": 30,
        "steps": config_dict.placeholder(int),  # overrides epochs
        "contrast_group": 64,
        "queue_size": 65_536,
        "momentum": 0.995,
        "alpha": 0.4,
        "alpha_ramp_epochs": 1.0,
        "mlm_probability": 0.15,
    }


def _optimizer() -> dict:
    return {
        "schedule": "published",  # published | cosine
        "lr": 1e-4,
        "min_lr": 1e-5,
        "weight_decay": 0.02,
        # published: stairs of 100 steps from warmup_lr up, warmup_periods of them
        "warmup_lr": 1e-5,
        "warmup_periods": 20,
        # cosine: linear from 0
        "warmup_steps": 1000,
    }


def use_preset(config: ConfigDict, name: str, **overrides) -> None:
    """Set `config.model` to a preset of `models.sizes`, with overrides."""
    config.model.update({**asdict(PRESETS[name]), **overrides})


def model_config(config: ConfigDict) -> ModelConfig:
    """The model's sizes as the model code takes them."""
    return ModelConfig(**config.model.to_dict())


def annotation_files(config: ConfigDict, knob: str) -> tuple[Path, ...]:
    """The files of `data.train_files` or `data.eval_files`, under `data.root`."""
    names = (part.strip() for part in config.data[knob].split(","))
    return tuple(Path(config.data.root) / name for name in names if name)


def image_root(config: ConfigDict) -> Path:
    """The directory that picture paths start from."""
    return Path(config.data.root) / config.data.image_root
