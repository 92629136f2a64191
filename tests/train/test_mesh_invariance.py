"""Six steps on a mesh of eight devices are six steps on one device; and what the eight say to each
other in a step, read from the compiled program.

Meshes of other shapes are in `test_step_on_a_mesh`, with a loss that compiles in a second.
"""

from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.distributed import mesh as mesh_module
from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.train.optimizer import adamw
from albef_jax.train.step import StepConfig, compile_step
from benchmarks.collectives import bytes_by_kind, collectives, host_transfers
from tests.helpers.tiny_model import state_of

STEPS, BATCH, GROUP, RATE = 6, 64, 8, 1e-4
TOLERANCE = 1e-5
LENGTH, QUEUE = 6, 1600  # no other dimension is as long as the queue
MESHES = {f"data {8 // fsdp}, fsdp {fsdp}": fsdp for fsdp in (1, 4)}


class Run(NamedTuple):
    """Metrics of each step, the last state in host memory, and the program's text."""

    history: list
    kept: dict
    program: str


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
        mask = (np.arange(LENGTH) < rng.integers(3, 7, (BATCH, 1))).astype(np.int32)
        text_ids = rng.integers(1, 100, (BATCH, LENGTH), np.int32)
        text_ids[:, 0] = 101
        image = rng.integers(0, 256, (BATCH, 16, 16, 3), np.uint8)
        yield {"image": image, "text_ids": text_ids * mask, "text_mask": mask}


def start_of(tiny):
    return state_of(tiny.params, step_config(tiny).optimizer, QUEUE)


def run(tiny, mesh):
    state = start_of(tiny)
    shardings, abstract = state_shardings(mesh, state), jax.eval_shape(lambda: state)
    state = jax.device_put(state, shardings)
    first, *others = (to_devices(mesh, batch) for batch in batches())
    step = compile_step(step_config(tiny), mesh, abstract).lower(state, first).compile()
    history = []
    for batch in (first, *others):
        state, metrics = step(state, batch)
        history.append({name: float(value) for name, value in metrics.items()})
    assert jax.tree.map(lambda leaf: leaf.sharding, state.params) == shardings.params
    kept = {"params": state.params, "teacher": state.teacher, "queue": state.queue._asdict()}
    return Run(history, jax.device_get(kept), step.as_text())


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
    return request.param, run(tiny, make_mesh(request.param))


def without_key_biases(path, leaf):
    """Zero gradient but for rounding, which Adam enlarges to full steps."""
    keys = [entry.key for entry in path]
    if keys[-2:] == ["key", "bias"]:
        return np.zeros(1)
    if keys[-2:] == ["qkv", "bias"]:
        return np.delete(leaf.reshape(len(leaf), 3, -1), 1, axis=1)
    return leaf


def test_metrics(alone, spread):
    history = spread[1].history
    for step, (found, expected) in enumerate(zip(history, alone.history, strict=True)):
        for name in expected:
            where = f"{name} of step {step}"
            assert found[name] == pytest.approx(expected[name], rel=TOLERANCE), where


def test_parameters_teacher_and_queue(alone, spread):
    def compare(path, ours, expected):
        ours, expected = (without_key_biases(path, leaf) for leaf in (ours, expected))
        scale = np.abs(expected).max()
        where = jax.tree_util.keystr(path)
        np.testing.assert_allclose(ours, expected, rtol=0, atol=TOLERANCE * scale, err_msg=where)

    jax.tree.map_with_path(compare, spread[1].kept, alone.kept)


def test_the_run_did_something(tiny, alone):
    losses = [metrics["loss"] for metrics in alone.history]
    assert len(set(losses)) == STEPS
    moved = np.abs(alone.kept["params"]["text_proj"]["kernel"] - tiny.params["text_proj"]["kernel"])
    assert 3 * RATE < moved.max() < 7 * RATE


