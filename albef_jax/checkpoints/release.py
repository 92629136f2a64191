"""The release form: a folder with weights, configuration, vocabulary and model card, to give away.

The weights are the student's, as `.safetensors` under the published names; `read.read_checkpoint`
reads the folder. Absolute paths of the machine that trained are cut to their last part.
"""

import json
import os
import shutil
from pathlib import Path, PurePath
from typing import Any

from albef_jax.checkpoints import inventory, model_card, published_file
from albef_jax.checkpoints.digest import digest
from albef_jax.checkpoints.inventory import Inventory
from albef_jax.checkpoints.published_file import WEIGHTS, PublishedFile
from albef_jax.checkpoints.source import Source, configuration
from albef_jax.checkpoints.torch_file import CheckpointError
from albef_jax.data.text import VOCAB_DIR, vocab_path

FILES = (WEIGHTS, "config.json", "vocab.txt", "README.md")
_PUBLISHED_VOCAB = "bert-base-uncased"
_PUBLISHED_VOCAB_SIZE = 30522


def check_folder(folder: Path, overwrite: bool) -> None:
    """Refuse a folder that has one of the files already.

    Raises:
        CheckpointError: it has, or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: a release is a folder, and this is a file")
    there = [name for name in FILES if (folder / name).exists()]
    if there and not overwrite:
        raise CheckpointError(
            f"{folder} has {', '.join(there)}; choose another folder, or pass --overwrite"
        )


def write(folder: Path, source: Source, found: Inventory, *, with_teacher: bool) -> list[str]:
    """Write the release of `source` to `folder`; files of an older one are replaced.

    Returns:
        What was left out, a line each.

    Raises:
        CheckpointError: the run's vocabulary is not to be found.
    """
    config = _public(configuration(source, found))
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
        published_file.write(part / WEIGHTS, PublishedFile(state, config, source.step), WEIGHTS)
        text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
        (part / "config.json").write_text(text, encoding="utf-8")
        if vocab:
            shutil.copyfile(vocab, part / "vocab.txt")
        card = model_card.text(config, parameters, _results(source), with_teacher)
        (part / "README.md").write_text(card, encoding="utf-8")
    return notes
