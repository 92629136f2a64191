"""Data in a bucket that fails: faults of the network that pass, and shards that cannot be used."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from albef_jax.config.file_patterns import expand
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.shards.webdataset import TarPairs
from albef_jax.errors import BadSample, TooManyBadSamples
from albef_jax.storage import settings
from albef_jax.storage.retries import StorageError
from tests.helpers.faulty_proxy import Fault
from tests.helpers.in_buckets import equal, uploaded
from tests.helpers.worker_batches import batches

FAULTS = [
    Fault("GET", status=503, probability=0.2, seed=1),
    Fault("GET", drop_after=300, probability=0.2, seed=2),
]


@pytest.mark.parametrize("fault", FAULTS, ids=["503", "dropped"])
def test_batches_are_the_same_through_faults(bucket, cache_dir, tars, fault):
    expected = list(batches(TarPairs(sorted(tars.glob("*.tar"))), 0, num_steps=3))
    uploaded(tars, bucket.address)
    with bucket.proxy.faulty(fault):
        found = TarPairs(expand(bucket.address, "*.tar"))
        got = list(batches(found, 0, num_steps=3))
    assert fault.hits
    for ours, theirs in zip(got, expected, strict=True):
        assert all(np.array_equal(ours[key], theirs[key]) for key in theirs)


def test_shards_that_cannot_be_used_are_named(bucket, cache_dir, tars):
    remote = uploaded(tars, bucket.address)
    remote[0].write_bytes((tars / "00000.tar").read_bytes()[:3000])
    with pytest.raises(ValueError, match="cannot be used:") as error:
        TarPairs([*remote[:2], f"{bucket.address}/no.tar"])
    told = str(error.value)
    assert f"{remote[0]}: cut short, or still being written" in told
    assert f"{bucket.address}/no.tar: cannot be read: there is no such object" in told
    assert str(remote[1]) not in told


def test_a_denied_shard_is_named(bucket, cache_dir, tars):
    remote = [path for path in uploaded(tars, bucket.address) if path.suffix == ".tar"]
    denied = Fault("00001.tar", status=403)
    with bucket.proxy.faulty(denied), pytest.raises(ValueError, match="cannot be used:") as error:
        TarPairs(remote)
    assert f"{remote[1]}: cannot be read: access denied" in str(error.value)
    assert f"{remote[0]}:" not in str(error.value)


def test_one_of_several_readers_scans_a_shard(bucket, cache_dir, tars):
    """As the processes of a host do that start together."""
    uploaded(tars, bucket.address)
    with ThreadPoolExecutor(4) as pool, bucket.proxy.faulty(Fault(latency=0.05)):
        found = list(pool.map(lambda _: len(TarPairs(expand(bucket.address, "*.tar"))), range(4)))
    assert found == [6] * 4
    scans = [request for request in bucket.proxy.requests if reads(request, "00001.tar")]
    assert len(scans) == 1


def test_a_cache_that_cannot_be_written_is_no_obstacle(bucket, cache_dir, tars):
    uploaded(tars, bucket.address)
    cache_dir.write_bytes(b"a file")
    found = TarPairs(expand(bucket.address, "*.tar"))
    equal([found[n] for n in range(6)], [TarPairs(sorted(tars.glob("*.tar")))[n] for n in range(6)])


def reads(request, name):
    content = "alt=media" in request or "?" not in request
    return request.startswith("GET") and request.partition("?")[0].endswith(name) and content


def test_a_shard_that_vanishes_is_bad_and_bounded(bucket, cache_dir, tars, tmp_path):
    remote = [path for path in uploaded(tars, bucket.address) if path.suffix == ".tar"]
    found = TarPairs(remote)
    remote[1]._folder().delete([remote[1]._key])  # by somebody else, after the index was made
    emptied(cache_dir)
    with pytest.raises(BadSample, match=r"there is no such object|the shard was changed"):
        found[5]
    register = BadSamples(None, 1.0, len(found))
    list(batches(found, 0, register, num_steps=3))
    assert 1 <= register.count <= 2
    with pytest.raises(TooManyBadSamples, match=r"00001\.tar"):
        list(batches(found, 0, BadSamples(None, 0.01, len(found)), num_steps=20))


def test_a_shard_that_is_written_again_is_bad(bucket, cache_dir, tars):
    remote = [path for path in uploaded(tars, bucket.address) if path.suffix == ".tar"]
    found = TarPairs(remote)
    remote[1]._folder().upload(tars / "00000.tar", remote[1]._key)
    emptied(cache_dir)
    with pytest.raises(BadSample, match="the shard was changed during the run; start it again"):
        found[5]
    remote[1]._forget()
    with pytest.raises(BadSample, match="the shard was changed during the run; start it again"):
        found[5]
    assert len(TarPairs(remote)) == 8


@pytest.mark.parametrize("workers", [0, 1])
def test_a_network_that_fails_is_no_bad_sample(bucket, cache_dir, tars, workers, monkeypatch):
    if bucket.kind == "gs":
        pytest.skip("gcsfs itself tries for half a minute")
    uploaded(tars, bucket.address)
    monkeypatch.setattr(settings, "_current", settings.Settings(0.6, str(cache_dir), 0.05))
    found = TarPairs(expand(bucket.address, "*.tar"))
    emptied(cache_dir)
    register = BadSamples(None, 1.0, len(found))
    with bucket.proxy.faulty(Fault(status=503)), pytest.raises(StorageError) as error:
        list(batches(found, workers, register, num_steps=1))
    assert "no success for" in str(error.value) and register.count == 0


def emptied(cache_dir):
    for path in (cache_dir / "data" / "regions").rglob("*"):
        if path.is_file():
            path.unlink()
