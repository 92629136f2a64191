"""Our step against one in PyTorch, written as the paper describes it (`benchmarks.pytorch`).

Same sizes, dropout and AdamW; PyTorch makes four fusion passes, ours shares what they share. The
two alternate in one process, and the ratio of their medians is printed with both times: on a CPU
of few cores, stop everything else. Needs PyTorch too: `pip install -e '.[pytorch]'`, or its wheel
for CPUs.

Example:
    python -m benchmarks.against_pytorch --preset=small --batch=8
"""

import argparse
import json
import statistics
import time
from dataclasses import replace

import jax

from albef_jax.models.config import PRESETS, preset
from albef_jax.system.huge_pages import restart_with_huge_pages
from albef_jax.system.optional import needed
from benchmarks import train_step


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", default="small", choices=sorted(PRESETS))
    parser.add_argument("--image_size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8, help="pairs")
    parser.add_argument("--length", type=int, default=25, help="tokens of a caption")
    parser.add_argument("--queue", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=7, help="timed steps of each")
    parser.add_argument(
        "--changes", nargs="*", default=[], help="of our model's configuration, such as unroll=12"
    )
    return parser.parse_args()


def main() -> None:
    """Run both in turn and print one JSON line."""
    given = arguments()
    torch = needed("torch", "the comparison", "pytorch", raises=SystemExit)
    from benchmarks.pytorch import step as pytorch

    config = replace(
        preset(given.preset, image_size=given.image_size), dropout=0.1, attention_dropout=0.1
    )
    settings = argparse.Namespace(**vars(given), group=given.batch, microbatches=1)
    ours_batch = train_step.random_batch(config, settings)
    changes = ["dropout=0.1", "attention_dropout=0.1", *given.changes]
    ours = train_step.prepare(",".join(["fused", *changes]), settings, ours_batch)
    theirs = pytorch.start(config, given.queue, rate=1e-4, decay=0.02)
    batch = pytorch.random_batch(config, given.batch, given.length)
    seconds = []
    for _ in range(given.rounds + 1):
        ours.run(ours_batch)
        began = time.perf_counter()
        float(theirs.step(batch))
        seconds.append(time.perf_counter() - began)
    medians = [statistics.median(times[1:]) for times in (ours.seconds, seconds)]
    line = {
        "benchmark": "against_pytorch",
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "jax": jax.__version__,
        "pytorch": torch.__version__,
        **vars(given),
        "ours_step_s": round(medians[0], 4),
        "pytorch_step_s": round(medians[1], 4),
        "speedup": round(medians[1] / medians[0], 3),
        "rounds_s": [
            [round(one, 3) for one in pair] for pair in zip(ours.seconds, seconds, strict=True)
        ],
    }
    print(json.dumps(line))


if __name__ == "__main__":
    restart_with_huge_pages("benchmarks.against_pytorch")
    main()
