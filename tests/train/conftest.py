import jax
import pytest

from albef_jax.train.mesh import make_mesh


@pytest.fixture(scope="module")
def one_device():
    """Whole runs on one device compile in half the time; meshes have tests of their own."""
    alone = make_mesh(devices=jax.devices()[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("albef_jax.run.make_mesh", lambda fsdp: alone)
        yield alone
