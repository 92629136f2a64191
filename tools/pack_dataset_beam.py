"""Packs pairs as `tools.pack_dataset` does, on many machines, with Apache Beam.

Each machine opens the source itself and packs whole shards, so annotation files and images must be
in a bucket or on a file system that all of them mount, and --out on such a file system. Without
flags for Beam, this machine packs alone.
It needs the extra 'beam'.

Example:
    python -m tools.pack_dataset_beam --config configs/pretrain.py:14m --out=/mnt/packed/14m \
        --beam=--runner=FlinkRunner --beam=--flink_master=HOST:PORT
"""

import argparse
import sys
from functools import partial

from ml_collections import ConfigDict

from albef_jax.data.prepare.from_config import open_pairs
from albef_jax.data.prepare.plan import PackingError
from albef_jax.storage.paths import BucketPath
from albef_jax.system.optional import needed
from tools.pack_dataset import arguments, chosen_part, planned, told
from tools.run_config import start


def run(given: argparse.Namespace, config: ConfigDict) -> int:
    """Pack, and print a summary."""
    what = "packing with Beam, in an environment of its own,"
    needed("apache_beam", what, "beam", "apache-beam", raises=PackingError)
    from albef_jax.data.prepare.with_beam import HERE, pack_with_beam

    if isinstance(given.out, BucketPath):
        raise PackingError(
            f"--out={given.out}: with Beam, shards go to a folder that all machines mount; "
            "tools.pack_dataset packs into a bucket, from one machine"
        )
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
