"""Packs on many machines, with Apache Beam; needs the extra 'beam'."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from albef_jax.data.prepare.packing import complete, left_to_do, opened
from albef_jax.data.prepare.plan import Plan
from albef_jax.data.prepare.shard import pack_shard
from albef_jax.data.records import PairSource
from albef_jax.data.tokenizer import Tokenizer

HERE = ("--runner=BundleBasedDirectRunner",)


class PackShard(beam.DoFn):
    """Packs the shards whose numbers it is given; opens the source once."""

    def __init__(self, open_source: Callable[[], PairSource], plan: Plan, out: Path):
        self._open, self._plan, self._out = open_source, plan, out

    def setup(self) -> None:
        """Open the source on the machine that packs."""
        self._source = self._open()
        self._tokenizer = Tokenizer(self._plan.vocab, 2)

    def process(self, number: int):
        """Pack a shard, and yield its number of records."""
        facts = pack_shard(self._source, self._plan, number, self._out, self._tokenizer)
        yield facts["records"]


def pack_with_beam(
    open_source: Callable[[], PairSource], plan: Plan, out: Path, arguments: list[str]
) -> dict[str, Any]:
    """Pack the missing shards; returns the manifest.

    Args:
        open_source: called on each machine; must be picklable.
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
