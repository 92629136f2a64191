"""What eight devices say to each other in one step, read from the compiled program."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.distributed import mesh as mesh_module
from albef_jax.distributed.mesh import batch_sharding, make_mesh, state_shardings
from albef_jax.losses.pretraining import PretrainingLoss, Recipe
from albef_jax.losses.queue import init_queue
from albef_jax.train.optimizer import adamw
from albef_jax.train.state import state_from_params
from albef_jax.train.step import StepConfig, compile_step
from benchmarks.collectives import bytes_by_kind, collectives, host_transfers

BATCH, GROUP, LENGTH = 64, 8, 6
QUEUE = 1600  # no other dimension is as long


def compiled(tiny, fsdp):
    """The program of one step, and the state it is for."""
    config = StepConfig(
        loss=PretrainingLoss(
            replace(tiny.config, dropout=0.1, attention_dropout=0.1), Recipe(contrast_group=GROUP)
        ),
        optimizer=adamw(lambda step: jnp.float32(1e-4), 0.02),
        learning_rate=lambda step: jnp.float32(1e-4),
        alpha=lambda step: jnp.float32(0.4),
    )
    mesh = make_mesh(fsdp)
    state = jax.eval_shape(
        lambda: state_from_params(
            tiny.params,
            config.optimizer,
            init_queue(jax.random.key(1), QUEUE, tiny.config.embed_dim),
            jax.random.key(2),
        )
    )
    placed = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        state,
        state_shardings(mesh, state),
    )
    rows = batch_sharding(mesh)
    text = jax.ShapeDtypeStruct((BATCH, LENGTH), jnp.int32, sharding=rows)
    image = jax.ShapeDtypeStruct((BATCH, 16, 16, 3), jnp.uint8, sharding=rows)
    batch = {"image": image, "text_ids": text, "text_mask": text}
    return compile_step(config, mesh, state).lower(placed, batch).compile(), state


@pytest.fixture(scope="module", params=[1, 4], ids=["data 8", "data 2, fsdp 4"])
def program(tiny, request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mesh_module, "MIN_SHARDED_SIZE", 256)
        step, state = compiled(tiny, request.param)
    return request.param, step.as_text(), state


def size(tree) -> int:
    return sum(4 * leaf.size for leaf in jax.tree.leaves(tree))


def test_no_message_is_as_long_as_the_queue(program):
    _, text, _ = program
    lengths = {n for found in collectives(text) for shape in found.shapes for n in shape}
    assert lengths
    assert QUEUE not in lengths
    assert f"[{BATCH},{QUEUE}]" not in text  # nor are similarities of the whole batch anywhere


def test_with_data_parallelism_gradients_are_summed_and_features_gathered(program, tiny):
    fsdp, text, state = program
    sent = bytes_by_kind(collectives(text))
    features = 2 * 4 * BATCH * tiny.config.embed_dim
    gradients = size(state.params)
    if fsdp == 1:
        assert sent.keys() == {"all-reduce", "all-gather"}
        assert sent["all-gather"] == features
        # Besides gradients: losses, accuracies and counts; and the word embedding's gradient comes
        # from lookups and from the vocabulary head, which the CPU compiler sums one by one.
        word = size(state.params["text_encoder"]["embeddings"]["word"])
        assert gradients <= sent["all-reduce"] <= gradients + word + 1000
    else:
        # Parameters and teacher are gathered for use: once, or again for the backward pass.
        assert sent["all-gather"] <= features + 3 * gradients
        assert sent["all-reduce"] <= 2 * gradients + 2000


def test_no_activations_are_moved(program):
    """Parameters come to the rows of the batch, not the rows to the parameters.

    Left alone, XLA moves rows in stacks that are loops, and not where they are unrolled.
    """
    _, text, state = program
    assert " while(" in text
    # With more than two axes there are whole arrays, and parts of the patch embedding's kernel.
    whole = {leaf.shape for leaf in jax.tree.leaves(state.params)}
    patch = state.params["image_encoder"]["patch_embed"]["kernel"].shape
    long = {shape for found in collectives(text) for shape in found.shapes if len(shape) > 2}
    assert not {shape for shape in long - whole if shape[:3] != patch[:3]}


def test_nothing_goes_to_the_host(program):
    _, text, _ = program
    assert host_transfers(text) == []


def test_loops_and_tuples_are_counted():
    """A message in a loop of 12 turns, and one of two arrays outside."""
    text = """HloModule step

%body.1 (arg: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %gathered = bf16[4,8]{1,0} all-gather(%x), dimensions={0}
}

ENTRY %main.2 (p: f32[2]) -> f32[2] {
  %loop = (s32[]) while(%t), condition=%c, body=%body.1, config={"known_trip_count":{"n":"12"}}
  %both = (f32[3,5]{1,0}, f32[]) all-reduce(%a, %b), to_apply=%sum
  %host = f32[2] custom-call(%y), custom_call_target="xla_python_cpu_callback"
}
"""
    found = {one.kind: one for one in collectives(text)}
    assert found["all-gather"].bytes == 12 * 4 * 8 * 2
    assert found["all-gather"].times == 12
    assert found["all-reduce"].shapes == ((3, 5), ())
    assert bytes_by_kind(list(found.values())) == {"all-gather": 768, "all-reduce": 64}
    assert len(host_transfers(text)) == 1


def test_one_program_for_all_batches(tiny, fresh_state, batch):
    """The second batch, and the state that a step returns, find the compiled program."""
    config = StepConfig(
        loss=PretrainingLoss(tiny.config, Recipe(contrast_group=8)),
        optimizer=adamw(lambda step: jnp.float32(1e-4), 0.02),
        learning_rate=lambda step: jnp.float32(1e-4),
        alpha=lambda step: jnp.float32(0.4),
    )
    mesh = make_mesh(1, devices=jax.devices()[:1])
    step = compile_step(config, mesh, jax.eval_shape(lambda: fresh_state))
    state = jax.device_put(jax.tree.map(jnp.copy, fresh_state), state_shardings(mesh, fresh_state))
    for _ in range(3):
        arrays = {name: np.asarray(value) for name, value in batch._asdict().items()}
        state, _ = step(state, jax.device_put(arrays, batch_sharding(mesh)))
    assert step._cache_size() == 1
