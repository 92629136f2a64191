"""Builds an index of images or captions with a checkpoint, and searches it.

ITC finds the nearest items, exactly, and ITM orders them. The same `build` continues after an
interruption, and updates an index. It needs the extra 'search'.

Examples:
    python -m tools.search build indexes/photos --model=scenes --images=photos
    python -m tools.search build indexes/captions --model=scenes --captions=captions.txt
    python -m tools.search indexes/photos "a red ball left of a cube" --k=12 --sheet=sheet.jpg
    python -m tools.search query indexes/captions photo.jpg
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from albef_jax.storage.paths import path_of
from albef_jax.storage.staged import check_out
from albef_jax.system.output_paths import check_image
from albef_jax.system.terminal import print_anything

_COMMANDS = ("build", "query")


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m tools.search",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    commands = made.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="build an index, go on with one, or update it")
    build.add_argument("index", type=path_of, help="folder of the index")
    build.add_argument("--model", required=True, help="a checkpoint, as for albef_jax.load")
    what = "a folder, an annotation file (JSON) whose items have 'image', or tar shards"
    build.add_argument("--images", help=what)
    what = "a caption a line, .json, .jsonl, .csv with a column 'caption', or a Flickr token file"
    build.add_argument("--captions", help=what)
    what = "where paths in annotations start from; by default their folder"
    build.add_argument("--image_root", type=path_of, help=what)
    build.add_argument(
        "--features", type=path_of, help="what tools.embed has made of the same items"
    )
    query = commands.add_parser("query", help="search; the word may be left out")
    query.add_argument("index", type=path_of, help="folder of the index")
    query.add_argument("query", help="a text, or the path of an image to search captions")
    query.add_argument("--model", help="by default where it was when building")
    query.add_argument("--k", type=int, default=12, help="how many; 12 by default")
    query.add_argument("--no_rerank", action="store_true", help="by ITC alone, which is faster")
    query.add_argument("--sheet", type=Path, help="image to draw of what was found")
    query.add_argument("--json", action="store_true", help="print JSON, for programs")
    for command in (build, query):
        command.add_argument("--vocab", help="name or path, where the model's own is not known")
    return made


def _build(given: argparse.Namespace) -> None:
    from albef_jax.apps.embedding.for_search import rows_of
    from albef_jax.apps.search.index import build_index
    from albef_jax.apps.search.items import items_of
    from albef_jax.inference.model import load

    check_out(given.index, "index")
    items = items_of(given.images, given.captions, given.image_root)
    if items.note:
        print(items.note, file=sys.stderr)
    model = load(given.model, vocab=given.vocab)
    known = rows_of(given.features, items, model) if given.features else None
    options = {"model_path": given.model, "vocab": given.vocab, "known": known, "bar": True}
    built = build_index(model, items, given.index, **options)
    count = built.manifest["count"]
    what = "images" if items.kind == "image" else "captions"
    print(f"{given.index}: {count} {what}, {built.computed} of them encoded now")
    if built.bad:
        print(
            f"{len(built.bad)} cannot be used and are left out; all are listed in "
            f"{given.index / 'bad_samples.jsonl'}"
        )


def _query(given: argparse.Namespace) -> None:
    from albef_jax.apps.search.index import open_index

    if given.k < 1:
        raise ValueError(f"--k={given.k}: must be 1 or more")
    if given.sheet:
        check_image(given.sheet, "--sheet")
    index = open_index(given.index, given.model, vocab=given.vocab)
    hits = index.search(given.query, given.k, rerank=not given.no_rerank)
    if given.json:
        print(json.dumps([asdict(hit) for hit in hits], indent=2, default=str))
    else:
        if given.k > len(index):
            print(f"the index holds {len(index)}: these are all", file=sys.stderr)
        print("\n".join([" #    ITM    ITC  name", *map(_row, range(1, len(hits) + 1), hits)]))
    if given.sheet:
        _draw(given, index, hits)


def _row(number: int, hit) -> str:
    itm = "     -" if hit.itm is None else f"{hit.itm:6.3f}"
    return f"{number:2d} {itm} {hit.itc:6.3f}  {hit.name}"


def _draw(given: argparse.Namespace, index, hits: Sequence) -> None:
    from albef_jax.apps.search.contact_sheet import caption_sheet, image_sheet
    from albef_jax.inference.inputs import read_image

    if index.kind == "image":
        sheet = image_sheet(given.query, hits)
    else:
        sheet = caption_sheet(read_image(given.query), hits)
    sheet.save(given.sheet)
    print(f"drawn: {given.sheet}", file=sys.stderr)


def main() -> int:
    """Build or search; errors are one line each, with exit code 2."""
    print_anything()
    arguments = sys.argv[1:]
    if arguments and arguments[0] not in _COMMANDS and not arguments[0].startswith("-"):
        arguments.insert(0, "query")
    given = _parser().parse_args(arguments)
    from albef_jax.errors import BadSample, CheckpointError
    from albef_jax.inference.outputs import CannotServe

    try:
        _build(given) if given.command == "build" else _query(given)
    except (BadSample, CannotServe, CheckpointError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command continues from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
