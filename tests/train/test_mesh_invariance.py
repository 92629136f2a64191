"""Six steps on any mesh of eight devices are six steps on one device."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.distributed import mesh as mesh_module
from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.losses.queue import init_queue
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import state_from_params
from albef_jax.train.step import StepConfig, compile_step

STEPS, BATCH, GROUP, RATE = 6, 64, 8, 1e-4
TOLERANCE = 1e-5
MESHES = {f"data {8 // fsdp}, fsdp {fsdp}": fsdp for fsdp in (1, 2, 4, 8)}


def step_config(tiny):
    return StepConfig(
        loss=PretrainingLoss(
            replace(tiny.config, dropout=0.1, attention_dropout=0.1), Recipe(contrast_group=GROUP)
        ),
        optimizer=adamw(lambda step: jnp.float32(RATE), 0.02),
        learning_rate=lambda step: jnp.float32(RATE),
        alpha=lambda step: jnp.float32(0.4),
    )


def batches():
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        mask = (np.arange(6) < rng.integers(3, 7, (BATCH, 1))).astype(np.int32)
        text_ids = rng.integers(1, 100, (BATCH, 6), np.int32)
        text_ids[:, 0] = 101
        image = rng.integers(0, 256, (BATCH, 16, 16, 3), np.uint8)
        yield {"image": image, "text_ids": text_ids * mask, "text_mask": mask}


def run(tiny, mesh):
    """Metrics of each step, the last state in host memory, and its shards' shapes."""
    config = step_config(tiny)
    state = state_from_params(
        jax.tree.map(jnp.copy, tiny.params),  # the step donates its state
        config.optimizer,
        init_queue(jax.random.key(1), 2 * BATCH, 8),
        jax.random.key(2),
    )
    shardings = state_shardings(mesh, state)
    abstract = jax.eval_shape(lambda: state)
    state = jax.device_put(state, shardings)
    step = compile_step(config, mesh, abstract)
    history = []
    for batch in batches():
        state, metrics = step(state, to_devices(mesh, batch))
        history.append({name: float(value) for name, value in metrics.items()})
    shards = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data.shape, state.params)
    kept = {"params": state.params, "teacher": state.teacher, "queue": state.queue._asdict()}
    return history, jax.tree.map(np.asarray, kept), shards


@pytest.fixture(scope="module")
def small_arrays_are_sharded():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_module, "MIN_SHARDED_SIZE", 256)
        yield


@pytest.fixture(scope="module")
def alone(tiny, small_arrays_are_sharded):
    return run(tiny, make_mesh(1, devices=jax.devices()[:1]))


@pytest.fixture(scope="module", params=list(MESHES.values()), ids=list(MESHES))
def spread(tiny, small_arrays_are_sharded, request):
    return request.param, *run(tiny, make_mesh(request.param))


def without_key_biases(path, leaf):
    """Zero gradient but for rounding, which Adam enlarges to full steps."""
    keys = [entry.key for entry in path]
    if keys[-2:] == ["key", "bias"]:
        return np.zeros(1)
    if keys[-2:] == ["qkv", "bias"]:
        return np.delete(leaf.reshape(len(leaf), 3, -1), 1, axis=1)
    return leaf


def test_metrics(alone, spread):
    _, history, _, _ = spread
    for step, (found, expected) in enumerate(zip(history, alone[0], strict=True)):
        for name in expected:
            where = f"{name} of step {step}"
            assert found[name] == pytest.approx(expected[name], rel=TOLERANCE), where


def test_parameters_teacher_and_queue(alone, spread):
    _, _, found, _ = spread

    def compare(path, ours, expected):
        ours, expected = (without_key_biases(path, leaf) for leaf in (ours, expected))
        scale = np.abs(expected).max()
        where = jax.tree_util.keystr(path)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * scale, err_msg=where)

    jax.tree.map_with_path(compare, found, alone[1])


def test_fsdp_shards_parameters(tiny, spread):
    fsdp, _, _, shards = spread
    qkv = shards["image_encoder"]["blocks"]["qkv"]["kernel"]
    word = shards["text_encoder"]["embeddings"]["word"]["embedding"]
    assert qkv == (2, 32, 96 // fsdp)
    assert word == (120 // fsdp, 24)
    whole = sum(leaf.size for leaf in jax.tree.leaves(tiny.params))
    shapes = jax.tree.leaves(shards, is_leaf=lambda leaf: isinstance(leaf, tuple))
    here = sum(int(np.prod(shape)) for shape in shapes)
    # Norms, biases and the second segment's embedding are whole on each device.
    assert here < whole / fsdp + 3000


def test_the_run_did_something(tiny, alone):
    history, kept, _ = alone
    losses = [metrics["loss"] for metrics in history]
    assert len(set(losses)) == STEPS
    moved = np.abs(kept["params"]["text_proj"]["kernel"] - tiny.params["text_proj"]["kernel"])
    assert 3 * RATE < moved.max() < 7 * RATE
