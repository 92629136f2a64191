"""The models of all tasks: which parts each has, fresh parameters, and the small heads.

Shape letters: B texts, D text width, C classes.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from albef_jax.models import albef
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from albef_jax.models.decoder import init_decoder
from albef_jax.models.two_image_fusion import init_pair_encoder

CLASSES = {"entailment": 3, "nlvr": 2}
ASSIGNMENTS = 3  # of a text to two images: the first, the second, neither

_ENCODERS = ("image_encoder", "text_encoder")
_CONTRAST = ("image_proj", "text_proj", "temperature")
# What a task keeps of the pre-training model.
_KEPT = {
    "retrieval": (*_ENCODERS, "fusion_encoder", *_CONTRAST, "itm_head"),
    "grounding": (*_ENCODERS, "fusion_encoder", *_CONTRAST, "itm_head"),
    "entailment": (*_ENCODERS, "fusion_encoder"),
    "vqa": (*_ENCODERS, "fusion_encoder"),
    "nlvr_pretrain": (*_ENCODERS, *_CONTRAST),
    "nlvr": _ENCODERS,
}


def init(config: ModelConfig, task: str, key: Array) -> Params:
    """A fresh parameter tree of a task's model, in float32."""
    base_key, new_key = jax.random.split(key)
    if task == "pretrain":
        return albef.init(config, key)
    base = albef.init(config, base_key)
    params = {name: base[name] for name in _KEPT[task]}
    if task == "vqa":
        params["answer_decoder"] = init_decoder(config, new_key)
    if task in ("nlvr_pretrain", "nlvr"):
        pair_key, new_key = jax.random.split(new_key)
        params["pair_encoder"] = init_pair_encoder(config, pair_key)
    if task == "nlvr_pretrain":
        params["ta_head"] = _init_linear(new_key, config.text_width, ASSIGNMENTS)
    if task in CLASSES:
        hidden_key, out_key = jax.random.split(new_key)
        params["cls_head"] = {
            "hidden": _init_linear(hidden_key, config.text_width, config.text_width),
            "out": _init_linear(out_key, config.text_width, CLASSES[task]),
        }
    return params


def _init_linear(key: Array, inputs: int, outputs: int) -> Params:
    return albef.linear(outputs).init(key, jnp.zeros((1, inputs)))["params"]


def _apply(layer: Params, x: Float[Array, "B D"]) -> Float[Array, "B C"]:
    return x @ layer["kernel"] + layer["bias"]


def class_logits(params: Params, fused_cls: Float[Array, "B D"]) -> Float[Array, "B C"]:
    """An MLP with one ReLU layer on the fused class token (paper section 5, VE and NLVR2)."""
    head = params["cls_head"]
    return _apply(head["out"], jax.nn.relu(_apply(head["hidden"], fused_cls)))


def assignment_logits(params: Params, fused_cls: Float[Array, "B D"]) -> Float[Array, "B C"]:
    """Whether a text belongs to the first image, the second, or neither."""
    return _apply(params["ta_head"], fused_cls)
