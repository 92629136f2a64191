"""Whole pre-training steps against recorded ones: losses, gradients, queue, teacher."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from albef_jax.checkpoints.official import state_dict
from albef_jax.losses import masked_lm
from albef_jax.losses.base import Random
from albef_jax.losses.matching import Negatives
from albef_jax.losses.pretraining import PretrainingLoss, pack_masked
from albef_jax.losses.queue import Queue
from albef_jax.train import schedules
from albef_jax.train.optimizer import adamw, decay_mask
from albef_jax.train.state import state_from_params
from albef_jax.train.step import StepConfig, update
from tests.helpers.golden_set import GoldenSet, inputs_of, queue_of

LOSSES, ACTIVATIONS, GRADIENTS, KEPT = 1e-5, 1e-4, 1e-3, 1e-5
# Rounding is magnified a thousand times at temperature 0.001 (the golden set's README).
LOW_TEMPERATURE = 1e-3
LOSS_NAMES = {"loss_mlm": "loss_mlm", "loss_itc": "loss_ita", "loss_itm": "loss_itm"}


def is_key_bias(name: str) -> bool:
    """Biases whose gradient is zero but for rounding: a constant added to all scores of a query."""
    return name.endswith("self.key.bias")


def rows_of_negatives(arrays: dict, batch: int) -> Negatives:
    image, text = (arrays[f"neg_{side}_idx"].astype(np.int32) for side in ("image", "text"))
    return Negatives(image[None], text[None], jnp.ones((1, batch), bool))


REPLAY, TRACES = 0, ("official", "fast")
OPTIMIZER = adamw(lambda step: 1e-4, 0.02)  # makes the state; the step has one of its own


def learning_rate_of(record: dict):
    schedule = record["schedule"]
    return schedules.official_lr(
        peak=schedule["lr"],
        minimum=schedule["min_lr"],
        warmup=schedule["warmup_lr"],
        warmup_periods=schedule["warmup_epochs"],
        epochs=schedule["epochs"],
        steps_per_epoch=record["steps_per_epoch"],
        period=record["step_size"],
    )


@pytest.fixture(scope="module")
def step(golden):
    """The step for all records, since compiling takes longest: whose schedules is an argument."""
    records = [golden.json("pretrain_trace")[run] for run in TRACES]
    rates = [lambda step: 1e-4, *map(learning_rate_of, records)]
    ramps = [schedules.alpha_ramp(alpha=0.4, ramp_steps=r["steps_per_epoch"]) for r in records]

    def chosen(whose, candidates, step):
        return jax.lax.switch(whose, [lambda s, f=f: jnp.float32(f(s)) for f in candidates], step)

    def step(whose, alpha, state, inputs, negatives):
        learning_rate = partial(chosen, whose, rates)
        config = StepConfig(
            loss=PretrainingLoss(golden.config, golden.recipe),
            optimizer=adamw(learning_rate, 0.02),
            learning_rate=learning_rate,
            alpha=partial(chosen, whose, [lambda step: alpha, *ramps]),
            momentum=golden.sizes["momentum"],
        )
        batch = {name: getattr(inputs, name) for name in ("image", "text_ids", "text_mask")}
        return update(config, state, batch, Random(config.loss.given(inputs.masked, negatives)))

    return jax.jit(step)


def replay(golden: GoldenSet, step, name: str):
    """One recorded step: our (state, metrics, inside), our packing, and the recorded arrays."""
    arrays = golden.arrays(name)
    params = {**golden.official.params, "temperature": arrays["temp_before"]}
    state = state_from_params(
        jax.tree.map(jnp.asarray, params),
        OPTIMIZER,
        queue_of(arrays, "before"),
        jax.random.key(0),
        jax.tree.map(jnp.asarray, golden.official.teacher),
    )
    inputs = inputs_of(arrays, arrays)
    negatives = rows_of_negatives(arrays, golden.sizes["batch"])
    outputs = step(REPLAY, arrays["alpha"], state, inputs, negatives)
    return outputs, pack_masked(golden.recipe, inputs.masked.selected), arrays


@pytest.fixture(scope="module", params=["pretrain_alpha00", "pretrain_alpha04"])
def full(golden, step, request):
    return request.param, *replay(golden, step, request.param)


@pytest.fixture(scope="module", params=["pretrain_temp_low", "pretrain_temp_high"])
def clamped(golden, step, request):
    return request.param, *replay(golden, step, request.param)


def compare_losses(compare, metrics, recorded, where, itc=LOSSES):
    for ours, theirs in LOSS_NAMES.items():
        tolerance = itc if ours == "loss_itc" else LOSSES
        compare.add(ours, metrics[ours], recorded[theirs], tolerance, where)


def compare_queue(compare, queue, recorded, where):
    after = queue_of(recorded, "after")
    compare.add("image_queue after", queue.image, after.image, KEPT, where)
    compare.add("text_queue after", queue.text, after.text, KEPT, where)
    compare.add("queue_ptr after", queue.pointer, after.pointer, 0, where)


def test_losses(full, compare):
    name, (_, metrics, _), positions, recorded = full
    assert int(positions.overflow.sum()) == 0
    compare_losses(compare, metrics, recorded, name)


def test_activations(full, compare):
    name, (_, _, inside), _, recorded = full
    student, teacher = inside["aux"]["student"], inside["aux"]["teacher"]
    ours = {
        "image_embeds": student.image_embeds,
        "text_embeds": student.text_embeds,
        "image_embeds_m": teacher.image_embeds,
        "image_feat": student.image_feat,
        "text_feat": student.text_feat,
        "image_feat_m": teacher.image_feat,
        "text_feat_m": teacher.text_feat,
        "itm_embeddings": jnp.concatenate(list(jnp.moveaxis(student.fused_cls, 1, 0))),
        "itm_logits": jnp.concatenate(list(jnp.moveaxis(student.itm_logits, 1, 0))),
    }
    for quantity, value in ours.items():
        compare.add(quantity, value, recorded[quantity], ACTIVATIONS, name)


def test_similarities(full, compare):
    name, (_, _, inside), _, recorded = full
    student = inside["aux"]["student"]
    for suffix, contrast in (
        ("", student.alignment.contrast),
        ("_m", student.alignment.teacher_contrast),
    ):
        for way, both in (("i2t", contrast.image_to_text), ("t2i", contrast.text_to_image)):
            ours = jnp.concatenate([both.group[0], both.queue[0]], axis=1)
            quantity = f"sim_{way}{suffix}"
            compare.add(quantity, ours, recorded[quantity], ACTIVATIONS, name)
    weights = jax.nn.softmax(student.alignment.contrast.text_to_image.group[0])
    # Official weights are a softmax over the first B columns, its diagonal set to zero.
    weights = weights * (1 - np.eye(len(weights)))
    compare.add("neg_image_weights", weights, recorded["neg_image_weights"], ACTIVATIONS, name)


def test_vocabulary_logits_at_masked_tokens(full, compare):
    name, (_, _, inside), positions, recorded = full
    used = np.asarray(positions.used[0])
    for quantity, ours in (
        ("mlm_logits", inside["aux"]["student"].mlm_logits),
        ("mlm_logits_m", inside["aux"]["teacher"].mlm_logits),
    ):
        theirs = np.asarray(masked_lm.gather(recorded[quantity], positions))[0][used]
        compare.add(quantity, np.asarray(ours[0])[used], theirs, ACTIVATIONS, name)


def test_gradients(golden, full, compare):
    name, (_, _, inside), _, recorded = full
    ours = state_dict.to_official_params(inside["grads"])
    norms = golden.json("pretrain_norms")[name.removeprefix("pretrain_")]["grad_l2_norm"]
    assert norms.keys() <= ours.keys()
    for parameter, theirs in norms.items():
        if not is_key_bias(parameter):
            norm = np.linalg.norm(np.asarray(ours[parameter], np.float64))
            compare.add("gradient norm", norm, theirs, GRADIENTS, f"{name} {parameter}")
    for key, theirs in recorded.items():
        if key.startswith("grad/"):
            parameter = key.removeprefix("grad/")
            compare.add("gradient", ours[parameter], theirs, GRADIENTS, f"{name} {parameter}")


def test_queue_and_teacher_after_the_step(golden, full, compare):
    name, (state, _, _), _, recorded = full
    compare_queue(compare, state.queue, recorded, name)
    official = state_dict.to_official(state.params, state.teacher, state.queue.arrays())
    for key, theirs in recorded.items():
        if key.startswith("momentum_after/"):
            parameter = key.removeprefix("momentum_after/")
            compare.add("teacher after", official[parameter], theirs, KEPT, f"{name} {parameter}")
    norms = golden.json("pretrain_norms")[name.removeprefix("pretrain_")]["momentum_l2_norm_after"]
    for parameter, theirs in norms.items():
        norm = np.linalg.norm(official[parameter].astype(np.float64))
        compare.add("teacher norm after", norm, theirs, KEPT, f"{name} {parameter}")


def test_clamped_temperature(clamped, compare):
    name, (state, metrics, inside), _, recorded = clamped
    tolerance = LOW_TEMPERATURE if name == "pretrain_temp_low" else LOSSES
    compare_losses(compare, metrics, recorded, name, itc=tolerance)
    compare.add("temp_after", metrics["temperature"], recorded["temp_after"], KEPT, name)
    gradient = inside["grads"]["temperature"]
    compare.add("gradient", gradient, recorded["grad/temp"], GRADIENTS, f"{name} temp")
    compare_queue(compare, state.queue, recorded, name)


@pytest.fixture(scope="module", params=TRACES)
def trace(golden, step, request):
    """Six steps of the training loop: the record, metrics of each step, and the final state."""
    run, record = request.param, golden.json("pretrain_trace")[request.param]
    arrays, whose = golden.arrays("pretrain_trace"), 1 + TRACES.index(run)
    official = golden.official
    params, teacher, queues = jax.tree.map(
        jnp.asarray, (official.params, official.teacher, official.queues)
    )
    queue = Queue(**queues | {"pointer": jnp.int32(queues["pointer"])})
    state = state_from_params(params, OPTIMIZER, queue, jax.random.key(0), teacher)
    metrics = []
    for number in range(len(record["steps"])):
        batch = {name: arrays[name][number] for name in ("image", "text_ids", "text_mask")}
        decided = {
            name: arrays[f"{run}/{name}"][number]
            for name in ("masked_ids", "mlm_labels", "neg_image_idx", "neg_text_idx")
        }
        negatives = rows_of_negatives(decided, golden.sizes["batch"])
        state, measured, _ = step(whose, np.float32(0), state, inputs_of(batch, decided), negatives)
        metrics.append({**measured, "queue_ptr": state.queue.pointer})
    return run, record, arrays, metrics, state


def test_trace_of_steps(trace, compare):
    run, record, _, metrics, _ = trace
    for ours, theirs in zip(metrics, record["steps"], strict=True):
        where = f"{run} step {theirs['step']}"
        compare_losses(compare, ours, theirs, where)
        compare.add("trace lr", ours["lr"], theirs["lr"], 1e-6, where)
        compare.add("trace alpha", ours["alpha"], theirs["alpha"], 1e-6, where)
        compare.add("trace temperature", ours["temperature"], theirs["temp_used"], KEPT, where)
        compare.add("trace queue_ptr", ours["queue_ptr"], theirs["queue_ptr_after"], 0, where)


def test_trace_of_final_parameters(trace, compare):
    run, record, arrays, _, state = trace
    official = state_dict.to_official(state.params, state.teacher, state.queue.arrays())
    norms = {**record["final_param_l2_norm"], **record["final_momentum_l2_norm"]}
    compared = 0
    for parameter, theirs in norms.items():
        if not is_key_bias(parameter) and not parameter.endswith("qkv.bias"):
            norm = np.linalg.norm(official[parameter].astype(np.float64))
            compare.add("trace final norm", norm, theirs, KEPT, f"{run} {parameter}")
            compared += 1
    assert compared > len(norms) / 2
    for key, theirs in arrays.items():
        if key.startswith(f"{run}/final/"):
            parameter = key.removeprefix(f"{run}/final/")
            compare.add("trace final", official[parameter], theirs, KEPT, f"{run} {parameter}")


def test_decay_groups(trace):
    _, record, _, _, state = trace
    decayed = state_dict.to_official_params(
        jax.tree.map(
            lambda flag, leaf: np.full(leaf.shape, flag), decay_mask(state.params), state.params
        )
    )
    for group in record["param_groups"]:
        for parameter in group["names"]:
            assert bool(decayed[parameter].flat[0]) == (group["weight_decay"] > 0), parameter


def test_optimizer_is_adamw():
    """One step from zero moments moves every undecayed weight by the learning rate."""
    optimizer = adamw(lambda step: 0.1, 0.02)
    params = {"layer": {"kernel": jnp.ones(2), "bias": jnp.ones(2)}}
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    moved = optax.apply_updates(params, updates)["layer"]
    np.testing.assert_allclose(moved["bias"], 0.9, rtol=1e-6)
    np.testing.assert_allclose(moved["kernel"], 0.9 - 0.1 * 0.02, rtol=1e-6)
