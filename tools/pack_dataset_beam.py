"""Packs pairs as `tools.pack_dataset` does, on many machines, with Apache Beam.

Each machine opens the source itself and packs whole shards, so annotation files, pictures and --out
must lie on a file system that all of them mount. Without flags for Beam this machine packs alone.
It needs the extra 'beam'.

Example:
    python -m tools.pack_dataset_beam --config configs/pretrain.py:14m --out=/mnt/packed/14m \
        --beam=--runner=FlinkRunner --beam=--flink_master=HOST:PORT
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from ml_collections import ConfigDict

from albef_jax.data.packing.from_config import open_pairs
from albef_jax.data.packing.pack import complete, left_to_do, opened
from albef_jax.data.packing.plan import PackingError, Plan
from albef_jax.data.packing.shard import pack_shard
from albef_jax.data.records import PairSource
from albef_jax.data.text import Tokenizer
from tools.pack_dataset import arguments, chosen_part, planned, told
from tools.run_config import start

HERE = ("--runner=BundleBasedDirectRunner",)


class PackShard(beam.DoFn):
    """Packs the shards whose numbers it is given; opens the source once."""

    def __init__(self, open_source: Callable[[], PairSource], plan: Plan, out: Path):
        self._open, self._plan, self._out = open_source, plan, out

    def setup(self) -> None:
        """On the machine that packs."""
        self._source = self._open()
        self._tokenizer = Tokenizer(self._plan.vocab, 2)

    def process(self, number: int):
        """Yields how many records the shard has."""
        facts = pack_shard(self._source, self._plan, number, self._out, self._tokenizer)
        yield facts["records"]


def pack_with_beam(
    open_source: Callable[[], PairSource], plan: Plan, out: Path, arguments: list[str]
) -> dict[str, Any]:
    """Pack what is not packed yet; the manifest.

    Args:
        open_source: what each machine calls; it must pickle.
        out: a path that each machine can write.
        arguments: flags for Beam.
    """
    with opened(out, plan) as manifest:
        if manifest is not None:
            return manifest
        with beam.Pipeline(options=PipelineOptions(arguments)) as pipeline:
            _ = (
                pipeline
                | beam.Create(left_to_do(out, plan))
                | beam.Reshuffle()
                | beam.ParDo(PackShard(open_source, plan, out))
            )
        return complete(out, plan)


def run(given: argparse.Namespace, config: ConfigDict) -> int:
    """Pack, and say what came of it."""
    out = given.out.absolute()  # a worker may start elsewhere
    _, plan = planned(given, config)
    opening = partial(open_pairs, config, chosen_part(given))
    manifest = pack_with_beam(opening, plan, out, given.beam or list(HERE))
    return told(manifest, out, config.data.max_bad_share)


def main() -> int:
    """From the command line."""
    options = arguments("pack_dataset_beam", __doc__)
    what = "a flag for Beam, as --beam=--runner=FlinkRunner; may be given several times"
    options.add_argument("--beam", action="append", help=what)
    return start(run, options, PackingError)


if __name__ == "__main__":
    sys.exit(main())
