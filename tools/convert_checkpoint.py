"""Converts a checkpoint: official .pth, .safetensors, Orbax directory of a run, or release folder.

Examples:
    python -m tools.convert_checkpoint ALBEF.pth converted/albef
    python -m tools.convert_checkpoint runs/demo demo.pth
    python -m tools.convert_checkpoint refcoco.pth refcoco.safetensors --task=grounding
    python -m tools.convert_checkpoint runs/demo out/model.safetensors
    python -m tools.convert_checkpoint gs://bucket/runs/4m s3://bucket/4m.safetensors
"""

import argparse
import sys
from pathlib import Path

import jax

from albef_jax.checkpoints.convert.conversion import format_report
from albef_jax.checkpoints.convert.to_bucket import convert_anywhere
from albef_jax.checkpoints.official.name_table import TABLES
from albef_jax.errors import CheckpointError
from albef_jax.storage.addresses import in_bucket
from albef_jax.system.output_paths import CannotWrite, check_folder
from albef_jax.system.terminal import print_anything


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_checkpoint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = "a .pth or .safetensors file, a workdir, its checkpoints or one step, or a release"
    parser.add_argument("src", help=what)
    what = "NAME.pth, NAME.safetensors or a new directory; FOLDER/model.safetensors: a release"
    parser.add_argument("dst", help=f"{what}; either may be in a bucket")
    parser.add_argument(
        "--task", choices=TABLES, help="needed if names fit two tasks (retrieval, grounding)"
    )
    parser.add_argument(
        "--allow",
        default="",
        metavar="NAME,...",
        help="names or modules that may be missing or unexpected; they are left out",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace what is there")
    parser.add_argument(
        "--release", action="store_true", help="dst is a folder to give away: weights, card, words"
    )
    parser.add_argument(
        "--with_teacher", action="store_true", help="keep teacher and queues in a release"
    )
    return parser.parse_args()


def main() -> int:
    """Convert, print the report, and return 0 if all names fitted, else 1."""
    print_anything()
    options = _arguments()
    jax.config.update("jax_platforms", "cpu")  # an accelerator may be busy with a run
    allow = tuple(filter(None, (name.strip() for name in options.allow.split(","))))
    try:
        # A file or folder is first written beside its destination, so the parent folder matters.
        if not in_bucket(options.dst):
            check_folder(Path(options.dst).parent, "dst")
        report = convert_anywhere(
            options.src,
            options.dst,
            task=options.task,
            allow=allow,
            overwrite=options.overwrite,
            as_release=options.release,
            with_teacher=options.with_teacher,
        )
    except (CannotWrite, CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(format_report(report))
    if report.ok:
        print(f"written: {options.dst}")
        return 0
    print("error: nothing was written; --allow=NAME,... converts all the same", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
