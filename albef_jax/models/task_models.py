"""The models of all tasks: which parts each has, and fresh parameters."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.decoder import init_decoder
from albef_jax.models.two_image_fusion import init_pair_encoder


@dataclass(frozen=True)
class TaskModel:
    """What a model consists of; fresh weights, official names and warm starts follow from it.

    Attributes:
        parts: names at the root of the parameter tree.
        mark: the part that distinguishes the model from those after it in `MODELS`.
        classes: of `cls_head`.
        starts_fresh: the part that no pre-trained model has, if there is one.
    """

    parts: tuple[str, ...]
    mark: str
    classes: int = 0
    starts_fresh: str = ""


ASSIGNMENTS = 3  # of a text to two images: the first, the second, neither
_ENCODERS = ("image_encoder", "text_encoder")
_FUSED = (*_ENCODERS, "fusion_encoder")
_CONTRAST = ("image_proj", "text_proj", "temperature")
_RETRIEVAL = TaskModel((*_FUSED, *_CONTRAST, "itm_head"), "itm_head")

# Every model that has checkpoints of its own.
MODELS = {
    "pretrain": TaskModel((*_FUSED, "mlm_head", *_CONTRAST, "itm_head"), "mlm_head"),
    "vqa": TaskModel((*_FUSED, "answer_decoder"), "answer_decoder"),
    "nlvr_pretrain": TaskModel(
        (*_ENCODERS, "pair_encoder", *_CONTRAST, "ta_head"), "ta_head", starts_fresh="ta_head"
    ),
    "retrieval": _RETRIEVAL,
    "grounding": _RETRIEVAL,
    "nlvr": TaskModel((*_ENCODERS, "pair_encoder", "cls_head"), "pair_encoder", 2, "cls_head"),
    "entailment": TaskModel((*_FUSED, "cls_head"), "cls_head", 3, "cls_head"),
}


def model_of(parts: Collection[str]) -> str | None:
    """The model that has these parts, `retrieval` for grounding too; None if there is none."""
    return next((name for name, model in MODELS.items() if model.mark in parts), None)


# A run asks for shapes several times: traced once.
@partial(jax.jit, static_argnums=(0, 1))
def init(config: ModelConfig, model: str, key: Array) -> Params:
    """A fresh parameter tree of a model of `MODELS`, in float32."""
    base_key, new_key = jax.random.split(key)
    if model == "pretrain":
        return albef.init(config, key)
    base = albef.init(config, base_key)
    parts = MODELS[model].parts
    params = {name: base[name] for name in parts if name in base}
    if "answer_decoder" in parts:
        params["answer_decoder"] = init_decoder(config, new_key)
    if "pair_encoder" in parts:
        pair_key, new_key = jax.random.split(new_key)
        params["pair_encoder"] = init_pair_encoder(config, pair_key)
    if "ta_head" in parts:
        params["ta_head"] = _init_linear(new_key, config.text_width, ASSIGNMENTS)
    if "cls_head" in parts:
        hidden_key, out_key = jax.random.split(new_key)
        params["cls_head"] = {
            "hidden": _init_linear(hidden_key, config.text_width, config.text_width),
            "out": _init_linear(out_key, config.text_width, MODELS[model].classes),
        }
    return params


def _init_linear(key: Array, inputs: int, outputs: int) -> Params:
    return albef.linear(outputs).init(key, jnp.zeros((1, inputs)))["params"]
