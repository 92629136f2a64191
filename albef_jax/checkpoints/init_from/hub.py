"""Finds a public encoder's checkpoint: at a path, or by name on the Hugging Face hub."""

import re
from pathlib import Path

from albef_jax.errors import CheckpointError

# Weights in order of preference, and the files beside them.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
BESIDE = ("config.json", "vocab.txt")

_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?")
_FILE_ENDINGS = (".safetensors", ".bin", ".pth", ".pt")


def is_hub_name(name: str) -> bool:
    """Whether `name` may be a hub name, such as `bert-base-uncased` or `google/vit-base`."""
    return _NAME.fullmatch(name) is not None and not name.endswith(_FILE_ENDINGS)


def local_path(name: str, option: str) -> Path:
    """The file or directory `name`; a model of the hub is downloaded to the hub's cache.

    Args:
        option: the option with `name`, for errors.

    Raises:
        CheckpointError: there is no such path, and nothing could be downloaded.
    """
    if Path(name).exists():
        return Path(name)
    if not is_hub_name(name):
        raise CheckpointError(f"{option}={name}: no such file or directory")
    try:
        return _download(name)
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{option}={name}: no such file or directory here, and no download from the Hugging "
            f"Face hub ({reason}); download {', '.join(BESIDE)} and {' or '.join(WEIGHTS)} of "
            f"the model elsewhere, and set {option} to the directory"
        ) from error


def _download(name: str) -> Path:
    """The directory with the first of `WEIGHTS` that the model has; also works from the cache."""
    import huggingface_hub  # only here: everything else works without

    for weights in WEIGHTS:
        found = huggingface_hub.snapshot_download(name, allow_patterns=[weights, *BESIDE])
        if (Path(found) / weights).is_file():
            return Path(found)
    raise FileNotFoundError(f"the model has neither {' nor '.join(WEIGHTS)}")
