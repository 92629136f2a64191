"""JSON annotation files in the official format of each task."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "JsonPairs": "pairs",
        "JsonQuestions": "questions",
        "JsonSentences": "sentences",
        "JsonTwoImages": "sentences",
        "JsonReferring": "referring",
        "LabelledImages": "labels",
    },
)
