"""Converts public annotation files to the lists that training reads.

A file is recognised by its content: COCO's captions, Karpathy's splits (COCO, Flickr30K),
VQA v2's questions with their annotations, VizWiz, easy-VQA, SNLI-VE (.jsonl), NLVR2 (.jsonl), and
REFER's references with instances.json (RefCOCO, RefCOCO+, RefCOCOg). Files may be compressed (.gz).
Nothing in a pickle is ever executed.

Examples:
    python -m tools.convert_annotations dataset_coco.json --split=train,restval coco_train.json
    python -m tools.convert_annotations v2_OpenEnded_mscoco_val2014_questions.json \
        v2_mscoco_val2014_annotations.json vqa_val.json
    python -m tools.convert_annotations questions.json captions.json --images=train/ --captions
    python -m tools.convert_annotations snli_ve_dev.jsonl ve_dev.json --images=flickr30k-images/
    python -m tools.convert_annotations 'refs(unc).p' instances.json --split=val,testA,testB r.json
"""

import argparse
import json
import sys
from pathlib import Path

from albef_jax.config.file_patterns import split_list
from albef_jax.data.annotations.files import read_json
from albef_jax.data.annotations.refer_files import read_plain_pickle
from albef_jax.data.releases import convert
from albef_jax.data.releases.fields import Given, Options
from albef_jax.data.releases.formats import PICKLES
from albef_jax.system.atomic import write_text
from albef_jax.system.output_paths import check_file
from albef_jax.system.terminal import print_anything, print_result


def run(sources: list[Path], out: Path, options: Options) -> str:
    """Convert, write, and print a summary.

    Raises:
        ValueError: a source cannot be read or converted.
        OSError: `out` cannot be written.
    """
    for source in sources:
        if source.resolve() == out.resolve():
            raise ValueError(f"{out}: would overwrite a source; name another file")
    if out.suffix != ".json":
        raise ValueError(f"{out}: the list is written as JSON; name a file that ends in .json")
    check_file(out, "OUT")
    files = [
        Given(
            str(source),
            read_plain_pickle(source) if source.suffix in PICKLES else read_json(source),
        )
        for source in sources
    ]
    found, (rows, notes) = convert(files, options)
    if not rows:
        raise ValueError(f"{sources[0]}: {found.name}, and no item in it can be used")
    write_text(out, json.dumps(rows) + "\n")
    first = rows[0].get("image") or rows[0]["images"][0]
    return (
        f"{out}: {len(rows)} items from {found.name}, for task {found.task}; image paths start "
        f"from data.image_root, as {first}{''.join(f'; {note}: left out' for note in notes)}"
    )


def main(arguments: list[str] | None = None) -> int:
    """From the command line; 2 for errors that a user can fix."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.convert_annotations",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("sources", nargs="+", type=Path, metavar="SOURCE", help="official files")
    parser.add_argument("out", type=Path, help="the JSON list to write")
    parser.add_argument("--split", default="", help="of files with several: those to take, as a,b")
    parser.add_argument(
        "--captions",
        action="store_true",
        help="of easy-VQA's questions: a caption of each image, for pre-training",
    )
    parser.add_argument("--images", default="", help="goes before each image path, as val2014/")
    print_anything()
    given = parser.parse_intermixed_args(arguments)
    options = Options(split_list(given.split), given.images, given.captions)
    return print_result(lambda: run(given.sources, given.out, options))


if __name__ == "__main__":
    sys.exit(main())
