"""Makes the WordPiece vocabulary of one's own annotation lists, for a small model from scratch.

It has the special tokens of BERT, letters and digits, and the words of captions, questions,
answers, sentences and expressions, the most frequent first. Set `model.vocab_size` to its number
of pieces. Make it from training lists alone.

Example:
    python -m tools.make_vocab train.json vocab.txt --size=2000
"""

import argparse
import sys
from pathlib import Path

from albef_jax.data.annotations.checks import read_list
from albef_jax.data.releases.fields import Given, items
from albef_jax.data.word_list import pieces_of, texts_of
from albef_jax.system.atomic import write_text
from albef_jax.system.output_paths import check_file
from albef_jax.system.terminal import print_anything, print_result


def run(lists: list[Path], out: Path, size: int | None) -> str:
    """Read, write, and print a summary.

    Raises:
        ValueError: a list cannot be read, has no words, or `size` is too small.
        OSError: `out` cannot be written.
    """
    if out.suffix != ".txt":
        raise ValueError(f"{out}: the vocabulary is a text file; name a file that ends in .txt")
    check_file(out, "OUT")
    texts: list[str] = []
    for file in lists:
        for place, item in items(Given(str(file), read_list(file, "LIST"))):
            try:
                texts += texts_of(item)
            except ValueError as error:
                raise ValueError(f"{place}: {error}") from None
    if not any(text.strip() for text in texts):
        raise ValueError(f"{lists[0]}: has no caption, question or other text")
    pieces = pieces_of(texts, size)
    write_text(out, "\n".join(pieces) + "\n")
    return f"{out}: {len(pieces)} pieces; set model.vocab_size={len(pieces)} and data.vocab={out}"


def main(arguments: list[str] | None = None) -> int:
    """From the command line; 2 for errors that a user can fix."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.make_vocab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("lists", nargs="+", type=Path, metavar="LIST", help="annotation lists")
    parser.add_argument("out", type=Path, help="the vocabulary to write")
    parser.add_argument("--size", type=int, help="at most so many pieces; without it, all words")
    print_anything()
    given = parser.parse_intermixed_args(arguments)
    return print_result(lambda: run(given.lists, given.out, given.size))


if __name__ == "__main__":
    sys.exit(main())
