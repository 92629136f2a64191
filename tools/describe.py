"""Describes a checkpoint: task, sizes, step, parts, parameters, and a digest of its weights.

The digest is that of the student, and equal for the same weights in any form.

Examples:
    python -m tools.describe runs/demo
    python -m tools.describe ALBEF.pth --json
"""

import argparse
import json
import sys

import jax

from albef_jax.checkpoints.convert.description import describe, format_description
from albef_jax.errors import CheckpointError
from albef_jax.system.terminal import print_anything


def main() -> int:
    """Print the facts; 1 if no checkpoint can be read."""
    print_anything()
    parser = argparse.ArgumentParser(
        prog="python -m tools.describe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "path", help="a file, a workdir, one of its steps, or a release; may be in a bucket"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")  # an accelerator may be busy with a run
    try:
        facts = describe(options.path)
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(json.dumps(facts, indent=2) if options.json else format_description(facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
