"""Writes albef_jax/data/vocab/scenes.txt anew; run it after a change to the grammar.

The ids of words after a new one move, so models trained before the change need their own file.
"""

from pathlib import Path

from albef_jax.data.scenes.vocab import vocabulary

PATH = Path(__file__).parents[1] / "albef_jax/data/vocab/scenes.txt"

if __name__ == "__main__":
    tokens = vocabulary()
    PATH.write_text("\n".join(tokens) + "\n", encoding="ascii")
    print(f"{PATH.name}: {len(tokens)} tokens")