@pytest.mark.parametrize("fsdp", [1, 2, 4, 8])
def test_fsdp_shards_parameters(tiny, small_arrays_are_sharded, fsdp):
    shardings = state_shardings(make_mesh(fsdp), start_of(tiny)).params
    shards = jax.tree.map(lambda leaf, to: to.shard_shape(leaf.shape), tiny.params, shardings)
    assert shards["image_encoder"]["blocks"]["qkv"]["kernel"] == (2, 32, 96 // fsdp)
    assert shards["text_encoder"]["embeddings"]["word"]["embedding"] == (120 // fsdp, 24)
    whole = sum(leaf.size for leaf in jax.tree.leaves(tiny.params))
    shapes = jax.tree.leaves(shards, is_leaf=lambda leaf: isinstance(leaf, tuple))
    here = sum(int(np.prod(shape)) for shape in shapes)
    # Norms, biases and the second segment's embedding are whole on each device.
    assert here < whole / fsdp + 3000


def size(tree) -> int:
    return sum(4 * leaf.size for leaf in jax.tree.leaves(tree))


def test_no_message_is_as_long_as_the_queue(spread):
    text = spread[1].program
    lengths = {n for found in collectives(text) for shape in found.shapes for n in shape}
    assert lengths
    assert QUEUE not in lengths
    assert f"[{BATCH},{QUEUE}]" not in text  # nor are similarities of the whole batch anywhere


def test_with_data_parallelism_gradients_are_summed_and_features_gathered(spread, tiny):
    fsdp, (_, _, text) = spread
    sent = bytes_by_kind(collectives(text))
    features = 2 * 4 * BATCH * tiny.config.embed_dim
    gradients = size(tiny.params)
    if fsdp == 1:
        assert sent.keys() == {"all-reduce", "all-gather"}
        assert sent["all-gather"] == features
        # Besides gradients: losses, accuracies and counts; and the word embedding's gradient comes
        # from lookups and from the vocabulary head, which the CPU compiler sums one by one.
        word = size(tiny.params["text_encoder"]["embeddings"]["word"])
        assert gradients <= sent["all-reduce"] <= gradients + word + 1000
    else:
        # Parameters and teacher are gathered for use: once, or again for the backward pass.
        assert sent["all-gather"] <= features + 3 * gradients
        assert sent["all-reduce"] <= 2 * gradients + 2000


def test_no_activations_are_moved(spread, tiny):
    """Parameters come to the rows of the batch, not the rows to the parameters.

    Left alone, XLA moves rows in stacks that are loops, and not where they are unrolled.
    """
    text = spread[1].program
    assert " while(" in text
    # The gradients of an image block's three projections are put together where their parts are.
    parts = "transpose(jvp(ImageEncoder))/while/body/closed_call/blocks/blocks/concatenate"
    text = "\n".join(line for line in text.splitlines() if parts not in line)
    # With more than two axes there are whole arrays, and parts of the patch embedding's kernel.
    whole = {leaf.shape for leaf in jax.tree.leaves(tiny.params)}
    patch = tiny.params["image_encoder"]["patch_embed"]["kernel"].shape
    long = {shape for found in collectives(text) for shape in found.shapes if len(shape) > 2}
    assert not {shape for shape in long - whole if shape[:3] != patch[:3]}


def test_parameters_are_gathered_inside_a_slice(spread, tiny):
    """Between two slices of four devices, gradients are summed and features gathered, no more."""
    fsdp, (_, _, text) = spread
    slices = make_mesh(fsdp, slices=2).devices.reshape(2, -1)
    assert (slices == np.array(jax.devices()).reshape(2, 4)).all()  # so it is the same program
    between = bytes_by_kind([one for one in collectives(text) if one.crosses(4)])
    assert between.keys() == {"all-reduce", "all-gather"}
    # Gradients of what is cut, an fsdp-th of it; some small ones come in several parts.
    assert between["all-reduce"] <= (1.2 if fsdp == 1 else 0.5) * size(tiny.params)
    assert between["all-gather"] <= 2 * 4 * BATCH * tiny.config.embed_dim


def test_nothing_goes_to_the_host(spread):
    assert host_transfers(spread[1].program) == []
