import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.train.mesh import make_mesh


def items(value: float) -> dict:
    tree = {"kernel": jnp.full((8, 4), value), "step": jnp.int32(value)}
    return {"params": tree, "train": {"key": jax.random.key(int(value)), "moments": (tree, tree)}}


def abstract(tree: dict, sharding) -> dict:
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree
    )


@pytest.fixture
def replicated():
    return NamedSharding(make_mesh(), PartitionSpec())


def test_round_trip_keeps_every_bit_and_the_random_key(tmp_path, replicated):
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.latest() is None
        checkpoints.save(3, items(3))
    with Checkpoints(tmp_path / "checkpoints", keep=2) as checkpoints:
        assert checkpoints.latest() == 3
        restored = checkpoints.restore(3, abstract(items(3), replicated))
    np.testing.assert_array_equal(restored["params"]["kernel"], np.full((8, 4), 3.0))
    key = restored["train"]["key"]
    np.testing.assert_array_equal(jax.random.key_data(key), jax.random.key_data(jax.random.key(3)))
    assert restored["train"]["moments"][1]["step"] == 3


def test_one_item_alone_onto_another_mesh(tmp_path):
    mesh = make_mesh(fsdp=4, devices=jax.devices()[:8])
    sharded = NamedSharding(mesh, PartitionSpec(None, "fsdp"))
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, items(1))
        wanted = {"params": {"kernel": jax.ShapeDtypeStruct((8, 4), jnp.float32, sharding=sharded)}}
        wanted["params"]["step"] = jax.ShapeDtypeStruct(
            (), jnp.int32, sharding=NamedSharding(mesh, PartitionSpec())
        )
        checkpoints._manager.wait_until_finished()
        restored = checkpoints.restore(1, wanted)
    assert restored.keys() == {"params"}
    kernel = restored["params"]["kernel"]
    assert kernel.addressable_shards[0].data.shape == (8, 1)


def test_keeps_the_newest(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3):
            checkpoints.save(step, items(step))
        checkpoints.save(3, items(4))  # saved already: left alone
    assert sorted(int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()) == [2, 3]
