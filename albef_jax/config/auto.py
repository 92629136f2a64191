"""Options that may be `auto`: the fastest setting that fits, chosen when a run starts.

They change speed and memory alone. `train.auto_settings` chooses.
"""

from typing import Any

from ml_collections import ConfigDict

AUTO = "auto"
REMATS = ("model.remat_image", "model.remat_text", "model.remat_fusion")
MICROBATCHES = "train.microbatches"
OPTIONS = ("model.dtype", "model.attention", *REMATS, MICROBATCHES)


def use_auto(config: ConfigDict) -> None:
    """Set all of these options to `auto`."""
    change(config, dict.fromkeys(OPTIONS, AUTO))


def values(config: ConfigDict) -> dict[str, Any]:
    """The value of each of these options."""
    return {option: _section(config, option)[_name(option)] for option in OPTIONS}


def asked(config: ConfigDict) -> tuple[str, ...]:
    """Those that are `auto`."""
    return tuple(option for option, value in values(config).items() if value == AUTO)


def change(config: ConfigDict, chosen: dict[str, Any]) -> None:
    """Set options by their dotted names."""
    with config.ignore_type():  # of a copy, "auto" may be all that is known of a number
        for option, value in chosen.items():
            _section(config, option)[_name(option)] = value


def _section(config: ConfigDict, option: str) -> ConfigDict:
    return config[option.partition(".")[0]]


def _name(option: str) -> str:
    return option.partition(".")[2]
