"""Plans a run before anybody rents devices: what fits, how fast, how long, what it needs besides.

Runs anywhere within a minute: shapes are traced, and speeds follow from what was measured and
compiled before (benchmarks/results). Each figure says which of these it is. Devices: h100, h200,
a100, a100-40, v5e, v5p, v6e; of TPUs, --count is the number of chips. Settings are those that
`auto` picks for the device.

Examples:
    python -m tools.plan --config configs/pretrain.py:4m --device=h100 --count=8
    python -m tools.plan --config configs/pretrain.py:local --device=a100-40 --pairs=200_000
    python -m tools.plan --config configs/vqa.py:vqa --device=v5e --count=8 --json
"""

import argparse
import json
import sys
from pathlib import Path

from ml_collections import ConfigDict

from albef_jax.validate import validate
from tools.run_config import start

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"


def run(given: argparse.Namespace, config: ConfigDict) -> int:
    """Print the plan."""
    import jax

    from albef_jax.plan import as_json, in_words, plan

    jax.config.update("jax_platforms", "cpu")  # only shapes are traced
    made = plan(
        config,
        given.device,
        given.count,
        RESULTS,
        pairs=given.pairs,
        as_configured=given.as_configured,
    )
    print(json.dumps(as_json(made), indent=2) if given.json else "\n".join(in_words(made)))
    return 0


def without_data(config: ConfigDict) -> None:
    """Check all but the files, which need not be there."""
    from albef_jax.tasks.shared.sketch import without_files

    validate(without_files(config), started=True)


def main() -> int:
    """Plan; 2 with one line for each mistake."""
    options = argparse.ArgumentParser(
        prog="python -m tools.plan",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        epilog="--config FILE[:PRESET] and --config.OPTION=VALUE are those of albef_jax.main.",
    )
    options.add_argument("--device", required=True, help="a kind of device, such as h100")
    options.add_argument("--count", type=int, default=1, help="how many; 1")
    options.add_argument("--pairs", type=int, help="items of an epoch, where lists are not at hand")
    options.add_argument(
        "--as_configured", action="store_true", help="the recipe's own settings instead of auto's"
    )
    options.add_argument("--json", action="store_true", help="print JSON, for programs")
    return start(run, options, check=without_data)


if __name__ == "__main__":
    sys.exit(main())
