"""Features of a collection as the index of the search takes them."""

import numpy as np

from albef_jax.apps.embedding.encoding import items_digest
from albef_jax.apps.embedding.shards import open_features
from albef_jax.apps.search.item import Items
from albef_jax.apps.search.storage import Rows, model_digest
from albef_jax.inference.model import Model
from albef_jax.inference.outputs import SearchError
from albef_jax.storage.paths import AnyPath


def rows_of(folder: AnyPath, items: Items, model: Model) -> Rows:
    """The features of `embed` by item.

    Raises:
        SearchError: features of another model, or of a collection that has changed since.
    """
    features = open_features(folder)
    manifest = features.manifest
    if manifest.model["digest"] != model_digest(model):
        raise SearchError(f"{folder}: features of another model ({manifest.model['path']})")
    if (manifest.kind, manifest.items_digest) != (items.kind, items_digest(items)):
        raise SearchError(
            f"{folder}: features of {manifest.items} items of {manifest.source} as they were then; "
            "run tools.embed again into another folder, or build the index without --features"
        )
    rows: Rows = {}
    for numbers, block in features:
        unit = np.asarray(block, np.float32)
        unit = unit / np.linalg.norm(unit, axis=1, keepdims=True)  # float16 is not exact
        rows.update(zip((items.items[number] for number in numbers), unit, strict=True))
    return rows
