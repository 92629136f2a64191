"""Shared by tools that take the configuration of a training run."""

import argparse
import sys
from collections.abc import Callable

from absl import flags
from ml_collections import ConfigDict, config_flags

from albef_jax.config.none_flags import set_none, without_none
from albef_jax.config.recipe_files import resolved
from albef_jax.errors import ConfigError
from albef_jax.system.terminal import print_anything
from albef_jax.validate import validate


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """For a tool's own options; those of the configuration are left to `start`."""
    made = argparse.ArgumentParser(
        prog=f"python -m tools.{name}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="--config FILE[:PRESET] and --config.OPTION=VALUE are those of albef_jax.main.",
    )
    made.add_argument("--eval", action="store_true", help="the evaluation data, not the training's")
    return made


def start(
    tool: Callable[[argparse.Namespace, ConfigDict], int],
    options: argparse.ArgumentParser,
    *mendable: type[Exception],
    check: Callable[[ConfigDict], None] = validate,
) -> int:
    """Parse the command line, check the configuration, and run the tool.

    Args:
        tool: returns the exit code.
        options: of the tool.
        mendable: errors that a user can fix, besides `ValueError` and `OSError`.
        check: of the configuration.

    Returns:
        The exit code; 2 for such errors, which are one line each, without traceback.
    """
    print_anything()
    given, rest = options.parse_known_args()
    try:
        config = _configuration(rest)
        check(config)
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        return _failed(error)
    try:
        return tool(given, config)
    except (ValueError, OSError, *mendable) as error:
        return _failed(error)
    except KeyboardInterrupt:
        return 130


def _configuration(arguments: list[str]) -> ConfigDict:
    values = flags.FlagValues()  # own flags, since tools may be imported side by side
    config = config_flags.DEFINE_config_file(
        "config", None, "Recipe and preset.", lock_config=True, flag_values=values
    )
    given, emptied = without_none(resolved(arguments))
    rest = values([sys.argv[0], *given])
    if config.value is None:
        raise ConfigError("--config is missing; try --config configs/pretrain.py:local")
    if len(rest) > 1:
        raise ConfigError(f"unexpected arguments: {' '.join(rest[1:])}")
    set_none(config.value, emptied)
    return config.value


def _failed(error: Exception) -> int:
    lines = str(error.args[0] if isinstance(error, KeyError) else error).splitlines()
    if any(line.startswith("Traceback") for line in lines):
        lines = lines[-1:]  # ml_collections wraps an error of a recipe with all its frames
    print("\n".join(f"error: {line}" for line in lines), file=sys.stderr)
    return 2
