"""A new run that begins with a step of another: all of its state, not the weights alone."""

import json
import shutil
from pathlib import Path

from ml_collections import ConfigDict

from albef_jax.checkpoints.fetched import local_checkpoint
from albef_jax.checkpoints.load import find_step
from albef_jax.config.renamed import modernise
from albef_jax.errors import ConfigError
from albef_jax.storage.addresses import in_bucket
from albef_jax.system import atomic
from albef_jax.workdir import history, trajectory
from albef_jax.workdir.config_file import differences
from albef_jax.workdir.saved_steps import has_steps

_KEPT = ("task", "model.")  # what the state depends on


def branch(source: str | Path, workdir: Path, config: ConfigDict) -> str | None:
    """Give `workdir` a step of another run, with its curves up to there.

    Args:
        source: a workdir, of which the newest step is taken, or one step in its `checkpoints`; of
            one in a bucket, the step that `load.find_step` takes.
        config: of the new run; may differ from the other's in all but the task and the model.

    Returns:
        What was done, for people; None where the new run has begun already, and goes on.

    Raises:
        CheckpointError: no such step, or it is damaged.
        ConfigError: another task or model.
    """
    if has_steps(workdir):
        return None
    local = local_checkpoint(source)
    whole = local / "checkpoints"
    step = find_step((whole if whole.is_dir() else local).resolve())
    old = step.parent.parent
    file = old / "config.json"
    try:
        kept = modernise(json.loads(file.read_bytes()))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--branch={source}: {file} cannot be read ({error})") from None
    wanted = json.loads(config.to_json())
    changed = differences(kept, wanted)
    if fixed := [name for name in changed if name.startswith(_KEPT)]:
        raise ConfigError(
            f"--branch={source}: {', '.join(fixed)} must be as there; to start from its weights "
            "alone, use init.checkpoint"
        )
    number = int(step.name)
    origin = f"{source}, step {number}" if in_bucket(str(source)) else str(step)
    entry = {"branched_from": origin, "step": number, "changed": changed}
    if entry not in history.read(workdir):  # else of a start that was killed below
        history.add(workdir, entry)
    if (old / "metrics.jsonl").is_file():  # later lines are dropped when the run begins
        shutil.copyfile(old / "metrics.jsonl", workdir / "metrics.jsonl")
    if judged := trajectory.read(old, up_to=number):
        trajectory.write(workdir, judged)
    atomic.write_text(workdir / "config.json", json.dumps(wanted, indent=2) + "\n")
    target = workdir / "checkpoints" / step.name
    draft = target.with_name(f"{step.name}.branching")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(step, draft)
    draft.replace(target)  # last: from here on the run has begun
    return f"branched from {origin}"
