"""Adds the words that albef_jax/data/vocab/scenes.txt lacks; run it after a change to the grammar.

New words come last and no id changes, so trained models stay valid, as long as their `vocab_size`
leaves room.

Example:
    python -m tools.make_scene_vocab
"""

import argparse
from pathlib import Path

from albef_jax.data.scenes.language.vocab import extended
from albef_jax.system.terminal import print_anything

PATH = Path(__file__).parents[1] / "albef_jax/data/vocab/scenes.txt"


def main() -> None:
    """Rewrite the vocabulary."""
    print_anything()
    argparse.ArgumentParser(
        prog="python -m tools.make_scene_vocab",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    before = PATH.read_text(encoding="ascii").splitlines()
    tokens = extended(before)
    PATH.write_text("\n".join(tokens) + "\n", encoding="ascii")
    print(f"{PATH.name}: {len(tokens)} tokens, {len(tokens) - len(before)} of them new")


if __name__ == "__main__":
    main()
