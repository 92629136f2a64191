"""Settles the options of a run that are `auto`, alike on all processes."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jax.sharding import AbstractMesh, Mesh
from ml_collections import ConfigDict

from albef_jax.config import auto
from albef_jax.config.tasks import task_spec
from albef_jax.distributed.accelerators import Accelerator
from albef_jax.distributed.device_found import device_found
from albef_jax.distributed.sync import (
    broadcast_from_main,
    is_main_process,
    print_on_main,
    raise_on_all_processes,
)
from albef_jax.tasks.shared.sketch import estimator
from albef_jax.train.auto_settings import Choice, choose, parts_of
from albef_jax.train.memory import Memory
from albef_jax.workdir.config_file import kept_values


def settled(config: ConfigDict, mesh: Mesh, begun: Path) -> ConfigDict:
    """The configuration with a plain value for every option; prints each choice.

    A run that goes on keeps what it began with. All processes must call it.

    Args:
        begun: a directory whose `config.json` is that of the run, if it has begun.

    Raises:
        ConfigError: the settings cannot be estimated, or `config.json` cannot be read.
    """
    if not auto.asked(config):
        return config
    device = device_found(mesh)
    chosen: list[Choice] = []
    with raise_on_all_processes(ValueError):
        if is_main_process():
            kept = kept_values(begun, auto.asked(config))
            chosen = _kept(kept, device) if kept else choices(config, device, mesh)
    chosen = [Choice(**one) for one in broadcast_from_main([asdict(one) for one in chosen])]
    print_on_main(*map(str, chosen))
    config = config.copy_and_resolve_references()
    auto.change(config, {one.option: one.value for one in chosen})
    return config


def choices(
    config: ConfigDict,
    device: Accelerator,
    mesh: Mesh | AbstractMesh,
    estimate: Callable[[dict[str, Any]], Memory] | None = None,
) -> list[Choice]:
    """What to choose for such devices in this mesh.

    Args:
        estimate: of the memory; an `estimator` if there is none yet.
    """
    train = config.train
    if not task_spec(config.task).trains:
        return choose(config, device)
    parts = parts_of(train.batch_size, train.get("contrast_group", 1), mesh.size)
    return choose(config, device, parts, estimate or estimator(config, mesh))


def _kept(values: dict[str, Any], device: Accelerator) -> list[Choice]:
    reason = f"as this run began (config.json), whatever suits {device.kind}"
    return [Choice(option, value, reason) for option, value in values.items()]
