"""The README.md of a release: the model, its origin, figures and limits."""

from typing import Any

from albef_jax.checkpoints.convert.description import recipe, sizes
from albef_jax.workdir.config_file import flatten

_LISTS = 12  # entries of a list of figures that are shown
_HEAD = ("task", "preset", "step", "evaluated_on")

_TEMPLATE = """\
---
library_name: albef_jax
tags:
- albef
- {task}
---

# ALBEF, {task}

A model of {parameters:,} parameters after "Align before Fuse" (arXiv 2107.07651), trained with
albef_jax for the task `{task}`{at_step}. {teacher}

| file | what |
| --- | --- |
| `model.safetensors` | the weights, under the names of the official PyTorch code |
| `config.json` | task, sizes and the run's configuration |
| `vocab.txt` | the WordPiece vocabulary, where it is known |

Digest of the weights: `{digest}`.

## Use

```sh
python -m tools.describe FOLDER
python -m albef_jax.main --config configs/{task}.py{preset} --workdir runs/more \\
    --config.init.checkpoint=FOLDER
```

## Sizes

{sizes}

Parameters by module:

{modules}

## Data and recipe

{recipe}

## Figures

{figures}

## Limits

- The model reflects its training data, including errors and biases.
- Figures hold for the data they were measured on.
- It is meant for research. Check it on your own data before you rely on it.
"""


def text(
    config: dict[str, Any],
    parameters: dict[str, int],
    results: dict[str, Any],
    with_teacher: bool,
) -> str:
    """The card.

    Args:
        config: of the release, with task, sizes, step and digest.
        parameters: by module.
        results: the run's `results.json`; may be empty.
    """
    step = config["step"]
    teacher = "Teacher and queues are included." if with_teacher else "It is the student alone."
    facts = recipe(config)
    preset = f":{config['preset']}" if config.get("preset") else ""
    return _TEMPLATE.format(
        task=config["task"],
        preset=preset,
        parameters=sum(parameters.values()),
        at_step="" if step is None else f", {step} steps",
        teacher=teacher,
        digest=config["digest"],
        sizes=_table("size", sizes(config)),
        modules=_table("module", {name: f"{n:,}" for name, n in parameters.items()}),
        recipe=_table("option", facts)
        if facts
        else "Not known: the checkpoint had no configuration.",
        figures=_figures(config, results, preset),
    )


def _figures(config: dict[str, Any], results: dict[str, Any], preset: str) -> str:
    """The numbers of `results.json`, and the commands that train the model and measure them."""
    if not results:
        return "None were measured where this folder was made."
    figures = {
        name: f"{value:.2f}" if isinstance(value, float) else value
        for name, value in flatten(results).items()
        if name not in (*_HEAD, "validation.steps")
        and not (isinstance(value, list) and len(value) > _LISTS)
    }
    command = f"python -m albef_jax.main --config configs/{config['task']}.py{preset}"
    lines = [f"Measured on {results.get('evaluated_on', 'data that results.json does not name')}"]
    if results.get("step") is not None:
        lines[0] += f", at step {results['step']}"
        if results["step"] != config["step"]:
            lines[0] += f", while the weights are those of step {config['step']}"
    lines[0] += "."
    shell = [f"{command} --workdir RUN", f"{command} --workdir RUN --eval_only"]
    commands = "\n".join(["```sh", *shell, "```"])
    more = "The first trains and the second measures again; `config.json` has every option."
    return "\n\n".join([*lines, _table("figure", figures), commands, more])


def _table(what: str, values: dict[str, Any]) -> str:
    rows = [f"| {name} | {value} |" for name, value in values.items()]
    return "\n".join([f"| {what} | |", "| --- | --- |", *rows])
