"""What a model of the built-in world sees: masked words of full captions, by what they name.

Every colour, shape, size, texture and background of the captions of unseen scenes is masked by
itself, and the most probable word of the whole vocabulary counts. The last line is of shapes in
combinations with colours that training never shows.

Examples:
    python -m benchmarks.masked_words runs/demo
    python -m benchmarks.masked_words scenes --scenes=500 --objects=3
"""

import argparse
import json
from collections import Counter

import albef_jax
from albef_jax.data.scenes.language.words import BACKGROUND
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.data.scenes.world.graph import COLOURS, SIZES, TEXTURES
from albef_jax.data.scenes.world.sample import HELD_OUT
from albef_jax.data.scenes.world.shapes import SHAPES
from albef_jax.inference.masked_words import guess

MOST = 6  # words of a kind in a caption
KINDS = {
    "colour": COLOURS,
    "shape": SHAPES,
    "size": SIZES,
    "texture": TEXTURES,
    "background": tuple(place.split()[-1] for places in BACKGROUND.values() for place in places),
}


def told(model: "albef_jax.Model", source: ScenesSource) -> dict[str, tuple[float, int]]:
    """Percentage of right words and their number, by kind."""
    right: Counter[str] = Counter()
    all_words: Counter[str] = Counter()
    for number in range(len(source)):
        pair = source[number]
        text_ids, _ = model.tokenizer.encode([pair.captions[0]])
        pieces = model.tokenizer.pieces(text_ids[0])
        for kind, words in KINDS.items():
            found = guess(
                *(model.config, model.params, model.tokenizer, pair.image, text_ids[0]),
                words=MOST,
                only=words,
            )
            for masked in found:
                names = [kind]
                if (pieces[masked.position - 1], masked.word) in HELD_OUT:
                    names.append("shape in an unseen combination")
                for name in names:
                    all_words[name] += 1
                    right[name] += masked.candidates[0][0] == masked.word
    return {name: (100 * right[name] / count, count) for name, count in all_words.items()}


def main() -> None:
    """Print one line for each kind."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", help="a run, a released folder, or whatever albef_jax.load takes")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--objects", type=int, default=6, help="at most, in a scene")
    given = parser.parse_args()
    model = albef_jax.load(given.model)
    source = ScenesSource(
        *("test", given.scenes, model.config.image_size),
        captions_per_image=1,
        most_objects=given.objects,
    )
    for name, (percent, number) in told(model, source).items():
        print(json.dumps({"masked": name, "right_percent": round(percent, 1), "words": number}))


if __name__ == "__main__":
    main()
