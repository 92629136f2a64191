"""Operations counted from sizes against XLA's count of the same graphs."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import pytest

from albef_jax.losses import masked_lm, pretraining
from albef_jax.losses.alignment import Keys
from albef_jax.losses.base import LossInputs, Random
from albef_jax.losses.masked_lm import MaskedText
from albef_jax.losses.matching import Negatives
from albef_jax.losses.pretraining import Inputs, Recipe
from albef_jax.losses.queue import Queue
from albef_jax.models import albef
from albef_jax.models.config import ModelConfig, preset
from albef_jax.models.frozen import Frozen
from albef_jax.observability.flops import PretrainingFlops, image_encoder, peak
from albef_jax.train.optimizer import adamw
from albef_jax.train.step import StepConfig, judge
from benchmarks.plain import plain_loss

# Wide enough that matrix products are nearly all; unrolled, as XLA counts a loop's body once.
CONFIG = ModelConfig(
    image_size=64,
    image_width=384,
    image_depth=3,
    image_heads=4,
    text_width=320,
    text_heads=4,
    text_intermediate=1280,
    text_depth=2,
    fusion_depth=3,
    vocab_size=2000,
    embed_dim=64,
    dropout=0.0,
    attention_dropout=0.0,
    unroll=3,
)
B, T, QUEUE = 8, 12, 64
RECIPE = Recipe(contrast_group=B)


def shaped(*shape, dtype=jnp.float32):
    return jax.ShapeDtypeStruct(shape, dtype)


def arguments():
    params = jax.eval_shape(partial(albef.init, CONFIG), jax.random.key(0))
    teacher = {name: tree for name, tree in params.items() if name not in albef.STUDENT_ONLY}
    ids, index = shaped(B, T, dtype=jnp.int32), shaped(1, B, dtype=jnp.int32)
    inputs = Inputs(shaped(B, 64, 64, 3), ids, ids, MaskedText(ids, shaped(B, T, dtype=jnp.bool_)))
    features = shaped(QUEUE, CONFIG.embed_dim)
    negatives = Negatives(index, index, shaped(1, B, dtype=jnp.bool_))
    return params, teacher, inputs, Keys(features, features), negatives


def fused_loss(params, teacher, inputs, keys, negatives):
    positions = pretraining.pack_masked(RECIPE, inputs.masked.selected)
    theirs = pretraining.teacher_forward(CONFIG, teacher, inputs, positions, None)
    ours = pretraining.student_forward(
        CONFIG, RECIPE, params, inputs, positions, theirs, keys, negatives, None
    )
    return pretraining.losses(ours, theirs, inputs, positions, 0.4)["loss"]


def straight_loss(params, teacher, inputs, keys, negatives):
    return plain_loss(CONFIG, params, teacher, inputs, keys, negatives, 0.4)[0]["loss"]


def ours() -> PretrainingFlops:
    return PretrainingFlops(CONFIG, T, B, QUEUE, masked_lm.capacity(B * T, 0.15) / B)


@pytest.mark.parametrize("graph, loss", [("fused", fused_loss), ("plain", straight_loss)])
def test_count_is_xlas(graph, loss):
    lowered = jax.jit(jax.grad(loss)).lower(*arguments())
    counted = lowered.cost_analysis()["flops"]
    assert getattr(ours(), graph)() * B == pytest.approx(
        counted, rel=0.03
    )  # XLA counts GELU, too, twice


FROZEN = {
    "image encoder": (Frozen(("image_encoder",)), "frozen"),
    "both encoders": (Frozen(("image_encoder", "text_encoder")), "frozen"),
    "first layers": (Frozen((), (("image_encoder", 2), ("text_encoder", 1))), "trained"),
}


@pytest.mark.parametrize("name", FROZEN)
def test_count_with_frozen_parts(name):
    frozen, encoder = FROZEN[name]
    model = frozen.model(CONFIG)
    loss = pretraining.PretrainingLoss(model, RECIPE)
    rate = lambda step: jnp.float32(1e-4)  # noqa: E731
    config = StepConfig(loss, adamw(rate, 0.02), rate, rate, frozen=frozen)
    params, teacher, pairs, keys, negatives = arguments()

    def objective(trained, params, teacher, pairs, keys, negatives):
        decisions = loss.given(pairs.masked, negatives)
        batch = {"image": pairs.image, "text_ids": pairs.text_ids, "text_mask": pairs.text_mask}
        queue = Queue(keys.image, keys.text, jnp.int32(0), None)
        totals = loss.totals(batch, decisions)
        inputs = LossInputs(batch, teacher, queue, 0.4, Random(decisions), totals)
        return judge(config.loss, config.frozen, trained, params, inputs).metrics["loss"]

    given = frozen.trained(params), params, frozen.trained(teacher), pairs, keys, negatives
    counted = jax.jit(jax.grad(objective)).lower(*given).cost_analysis()["flops"]
    expected = replace(ours(), config=model, image_encoder=encoder).fused()
    assert expected * B == pytest.approx(counted, rel=0.03)
    assert expected < 0.9 * ours().fused()


def test_cached_images_cost_nothing():
    frozen, cached = (replace(ours(), image_encoder=how).fused() for how in ("frozen", "cached"))
    assert frozen - cached == pytest.approx(sum(image_encoder(CONFIG)))


def test_the_fused_graph_of_the_base_model_saves_a_seventh():
    """The official batch of a GPU: 64 captions of 25 tokens, queue 65,536."""
    slots = masked_lm.capacity(64 * 25, 0.15) / 64
    base = PretrainingFlops(preset("base"), 25, 64, 65_536, slots)
    assert base.plain() == pytest.approx(288.8e9, rel=0.01)
    assert base.fused() / base.plain() <= 0.86


def test_peaks_of_known_devices():
    def found(kind):
        return peak(SimpleNamespace(device_kind=kind))  # type: ignore[arg-type]

    assert found("NVIDIA A100-SXM4-80GB") == 312e12
    assert found("NVIDIA H200") == 989e12
    assert found("TPU v5 lite") == 197e12
    assert found("TPU v5p") == 459e12
    assert found("cpu") is None
