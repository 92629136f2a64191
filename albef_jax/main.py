"""The command line: flags to a checked configuration to a run.

Examples:
    python -m albef_jax.main --config configs/pretrain.py --workdir runs/demo
    python -m albef_jax.main --config configs/pretrain.py:4m --config.data.root=DIR --print_config
    python -m albef_jax.main --config configs/pretrain.py --workdir runs/traced --profile=20:5
    python -m albef_jax.main --config configs/pretrain.py --workdir runs/demo \\
        --coordinator=first:4321 --processes=2 --process=0
"""

from albef_jax.system.huge_pages import restart_with_huge_pages

if __name__ == "__main__":  # before the imports, which would be made twice
    restart_with_huge_pages("albef_jax.main")

import json
import os
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from albef_jax.checkpoints.bucket_steps import BucketSteps
from albef_jax.config import renamed
from albef_jax.config.file_patterns import is_remote, not_here
from albef_jax.config.none_flags import set_none, without_none
from albef_jax.config.recipe_files import resolved
from albef_jax.distributed import launch
from albef_jax.errors import ConfigError
from albef_jax.observability.profile_window import ProfileWindow
from albef_jax.storage.addresses import in_bucket, join
from albef_jax.storage.bucket import BucketFolder
from albef_jax.system.terminal import print_anything
from albef_jax.validate import validate
from albef_jax.workdir.saved_steps import has_steps

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Recipe, with an optional preset: configs/pretrain.py:4m.", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Directory of the run, or an address as gs://BUCKET/RUN; runs/TASK."
)
_EVAL_ONLY = flags.DEFINE_bool(
    "eval_only", False, "Evaluate the best or newest checkpoint, or init.checkpoint; do not train."
)
_EXTEND = flags.DEFINE_bool(
    "extend", False, "Go on with more steps or another schedule than the run in --workdir had."
)
_BRANCH = flags.DEFINE_string(
    "branch", None, "Begin with this step of another run, its whole state: a workdir or DIR/STEP."
)
_REPLAY = flags.DEFINE_string(
    "replay", None, "Run the step kept in this bundle again, and say where it is not finite."
)
_PRINT_CONFIG = flags.DEFINE_bool(
    "print_config", False, "Print the whole checked configuration as JSON, and do nothing else."
)
_PROFILE = flags.DEFINE_string(
    "profile", None, "STEP:N traces N training steps from STEP on into WORKDIR/profile."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator", None, "Of several processes: HOST:PORT of the first, or auto (TPU pods, MPI)."
)
_PROCESSES = flags.DEFINE_integer("processes", None, "How many processes work together.")
_PROCESS = flags.DEFINE_integer("process", None, "The number of this one, from 0.")


def _parse(arguments: list[str]) -> list[str]:
    """Parse flags; a wrong one is one clear line, not a traceback."""
    print_anything()
    try:
        _refuse_old_names(arguments)
        given, emptied = without_none(resolved(arguments))
        rest = flags.FLAGS(given)
        if _CONFIG.value is None:
            raise ConfigError("--config is missing; try --config configs/pretrain.py")
        set_none(_CONFIG.value, emptied)
        workdir = _workdir()
        if is_remote(workdir) and not in_bucket(workdir):
            raise ConfigError(not_here("--workdir", workdir))
        started = bool(_REPLAY.value) or _has_begun(workdir)
        validate(_CONFIG.value, _EVAL_ONLY.value, started=started)
        if (_EXTEND.value or _BRANCH.value) and (_EVAL_ONLY.value or _REPLAY.value):
            raise ConfigError("--extend and --branch train: leave out --eval_only and --replay")
        if _PROFILE.value is not None:
            ProfileWindow.parse(_PROFILE.value)
            if _EVAL_ONLY.value or _REPLAY.value:
                raise ConfigError("--profile traces training: leave out --eval_only and --replay")
        _group()
        return rest
    except flags.Error as error:
        return _fail(error)
    except (AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        return _fail(error)


def _refuse_old_names(arguments: list[str]) -> None:
    """Report renamed options under their new names, before the parser calls them unknown."""
    given = (word.lstrip("-").removeprefix("config.").partition("=")[0] for word in arguments)
    if problems := [text for text in map(renamed.replacement, given) if text]:
        raise ConfigError("\n".join(problems))


def _workdir() -> str:
    return _WORKDIR.value or f"runs/{_CONFIG.value.task}"


def _has_begun(workdir: str) -> bool:
    if not in_bucket(workdir):
        return has_steps(Path(workdir))
    return bool(BucketSteps(BucketFolder(workdir, _CONFIG.value.storage.retry_seconds)).sealed())


def _group() -> launch.Group | None:
    return launch.find(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, os.environ)


def _fail(error: Exception, code: int = 2):
    lines = str(error.args[0] if isinstance(error, KeyError) else error).splitlines()
    if any(line.startswith("Traceback") for line in lines):
        lines = lines[-1:]  # ml_collections wraps an error of a recipe with all its frames
    if isinstance(error, AttributeError | KeyError):
        lines += renamed.hints(lines[-1].partition("Error: ")[2] or lines[-1])
    print("\n".join(f"error: {line}" for line in lines), file=sys.stderr)
    sys.exit(code)


def main(arguments: list[str]) -> None:
    """Run; errors that a user can fix become one line."""
    if len(arguments) > 1:
        _fail(ConfigError(f"unexpected arguments: {' '.join(arguments[1:])}"))
    if _PRINT_CONFIG.value:
        print(json.dumps(json.loads(_CONFIG.value.to_json()), indent=2))  # as in config.json
        return
    # Takes seconds: mistakes come first.
    from albef_jax.distributed.initialize import joined

    logging.set_verbosity(logging.WARNING)  # Orbax logs every file it writes
    options = _CONFIG.value.distributed
    try:
        with joined(_group(), options.join_seconds, options.peer_seconds):
            _run()
    except ConfigError as error:
        _fail(error)


def _run() -> None:
    from albef_jax.distributed.sync import print_on_main
    from albef_jax.errors import Interrupted, RunError, came_from
    from albef_jax.report.rendering import REPORT
    from albef_jax.run import replay_step, run
    from albef_jax.storage.retries import NoAnswer
    from albef_jax.storage.staged import staged
    from albef_jax.train.resilience.watchdog import EXIT_CODE as TRY_AGAIN

    command = " ".join(["python -m albef_jax.main", *sys.argv[1:]])
    config = _CONFIG.value
    try:
        if _REPLAY.value:
            with staged(_REPLAY.value) as bundle:
                bundle.fetch()
                sys.exit(0 if replay_step(config, bundle.here) else 1)
        span = ProfileWindow.parse(_PROFILE.value) if _PROFILE.value else None
        report = run(
            config,
            _workdir(),
            command,
            eval_only=_EVAL_ONLY.value,
            profile=span,
            extend=_EXTEND.value,
            branch_from=_BRANCH.value,
        )
    except RunError as error:
        _fail(error, TRY_AGAIN if came_from(error, NoAnswer) else 2)
    except Interrupted as stopped:
        sys.exit(128 + stopped.signum)
    workdir = _workdir()
    print_on_main(join(workdir, REPORT) if in_bucket(workdir) else report.resolve().as_uri())


if __name__ == "__main__":
    app.run(main, flags_parser=_parse)
