"""The configuration: every option with its default.

`default()` is locked, so a misspelt key is an error wherever it is written: in a file under
`configs/`, or on the command line. Defaults are the official values (LEDGER) where there are any.
"""

from collections.abc import Callable

from ml_collections import ConfigDict, FieldReference, config_dict

from albef_jax.config import auto
from albef_jax.config.tasks import task_spec
from albef_jax.errors import ConfigError
from albef_jax.models.config import PRESETS, ModelConfig, model_options


def default(task: str = "pretrain") -> ConfigDict:
    """All options of a task at their official values, locked."""
    config = ConfigDict(
        {
            "task": task,
            "preset": "",  # name of the recipe, for logs and reports
            "seed": 0,
            "model": model_options(PRESETS["base"]),
            "init": {
                # A workdir, an Orbax directory or an official .pth to start from.
                "checkpoint": "",
                # Modules that the checkpoint may lack, comma-separated; they start anew.
                "allow_missing": "",
                # Encoders to start from instead: a BERT, a ViT or DeiT. A file, a directory, or a
                # name on the Hugging Face hub.
                "text": "",
                "vision": "",
            },
            "data": _data(),
            "train": _train(),
            "optimizer": _optimizer(),
            "mesh": {
                # Devices are a [data, fsdp] mesh; fsdp cuts parameters, teacher and optimizer.
                "fsdp": 1,
                # Groups of devices with a slower network between them, which fsdp stays inside of;
                # 0: those that the devices name.
                "slices": 0,
            },
            "checkpoint": {
                "every_steps": 1000,
                "keep": 2,  # the newest
                "keep_every": 0,  # and those of every so many steps; 0 for none
                # The score by which evaluation while training chooses a step, which is kept, too;
                # empty for the last.
                "best": "",
            },
            "log": {
                "every_steps": 50,
                "writers": "",  # besides metrics.jsonl: tensorboard, wandb; comma-separated
            },
            "guards": {
                "max_skipped": 10,  # steps in a row that are not finite, before the run stops
                "stall_seconds": 600,  # without progress until the run says what it waits for
                "stall_exit": False,  # then end it, so that a scheduler starts it again
            },
            # Ignored in single-process runs.
            "distributed": {
                "join_seconds": 300,  # to wait for the others at the start
                "peer_seconds": 60,  # without a sign of life from one, until all end
            },
            # Of workdirs, checkpoints and data at addresses such as gs://bucket/run.
            "storage": {
                "retry_seconds": 300,  # to repeat what fails for a passing reason
                "lock_seconds": 60,  # without a sign of life, until a run's lock may be taken over
                "upload_seconds": 10,  # between uploads of metrics and other small files
                "cache_dir": "",  # for data; empty: of the user, shared by all processes
                "cache_gb": 50.0,
            },
            "evaluation": {
                # How often on data.val_files while training: "500 steps", "1 epoch"; empty: never.
                "every": "",
                "batch_size": 64,
                "examples": 8,  # shown in the report
            },
        }
    )
    task_spec(task).options(config)
    return config.lock()


def _data() -> dict:
    return {
        "source": "json",  # json | scenes; for pairs webdataset | array_record | tfds, too
        "root": "",  # where relative train_files, eval_files and image_root start from
        "train_files": "",  # comma-separated; *, {a,b} and {00..99} stand for several files
        "eval_files": "",  # empty: evaluate on the training set, and say so
        # Further sets with figures of their own: "dev=ve_dev.json; other=a.json,b.json".
        "also_eval_files": "",
        "val_files": "",  # for evaluation while training; see evaluation.every
        "image_root": "",
        "vocab": "bert-base-uncased",  # or scenes, or a path to a vocab.txt
        "text_len": 25,  # tokens, [CLS] included
        "max_words": 30,
        # Widths to pad the texts of a batch to, ascending to text_len: "8,16,25"; empty: text_len.
        "text_buckets": "",
        "bucket_order": "grouped",  # of samples: grouped by bucket | published
        # Turn images upright as their EXIF data say; official: as they lie in the file.
        "exif_orientation": False,
        "augment": "official",  # official | none
        "crop_scale": (0.2, 1.0),
        "randaugment_ops": 2,
        "randaugment_level": 7,
        "threads": 8,
        "workers": 0,  # processes that read, with `threads` each; 0: this one
        "max_bad_share": 0.01,
        "if_changed": "refuse",  # what to do where a run goes on with other data: refuse | accept
        # The built-in world; `train_size` items are an epoch.
        "scenes": {
            "train_size": 100_000,
            "objects": 6,  # at most, in a scene
            "eval_split": "val",  # val | test; evaluation while training takes the other
        },
    }


def _train() -> dict:
    return {
        "batch_size": 512,
        "epochs": 30,
        "steps": config_dict.placeholder(int),  # overrides epochs
        # Parts of a batch, one after the other, to save memory; a number or auto.
        "microbatches": FieldReference(1, field_type=object),
        # Modules that are not trained: image_encoder,text_encoder:4 (its first four layers).
        "frozen": "",
        "xla_flags": "fast",  # fast | none, beside those of the environment
    }


def _optimizer() -> dict:
    return {
        "schedule": "official",  # official | cosine
        "lr": 1e-4,
        "min_lr": 1e-5,
        "weight_decay": 0.02,
        # Factors for the rates of single modules: temperature=0.1,image_encoder=0.5.
        "lr_scale": "",
        # official: stairs of 100 steps from warmup_lr up, warmup_periods of them
        "warmup_lr": 1e-5,
        "warmup_periods": 20,
        # cosine: linear from 0
        "warmup_steps": 1000,
    }


def recipe(task: str, preset: str, recipes: dict[str, Callable[[ConfigDict], None]]) -> ConfigDict:
    """The defaults of a task, changed by one of its recipes.

    Raises:
        ValueError: no recipe of that name.
    """
    if preset not in recipes:
        raise ValueError(f"configs/{task}.py has no preset {preset!r}; it has {sorted(recipes)}")
    config = default(task)
    config.preset = preset
    recipes[preset](config)
    return config


def use_small_world(config: ConfigDict) -> None:
    """A tiny model on the built-in world: what the demos have in common.

    Patches of 8 pixels at 64: an object covers several, so that attention can compare its parts.
    """
    sizes = {"image_size": 64, "patch_size": 8, "image_depth": 2, "vocab_size": 480}
    # What makes it learn in minutes: docs/results.md, "What makes the small model learn".
    soon = {"image_stem": "convolutions", "image_positions": "sincos", "image_attention_gain": 3.0}
    use_preset(config, "tiny", **sizes, **soon)
    config.data.update(
        {"source": "scenes", "vocab": "scenes", "augment": "none", "text_len": 25, "threads": 2}
    )
    config.data.scenes.train_size = 64_000
    config.train.batch_size = 64
    config.optimizer.update({"schedule": "cosine", "lr": 1e-3, "warmup_steps": 50})
    config.checkpoint.every_steps = 200
    config.log.every_steps = 20


def use_preset(config: ConfigDict, name: str, **overrides) -> None:
    """Set `config.model` to a preset of `models.sizes`, with overrides."""
    config.model.update({**model_options(PRESETS[name]), **overrides})


def model_config(config: ConfigDict) -> ModelConfig:
    """The model's sizes as the model code takes them.

    Raises:
        ConfigError: an option is still `auto`.
    """
    if left := [option for option in auto.asked(config) if option.startswith("model.")]:
        raise ConfigError(
            f"{', '.join(left)}: still auto; albef_jax.tasks.shared.settle chooses for a device"
        )
    return ModelConfig(**config.model.to_dict())
