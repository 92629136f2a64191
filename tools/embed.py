"""Encodes a collection of images or captions: features in shards, with a manifest.

Works on all local devices. The same command continues after a kill, and several processes share
the work, each with its own --part, on one host or many, as long as they see the same folder.
`tools.search build` makes an index of the features.

Examples:
    python -m tools.embed scenes --images=photos --out=features/photos
    python -m tools.embed runs/coco --captions=captions.txt --out=features/captions --dtype=float16
    python -m tools.embed runs/coco --images='shards/{00000..00099}.tar' --out=features/shards
    python -m tools.embed runs/coco --images=photos --out=features/photos --part=2/8
    python -m tools.search build index --model=scenes --images=photos --features=features/photos
"""

import argparse
import sys

from albef_jax.storage.paths import path_of
from albef_jax.storage.staged import check_out
from albef_jax.system.terminal import print_anything


def part_of(text: str) -> tuple[int, int]:
    """`2/8` as (2, 8); numbers start from 0."""
    number, _, count = text.partition("/")
    try:
        part = int(number), int(count)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NUMBER/COUNT, as 0/8") from None
    if not 0 <= part[0] < part[1]:
        raise argparse.ArgumentTypeError(f"{text!r}: numbers are from 0 to {part[1] - 1}")
    return part


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tools.embed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    made.add_argument("model", help="a checkpoint, as for albef_jax.load")
    what = "a folder, an annotation file (JSON), or tar shards: 'shards/{000..099}.tar'"
    made.add_argument("--images", help=what)
    what = "a file of captions, as for tools.search, or tar shards"
    made.add_argument("--captions", help=what)
    what = "of the .json in tar shards, which holds the captions; by default they are in .txt"
    made.add_argument("--caption_field", default="", help=what)
    made.add_argument("--image_root", type=path_of, help="where paths in annotations start from")
    made.add_argument("--out", type=path_of, required=True, help="folder for the shards")
    made.add_argument("--shard_size", type=int, default=4096, help="items of a shard; 4096")
    made.add_argument("--dtype", default="float32", choices=("float32", "float16"))
    made.add_argument("--tokens", action="store_true", help="the encoder's tokens, too (float16)")
    made.add_argument("--part", type=part_of, default=(0, 1), help="of several processes, as 0/8")
    made.add_argument("--batch_size", type=int, default=64, help="items a call of the encoder; 64")
    made.add_argument("--threads", type=int, default=8, help="that read images; 8")
    made.add_argument("--vocab", help="name or path, where the model's own is not known")
    return made


def _embed(given: argparse.Namespace) -> str:
    from albef_jax.apps.embedding.encoding import embed
    from albef_jax.apps.search.items import items_of
    from albef_jax.inference.model import load

    for name in ("shard_size", "batch_size", "threads"):
        if getattr(given, name) < 1:
            raise ValueError(f"--{name}={getattr(given, name)}: must be 1 or more")
    check_out(given.out, "--out")
    items = items_of(given.images, given.captions, given.image_root, given.caption_field)
    if items.note:
        print(items.note, file=sys.stderr)
    model = load(given.model, vocab=given.vocab, batch_size=given.batch_size)
    found = embed(
        model,
        items,
        given.out,
        model_path=str(given.model),
        shard_size=given.shard_size,
        dtype=given.dtype,
        tokens=given.tokens,
        part=given.part,
        threads=given.threads,
        bar=True,
    )
    done, count = found.shards
    line = f"{given.out}: {done} of {count} shards, {found.encoded} items encoded now"
    if found.encoded:
        line += f", {found.rate:.1f} a second"
    if found.roof is not None:
        line += f", {100 * found.roof:.1f} % of what the devices could do"
    if found.bad:
        line += f"; {found.bad} cannot be read, see the files *.bad.jsonl"
    return line


def main() -> int:
    """Encode; errors are one line each, with exit code 2."""
    print_anything()
    given = _parser().parse_args()
    from albef_jax.errors import CheckpointError
    from albef_jax.inference.outputs import CannotServe

    try:
        print(_embed(given))
    except (CannotServe, CheckpointError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
