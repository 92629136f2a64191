"""Evaluation: on which sets in the end, and while training how often, on what, by which score."""

import copy
import difflib
import re
from collections.abc import Iterator

from ml_collections import ConfigDict

from albef_jax.config.data_paths import annotation_files, data_files
from albef_jax.config.file_patterns import nearest_file, split_list
from albef_jax.config.tasks import task_spec

_NAME = re.compile(r"[\w+-][\w.+-]*")  # of a set: also the name of a folder
_EVERY = re.compile(r"\s*([1-9]\d*)\s*(step|epoch)s?\s*")


def every(config: ConfigDict, steps_per_epoch: int) -> int:
    """Steps between two evaluations; 0 for none. The option has no problems."""
    found = _EVERY.fullmatch(config.evaluation.every)
    if found is None:
        return 0
    return int(found[1]) * (steps_per_epoch if found[2] == "epoch" else 1)


def further_sets(config: ConfigDict) -> dict[str, ConfigDict]:
    """The configurations of the evaluations on `data.also_eval_files`, by name, in order."""
    found = {}
    for name, files in _named(config.data.also_eval_files):
        changed = copy.deepcopy(config)
        changed.data.eval_files, changed.data.also_eval_files = files, ""
        changed.evaluation.examples = 0  # the report shows those of data.eval_files
        found[name] = changed
    return found


def _named(option: str) -> list[tuple[str, str]]:
    """`dev=a.json; test=b.json,c.json` as pairs of a name and files."""
    pairs = (entry.partition("=")[::2] for entry in option.split(";") if entry.strip())
    return [(name.strip(), files.strip()) for name, files in pairs]


def of_validation(config: ConfigDict) -> ConfigDict:
    """The configuration of the evaluations while training, on held-out data of their own."""
    changed = copy.deepcopy(config)
    changed.data.eval_files, changed.data.also_eval_files = config.data.val_files, ""
    # The built-in world has two splits that are not trained on.
    changed.data.scenes.eval_split = "test" if config.data.scenes.eval_split == "val" else "val"
    changed.evaluation.examples = 0  # they are for the report
    return changed


def described(config: ConfigDict) -> str:
    """What the steps are judged on."""
    if _of_scenes(config):
        return f"other unseen scenes (split {of_validation(config).data.scenes.eval_split})"
    return f"data.val_files={config.data.val_files}"


def remark(config: ConfigDict) -> str:
    """What is to be said of the final figures: which of their files chose the step, too."""
    if not (config.evaluation.every and config.checkpoint.best) or _of_scenes(config):
        return ""
    val, final = (
        {path.resolve() for path in annotation_files(config, name)}
        for name in ("val_files", "eval_files")
    )
    shared = sorted(path.name for path in val & final)
    return f"; {', '.join(shared)} chose the step, too" if shared else ""


def problems(config: ConfigDict) -> Iterator[str]:
    """What is wrong with the options, a line each."""
    asked, best, scores = (
        config.evaluation.every,
        config.checkpoint.best,
        task_spec(config.task).scores,
    )
    if asked and not _EVERY.fullmatch(asked):
        yield f"evaluation.every={asked!r}: say it as '500 steps' or '1 epoch', or leave it empty"
    if best and best not in scores:
        choices = f"choose one of {', '.join(scores)}, or" if scores else f"{config.task} has none;"
        near = difflib.get_close_matches(best, scores, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        yield f"checkpoint.best={best!r}: {choices} leave it empty{hint}"


def set_problems(config: ConfigDict) -> Iterator[str]:
    """What is wrong with `data.also_eval_files`, a line each."""
    option, seen = config.data.also_eval_files, set()
    if option and _of_scenes(config):
        yield f"data.also_eval_files={option!r}: the built-in world has no files; leave it empty"
        return
    for name, files in _named(option):
        if not (_NAME.fullmatch(name) and files):
            yield (
                f"data.also_eval_files={option!r}: write NAME=FILES, with semicolons in between, "
                "as in 'dev=ve_dev.json; other=a.json,b.json'"
            )
            return
        if name in seen:
            yield f"data.also_eval_files={option!r}: two sets are called {name}"
        seen.add(name)
        yield from _missing(config, files, "data.also_eval_files")


def file_problems(config: ConfigDict) -> Iterator[str]:
    """What is wrong with the files that the steps are judged on, a line each."""
    asked = config.evaluation.every
    if not asked or _of_scenes(config):
        return
    if not split_list(config.data.val_files):
        yield (
            f"evaluation.every={asked!r} needs data.val_files: files to choose a step by. The "
            "figures in the end are of data.eval_files"
        )
    yield from _missing(config, config.data.val_files, "data.val_files")


def _missing(config: ConfigDict, files: str, option: str) -> Iterator[str]:
    if (config.data.get("eval_source") or config.data.source) == "tfds":
        return  # names, not files
    for path in data_files(config, files):
        if not path.is_file():
            yield f"{option}: no such file: {path}{nearest_file(path)}"


def _of_scenes(config: ConfigDict) -> bool:
    return (config.data.get("eval_source") or config.data.source) == "scenes"
