"""The release form: a folder with weights, configuration, vocabulary and model card to publish.

The weights are the student's, as `.safetensors` under the official names; `load.read_checkpoint`
reads the folder. Absolute paths of the machine that trained are cut to their last part.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from albef_jax.checkpoints.convert import model_card
from albef_jax.checkpoints.convert.digest import digest
from albef_jax.checkpoints.convert.source import Source, configuration, public
from albef_jax.checkpoints.official import inventory, weights_file
from albef_jax.checkpoints.official.inventory import Inventory
from albef_jax.checkpoints.official.weights_file import WEIGHTS, OfficialFile
from albef_jax.data.tokenizer import VOCAB_DIR, vocab_path
from albef_jax.errors import CheckpointError

FILES = (WEIGHTS, "config.json", "vocab.txt", "README.md")
_OFFICIAL_VOCAB = "bert-base-uncased"
_OFFICIAL_VOCAB_SIZE = 30522


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that has one of the files already.

    Raises:
        CheckpointError: it has one, or it is not a folder.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: a release is a folder, and this is a file")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not overwrite:
        raise CheckpointError(
            f"{folder} has {', '.join(there)}; choose another folder, or pass --overwrite"
        )


def write_release(
    folder: Path, source: Source, found: Inventory, *, with_teacher: bool
) -> list[str]:
    """Write the release of `source` to `folder`; files of an older one are replaced.

    Returns:
        One line for each part that was left out.

    Raises:
        CheckpointError: the run's vocabulary cannot be found.
    """
    config = public(configuration(source, found))
    vocab = _vocab(source, config)
    notes = [] if vocab else ["left out: vocab.txt, since nothing says which vocabulary it was"]
    parts = [part for part in ("teacher", "queues") if found.has(part)]
    kept = {"student", "teacher", "queues"} if with_teacher else {"student"}
    notes += [] if with_teacher or not parts else [f"left out: {' and '.join(parts)}"]
    wanted = {name for name, entry in found.entries.items() if entry.part in kept}
    state = {name: array for name, array in source.state.items() if name in wanted}
    config |= {"step": source.step, "digest": digest(found, source.state)}
    parameters = inventory.counts(inventory.shapes(found, source.state))
    with _filled(folder) as part:
        weights_file.write_weights(
            part / WEIGHTS, OfficialFile(state, config, source.step), ".safetensors"
        )
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (part / "config.json").write_text(text, encoding="utf-8")
        if vocab:
            shutil.copyfile(vocab, part / "vocab.txt")
        card = model_card.text(config, parameters, _results(source), with_teacher)
        (part / "README.md").write_text(card, encoding="utf-8")
    return notes


@contextmanager
def _filled(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, whose files move there when the block succeeds."""
    folder = folder.resolve()
    part = folder.with_name(f".{folder.name}.{os.getpid()}.part")
    part.mkdir(parents=True)
    try:
        yield part
        folder.mkdir(exist_ok=True)
        for name in FILES:
            if (part / name).exists():
                (part / name).replace(folder / name)
            else:
                (folder / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(part)


def _vocab(source: Source, config: dict[str, Any]) -> Path | None:
    """The run's vocabulary, and `vocab.txt` in `config` for one that is not built in."""
    data = (source.config or {}).get("data", {})
    if "vocab" not in data:
        size = config["model"].get("vocab_size")
        return vocab_path(_OFFICIAL_VOCAB) if size == _OFFICIAL_VOCAB_SIZE else None
    beside = source.origin / "vocab.txt" if source.form == "release" else None
    if beside and beside.is_file():
        return beside
    try:
        path = vocab_path(data["vocab"])
    except ValueError as error:
        raise CheckpointError(f"data.vocab of {source.origin}: {error}") from error
    if path.parent != VOCAB_DIR:
        config["data"]["vocab"] = "vocab.txt"
    return path


def _results(source: Source) -> dict[str, Any]:
    """The figures of the run that a step belongs to; empty without a `results.json`."""
    file = source.origin.parent.parent / "results.json"
    if source.form != "orbax" or not file.is_file():
        return {}
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file}: not JSON ({error})") from error
    return results if isinstance(results, dict) else {}
