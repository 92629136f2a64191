"""Packed data: WebDataset tar files, ArrayRecord, TensorFlow Datasets."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "TarPairs": "webdataset",
        "ArrayRecordPairs": "array_record",
        "TfdsPairs": "tfds",
    },
)
