"""Where arrays live."""

import jax
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from albef_jax.distributed import mesh as mesh_module
from albef_jax.distributed.mesh import make_mesh, state_shardings, to_devices


@pytest.fixture
def shard_everything(monkeypatch):
    monkeypatch.setattr(mesh_module, "MIN_SHARDED_SIZE", 64)


def specs(fsdp, state):
    shardings = state_shardings(make_mesh(fsdp), jax.eval_shape(lambda: state))
    return jax.tree.map(lambda sharding: sharding.spec, shardings)


def test_there_are_eight_devices():
    """Else XLA_FLAGS was set before the tests, without the count that conftest.py sets."""
    assert jax.device_count() == 8


@pytest.mark.parametrize("fsdp", [1, 2, 4, 8])
def test_mesh_shape(fsdp):
    mesh = make_mesh(fsdp)
    assert dict(mesh.shape) == {"data": 8 // fsdp, "fsdp": fsdp}
    assert sorted(device.id for device in mesh.devices.flat) == list(range(8))


def test_a_mesh_of_some_devices():
    mesh = make_mesh(2, devices=jax.devices()[2:6])
    assert dict(mesh.shape) == {"data": 2, "fsdp": 2}


@pytest.mark.parametrize("fsdp", [3, 16])
def test_a_shape_that_does_not_fit(fsdp):
    with pytest.raises(ValueError, match=f"mesh.fsdp={fsdp} does not divide the 8 devices"):
        make_mesh(fsdp)


def test_the_largest_dimension_is_sharded_never_the_layers(fresh_state, shard_everything):
    params = specs(2, fresh_state).params
    blocks = params["image_encoder"]["blocks"]
    assert blocks["qkv"]["kernel"] == P(None, None, "fsdp")  # [2, 32, 96]
    assert blocks["fc2"]["kernel"] == P(None, "fsdp", None)  # [2, 128, 32]
    assert blocks["norm1"]["scale"] == P(None, "fsdp")  # [2, 32]
    assert params["text_encoder"]["embeddings"]["word"]["embedding"] == P("fsdp", None)
    assert params["temperature"] == P()
    assert params["itm_head"]["bias"] == P()


def test_what_does_not_divide_stays_whole(fresh_state, shard_everything):
    # Position embeddings [1, 5, 32] over 8 go by their width; over 64, one would not divide.
    assert specs(8, fresh_state).params["image_encoder"]["pos_embed"] == P(None, None, "fsdp")
    layers = specs(8, fresh_state).params["text_encoder"]["embeddings"]
    assert layers["type"]["embedding"] == P()  # [2, 24] is too small


def test_small_arrays_stay_whole(fresh_state):
    params = specs(2, fresh_state).params
    assert params["image_encoder"]["blocks"]["qkv"]["kernel"] == P(None, None, "fsdp")  # 6144
    assert params["image_encoder"]["patch_embed"]["kernel"] == P(None, None, None, "fsdp")  # 6144
    assert params["text_encoder"]["embeddings"]["word"]["embedding"] == P()  # 2880


def test_without_fsdp_nothing_is_sharded(fresh_state, shard_everything):
    assert set(jax.tree.leaves(specs(1, fresh_state), is_leaf=lambda x: isinstance(x, P))) == {P()}


def test_equal_arrays_lie_equally(fresh_state, shard_everything):
    found = specs(4, fresh_state)
    moments = found.opt_state[0]
    assert moments.mu == moments.nu == found.params
    assert found.teacher == {name: found.params[name] for name in found.teacher}


def test_the_queue_is_on_every_device(fresh_state, shard_everything):
    found = specs(4, fresh_state)
    assert (found.queue.image, found.queue.text, found.queue.pointer) == (P(), P(), P())
    assert found.step == found.key == P()


@pytest.mark.parametrize("fsdp", [1, 4])
def test_rows_of_a_batch_go_to_all_devices_in_order(fsdp):
    rows = np.arange(48).reshape(16, 3)
    found = to_devices(make_mesh(fsdp), {"x": rows})["x"]
    np.testing.assert_array_equal(found, rows)
    places = [shard.index[0].start or 0 for shard in found.addressable_shards]
    assert sorted(places) == list(range(0, 16, 2))
    assert {shard.data.shape for shard in found.addressable_shards} == {(2, 3)}
