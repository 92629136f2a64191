"""Packs pairs into ArrayRecord shards with a manifest: counts, digests, bad samples, duplicates.

The source is the configuration's training data. The same command continues after an interruption,
from the last complete shard. Exit code: 0; 1 if more than data.max_bad_share is unusable (the
shards are complete nevertheless); 2 if packing could not start or continue.

Examples:
    python -m tools.pack_dataset --config configs/pretrain.py:local --out=packed/mine \
        --config.data.train_files=a.json --config.data.image_root=images
    python -m tools.pack_dataset --config configs/pretrain.py:local --out=packed/mine_256 \
        --config.data.train_files=a.json --config.data.image_root=images --resize=256
"""

import argparse
import os
import sys
from typing import Any

from ml_collections import ConfigDict

from albef_jax.data.build import Part
from albef_jax.data.prepare.from_config import make_plan, open_pairs
from albef_jax.data.prepare.packing import BAD, DUPLICATES, pack
from albef_jax.data.prepare.plan import PackingError, Plan
from albef_jax.data.records import PairSource
from albef_jax.storage.paths import AnyPath, path_of
from albef_jax.storage.staged import check_out
from tools.run_config import parser, start


def arguments(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options of packing."""
    made = parser(name, description)
    add = made.add_argument
    add("--out", type=path_of, required=True, help="directory of the shards, or gs:// or s3://")
    add("--name", default=Plan.name, help="what file names start with")
    add("--shard_size", type=int, default=Plan.shard_size, help="items a shard; 10000 by default")
    what = "bring longer short sides to so many pixels; 0, the default, keeps the files' bytes"
    add("--resize", type=int, default=Plan.resize, metavar="N", help=what)
    add("--quality", type=int, default=Plan.quality, help="of JPEG files that --resize makes; 95")
    add("--origin", default="", help="where the data are from, for the manifest")
    add("--licence", default="", help="of the data, for the manifest")
    return made


def planned(given: argparse.Namespace, config: ConfigDict) -> tuple[PairSource, Plan]:
    """The opened source and the plan to pack it by."""
    check_out(given.out, "--out")
    part = chosen_part(given)
    source = open_pairs(config, part)
    names = ("name", "shard_size", "resize", "quality", "origin", "licence")
    options = {name: getattr(given, name) for name in names}
    return source, make_plan(config, part, source, **options)


def chosen_part(given: argparse.Namespace) -> Part:
    """Which pairs of the configuration to pack."""
    return "eval" if given.eval else "train"


def summary(manifest: dict[str, Any], out: AnyPath) -> str:
    """A few lines on what was packed."""
    shards = len(manifest["shards"])
    lines = [
        f"{out}: {manifest['records']} of {manifest['items']} items in {shards} shards, "
        f"{manifest['bytes'] / 2**30:.2f} GiB, {manifest['captions']} captions"
    ]
    if manifest["bad"]:
        lines.append(f"{manifest['bad']} cannot be used; all are listed in {out / BAD}:")
        lines += [
            f"  {count} x {reason}" for reason, count in list(manifest["bad_reasons"].items())[:5]
        ]
    if groups := manifest["images_under_several_names"]:
        lines.append(f"{groups} images have several names; see {out / DUPLICATES}")
    if manifest["same_item_again"]:
        lines.append(
            f"{manifest['same_item_again']} records repeat an image of the same name: merging the "
            "captions of an image into one item saves that space"
        )
    return "\n".join(lines)


def told(manifest: dict[str, Any], out: AnyPath, max_bad_share: float) -> int:
    """Print the summary; the exit code."""
    print(summary(manifest, out))
    if manifest["bad"] <= max_bad_share * manifest["items"]:
        return 0
    print(
        f"error: that is more than data.max_bad_share={max_bad_share:g} allows; repair the source "
        "and pack it into another directory, or use the shards as they are",
        file=sys.stderr,
    )
    return 1


def run(given: argparse.Namespace, config: ConfigDict) -> int:
    """Pack, and print a summary."""
    source, plan = planned(given, config)
    for note in getattr(source, "notes", ()):
        print(f"note: {note}", file=sys.stderr)
    manifest = pack(source, plan, given.out, max(1, given.threads), bar=sys.stderr.isatty())
    return told(manifest, given.out, config.data.max_bad_share)


def main() -> int:
    """From the command line."""
    options = arguments("pack_dataset", __doc__)
    what = "each packs one shard at a time; one a core by default"
    options.add_argument("--threads", type=int, default=os.cpu_count() or 1, help=what)
    return start(run, options, PackingError)


if __name__ == "__main__":
    sys.exit(main())
