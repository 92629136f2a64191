"""Exports the image and the text encoder of a checkpoint as StableHLO files.

Example:
    python -m tools.export_encoders runs/demo exported
"""

import argparse
import sys
from pathlib import Path

import albef_jax
from albef_jax.system.terminal import print_anything


def main() -> None:
    """Load, export, and print the files."""
    print_anything()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoint", type=Path, help="workdir, Orbax directory or official file")
    parser.add_argument("folder", type=Path, help="where the two files go")
    given = parser.parse_args()
    from albef_jax.errors import CheckpointError
    from albef_jax.inference.export import check_targets, export_encoders
    from albef_jax.inference.model import CannotServe

    try:
        check_targets(given.folder)
        written = export_encoders(albef_jax.load(given.checkpoint), given.folder)
    except (CannotServe, CheckpointError, OSError, ValueError) as error:
        sys.exit(f"error: {error}")
    for path in written:
        print(f"{path}  {path.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main()
