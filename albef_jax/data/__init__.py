"""Records, sources, transforms and batches. Imports nothing of the model."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "Tokenizer": "tokenizer",
        "open_train_pairs": "build",
        "open_eval_pairs": "build",
        "shuffled_batches": "batching",
        "ordered_batches": "batching",
        "BadSamples": "bad_samples",
    },
)
