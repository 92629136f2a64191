"""The words of the grammar: names of each attribute, relation and number.

The first word of each entry is the usual one; the others are paraphrases.
"""

import numpy as np

from albef_jax.data.scenes.world.draw import pick

COLOUR = {
    "red": ("red", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green",),
    "blue": ("blue",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "black": ("black",),
}
SHAPE = {
    "ball": ("ball", "circle", "disc"),
    "square": ("square", "block"),
    "triangle": ("triangle",),
    "star": ("star",),
    "ring": ("ring", "hoop"),
    "cross": ("cross", "plus"),
    "heart": ("heart",),
    "diamond": ("diamond",),
}
ANY_SHAPE = ("shape", "object", "thing")
SIZE = {"small": ("small", "little", "tiny"), "large": ("large", "big")}
TEXTURE = {
    "plain": ("plain", "solid"),
    "striped": ("striped", "stripy"),
    "dotted": ("dotted", "spotted"),
    "checked": ("checked", "checkered"),
}
WEARING = {  # the texture, said after the noun
    "plain": "without a pattern",
    "striped": "with stripes",
    "dotted": "with dots",
    "checked": "with checks",
}
BACKGROUND = {
    "paper": ("on lined paper", "on ruled paper"),
    "grid": ("on a grid", "on squared paper"),
    "wood": ("on wood", "on a wooden floor"),
    "sky": ("in the sky", "against a cloudy sky"),
    "grass": ("on grass", "on a green lawn"),
    "sand": ("on sand", "on a sandy beach"),
}
RELATION = {
    "left of": ("to the left of", "left of", "on the left side of"),
    "right of": ("to the right of", "right of", "on the right side of"),
    "above": ("above", "higher than"),
    "below": ("below", "under", "lower than"),
    "overlapping": ("overlapping", "touching"),
    "in front of": ("in front of", "partly covering"),
    "behind": ("behind", "partly hidden by"),
    "next to": ("next to", "beside", "close to", "near"),
}
PLACE = {
    "left": ("on the left",),
    "right": ("on the right",),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "middle": ("in the middle", "in the center"),
}
NUMBER = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
LEAD = ("there is", "a picture of", "an image of", "we see", "here is")  # singular follows
LEAD_MANY = ("there are", "a picture of", "an image with", "we see", "here are")
LEFT_TO_RIGHT = "from left to right"
VERB = ("is", "sits", "lies")
ARTICLES = ("a", "an", "the")


def usual(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    """Mostly the usual word, sometimes a paraphrase."""
    return options[0] if rng.random() < 0.7 else pick(rng, options)


def plural(noun: str) -> str:
    """The plural of one of the grammar's nouns."""
    return noun + ("es" if noun.endswith(("s", "x")) else "s")


def with_article(phrase: str) -> str:
    """The phrase after 'a' or 'an'."""
    return ("an " if phrase[0] in "aeio" else "a ") + phrase


def joined(parts: list[str]) -> str:
    """The parts in a row, 'and' before the last one."""
    return " ".join([*parts[:-1], "and", parts[-1]] if len(parts) > 1 else parts)
