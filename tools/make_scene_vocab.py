"""Adds the words that albef_jax/data/vocab/scenes.txt lacks; run it after a change to the grammar.

New words come last: no id changes, so what was trained before stays valid, as long as the model's
`vocab_size` leaves room.
"""

from pathlib import Path

from albef_jax.data.scenes.vocab import extended

PATH = Path(__file__).parents[1] / "albef_jax/data/vocab/scenes.txt"

if __name__ == "__main__":
    before = PATH.read_text(encoding="ascii").splitlines()
    tokens = extended(before)
    PATH.write_text("\n".join(tokens) + "\n", encoding="ascii")
    print(f"{PATH.name}: {len(tokens)} tokens, {len(tokens) - len(before)} of them new")
