from functools import partial

import pytest

from albef_jax.data.prepare.packing import pack
from albef_jax.data.prepare.plan import PackingError, Plan
from albef_jax.data.scenes.source import ScenesSource

pytest.importorskip("apache_beam", reason="the extra 'beam' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Beam's own, of the libraries that it uses

OPEN = partial(ScenesSource, "train", 7, 32)
PLAN = Plan(7, shard_size=3, vocab="scenes")


def contents(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


@pytest.fixture
def pack_with_beam():
    from albef_jax.data.prepare.with_beam import HERE, pack_with_beam

    return partial(pack_with_beam, arguments=list(HERE))


def test_beam_packs_the_same_shards(tmp_path, pack_with_beam):
    manifest = pack_with_beam(OPEN, PLAN, tmp_path / "beam")
    assert manifest == pack(OPEN(), PLAN, tmp_path / "plain", 1, bar=False)
    assert contents(tmp_path / "beam") == contents(tmp_path / "plain")


def test_beam_goes_on_with_what_is_left(tmp_path, pack_with_beam, monkeypatch):
    monkeypatch.setattr("albef_jax.data.prepare.packing.complete", lambda out, plan: {})
    pack(OPEN(), PLAN, tmp_path, 1, bar=False)
    (tmp_path / PLAN.file(1)).unlink()
    times = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.array_record")}
    assert pack_with_beam(OPEN, PLAN, tmp_path)["records"] == 7
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("*.array_record")}
    assert len(after) == 3 and times.items() <= after.items()


def test_beam_refuses_a_directory_of_other_options(tmp_path, pack_with_beam):
    pack(OPEN(), PLAN, tmp_path, 1, bar=False)
    with pytest.raises(PackingError, match="shard_size: 3 before, 2 now"):
        pack_with_beam(OPEN, Plan(7, shard_size=2, vocab="scenes"), tmp_path)
