"""Object storage: addresses `gs://...` and `s3://...`, and what is read and written there."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "BucketFolder": "bucket",
        "BucketPath": "paths",
        "in_bucket": "addresses",
        "StorageError": "retries",
    },
)
