"""Facts of a checkpoint, as data and as text."""

from pathlib import Path
from typing import Any

from albef_jax.checkpoints.convert.digest import digest
from albef_jax.checkpoints.convert.source import configuration, read_source
from albef_jax.checkpoints.official import inventory
from albef_jax.checkpoints.official.inventory import Part

_RECIPE = ("preset", "seed", "converted_from")
_DATA = ("source", "train_files", "text_len", "vocab")
_TRAIN = ("batch_size", "epochs", "steps")
_PARTS: tuple[Part, ...] = ("student", "teacher", "queues")


def describe(path: str | Path) -> dict[str, Any]:
    """Task, sizes, step, recipe, parts, parameters and digest of the checkpoint at `path`.

    Raises:
        CheckpointError: there is none, it is damaged, or it is not an ALBEF model.
    """
    source = read_source(path)
    found = source.inventory()
    parts = [part for part in _PARTS if found.has(part)]
    modules = {}
    for part in parts[: 2 if "teacher" in parts else 1]:
        modules[part] = inventory.counts(inventory.shapes(found, source.state, part))
    queue = source.state.get("image_queue")
    return {
        "origin": source.origin.name,
        "form": source.form,
        "task": source.task,
        "step": source.step,
        "parts": parts,
        "queue_size": None if queue is None else queue.shape[-1],
        "parameters": {part: sum(counted.values()) for part, counted in modules.items()},
        "modules": modules,
        "sizes": sizes(configuration(source, found)),
        "recipe": recipe(source.config),
        "missing": found.missing,
        "unexpected": found.unexpected,
        "notes": list(source.notes),
        "digest": digest(found, source.state),
    }


def recipe(config: dict[str, Any] | None) -> dict[str, Any]:
    """The part of a run's configuration that describes the origin of weights; may be empty."""
    config = config or {}
    facts = {name: config[name] for name in _RECIPE if name in config}
    for section, wanted in (("data", _DATA), ("train", _TRAIN)):
        options = config.get(section, {})
        facts |= {f"{section}.{name}": options[name] for name in wanted if name in options}
    return {name: value for name, value in facts.items() if value not in (None, "")}


def format_description(facts: dict[str, Any]) -> str:
    """The facts of `describe` as text."""
    step = "" if facts["step"] is None else f", step {facts['step']}"
    lines = [
        f"{facts['origin']}: {facts['form']}, task {facts['task']}{step}",
        f"parts       {', '.join(facts['parts'])}",
    ]
    if facts["queue_size"]:
        lines.append(f"queue       {facts['queue_size']} features")
    for part, modules in facts["modules"].items():
        lines.append(f"{part:<12}{facts['parameters'][part]:,} parameters")
        lines += [f"  {name:<18}{count:>14,}" for name, count in modules.items()]
    for title in ("sizes", "recipe"):
        if facts[title]:
            values = ", ".join(f"{name} {value}" for name, value in facts[title].items())
            lines.append(f"{title:<12}{values}")
    lines += [f"missing     {name}" for name in facts["missing"]]
    lines += [f"unexpected  {name}" for name in facts["unexpected"]]
    lines += [f"note        {note}" for note in facts["notes"]]
    return "\n".join([*lines, f"digest      {facts['digest']}"])


def sizes(config: dict[str, Any]) -> dict[str, int | str]:
    """The sizes in the model's configuration, and its stem where it is not the published one."""
    model = config["model"]
    stem = {"image_stem": model["image_stem"]} if model.get("image_stem") == "convolutions" else {}
    numbers = {name: value for name, value in model.items() if type(value) is int}
    return stem | {name: value for name, value in numbers.items() if name != "unroll"}
