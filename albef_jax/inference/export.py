"""Exports the two encoders with their weights as StableHLO, for programs that have only jax.

Shape letters: b any number of images or texts, S image side, T text tokens, E embed_dim.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from albef_jax.inference.model import Model
from albef_jax.inference.outputs import NotFinite
from albef_jax.inference.programs import ENCODERS, damaged_weights
from albef_jax.models import albef
from albef_jax.models.primitives import normalize
from albef_jax.system.optional import needed
from albef_jax.system.output_paths import check_folder

IMAGE_FILE = "image_encoder.stablehlo"
TEXT_FILE = "text_encoder.stablehlo"
PLATFORMS = ("cpu", "cuda", "tpu")


def export_encoders(
    model: Model, folder: Path, platforms: tuple[str, ...] = PLATFORMS
) -> tuple[Path, Path]:
    """Write both encoders; `jax.export.deserialize(...).call(...)` runs them.

    The image encoder takes uint8 images `[b, S, S, 3]`, the text encoder int32 ids and mask
    `[b, T]`; both give unit vectors `[b, E]`. The batch b is symbolic: any number will do.

    Raises:
        CannotServe: the checkpoint has no features, or (NotFinite) they hold NaN.
        FileExistsError: a file of that name exists.
        CannotWrite: the folder cannot be written to.
        PackageError: flatbuffers is missing.
    """
    check_targets(folder)
    model.need("image_proj", "features")
    encoders = {name: model.params[name] for name in ENCODERS}
    if unsound := damaged_weights(encoders):
        raise NotFinite(unsound)
    (batch,) = export.symbolic_shape("b")
    side, params = model.config.image_size, model.params

    def image(images):
        tokens = albef.encode_image(model.config, params, normalize(images))
        return albef.image_feature(params, tokens)

    def text(text_ids, text_mask):
        tokens = albef.encode_text(model.config, params, text_ids, text_mask)
        return albef.text_feature(params, tokens, albef.pooled_tokens(model.config, text_mask))

    ids = jax.ShapeDtypeStruct((batch, model.tokenizer.text_len), jnp.int32)
    images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.uint8)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / IMAGE_FILE, jax.jit(image), (images,), platforms)
    _write(folder / TEXT_FILE, jax.jit(text), (ids, ids), platforms)
    return folder / IMAGE_FILE, folder / TEXT_FILE


def check_targets(folder: Path) -> None:
    """Refuse a folder that holds such files, or cannot be written to, before the work."""
    needed("flatbuffers", "exporting", "export")
    check_folder(folder, "folder")
    for path in (folder / IMAGE_FILE, folder / TEXT_FILE):
        if path.exists():
            raise FileExistsError(f"{path} exists; choose another folder, or remove it")


def _write(path: Path, function: Any, inputs: tuple, platforms: tuple[str, ...]) -> None:
    exported = export.export(function, platforms=platforms)(*inputs)
    with path.open("xb") as file:
        file.write(exported.serialize())
