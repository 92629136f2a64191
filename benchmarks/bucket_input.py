"""How long a device waits for data in a bucket, at a stated latency and bandwidth.

Tar shards of synthetic photographs lie in an S3 or GCS server on this machine, behind a proxy that
adds the latency to each request and limits the bandwidth of all together. Training reads them in a
shuffled order, one epoch from the bucket alone and one from the cache; a step of the device is a
pause of --step_ms. Server, proxy and reader share this machine's cores: on a real host, which has
its cores to itself, more pairs a second are possible. The S3 server answers one request after the
other, some hundred a second, so it limits what can be measured.

Example:
    python -m benchmarks.bucket_input --latency_ms=30 --mb_per_s=100 --step_ms=440
"""

import argparse
import io
import json
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches
from albef_jax.data.examples import PairExamples
from albef_jax.data.images.augment import TrainTransform
from albef_jax.data.shards.webdataset import TarPairs
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.storage import settings
from albef_jax.storage.paths import BucketPath
from benchmarks.input_pipeline import CAPTIONS, synthetic

# The servers and the proxy of the tests, whose code is not checked for types.
buckets, faulty_proxy = map(import_module, ("tests.helpers.buckets", "tests.helpers.faulty_proxy"))
_IMAGES = 32  # different ones
_AT_START = 2  # batches before the clock starts


def shards(folder: Path, count: int, samples: int) -> Iterator[Path]:
    """Tar shards as img2dataset writes them, with `samples` each."""
    images = synthetic(_IMAGES)
    for number in range(count):
        path = folder / f"{number:05d}.tar"
        with tarfile.open(path, "w") as tar:
            for place in range(samples):
                key = f"{number:05d}{place:04d}"
                told = {"jpg": images[place % _IMAGES], "txt": CAPTIONS[place % 3].encode()}
                for suffix, data in told.items():
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        yield path


def epoch(source: TarPairs, given: argparse.Namespace) -> dict[str, float]:
    """The share of time that the steps of an epoch wait, and pairs a second."""
    batches = shuffled_batches(
        PairExamples(source, TrainTransform(given.image_size), Tokenizer("scenes", 25), 30),
        len(source),
        batch_size=given.batch,
        seed=0,
        bad_samples=BadSamples(None, 0.0, len(source)),
        num_steps=len(source) // given.batch,
        threads=given.threads,
    )
    for _ in range(_AT_START):
        next(batches)
    waited, began, steps = 0.0, time.perf_counter(), 0
    while True:
        asked = time.perf_counter()
        if next(batches, None) is None:
            break
        waited += time.perf_counter() - asked
        steps += 1
        time.sleep(given.step_ms / 1000)
    spent = time.perf_counter() - began
    return {
        "data_wait": round(waited / spent, 4),
        "pairs_per_s": round(steps * given.batch / spent, 1),
    }


def measure(proxy: Any, given: argparse.Namespace, folder: Path) -> dict[str, object]:
    """The index of the shards, an epoch from the bucket, and one from the cache."""
    address = BucketPath(f"{given.kind}://{buckets.BUCKET}/data")
    paths = []
    for path in shards(folder, given.shards, given.samples):
        paths.append(address / path.name)
        paths[-1].upload(path)
    proxy.forget()
    seconds, limit = given.latency_ms / 1000, given.mb_per_s * 1e6
    fault = faulty_proxy.Fault(latency=seconds, bandwidth=limit)
    with proxy.faulty(fault):
        began = time.perf_counter()
        source = TarPairs(paths)
        indexed = time.perf_counter() - began
        for region in (folder / "cache" / "data" / "regions").rglob("*"):
            if region.is_file():  # the scan has left them
                region.unlink()
        found: dict[str, object] = {"index_s": round(indexed, 2)}
        for name in ("first_epoch", "from_the_cache"):
            proxy.requests.clear()
            proxy.bytes = 0
            told = epoch(source, given)
            told["requests_per_pair"] = round(len(proxy.requests) / len(source), 2)
            told["kb_per_pair"] = round(proxy.bytes / len(source) / 1000, 1)
            found[name] = told
    return found


def main() -> None:
    """Measure and print one JSON line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--kind", choices=("gs", "s3"), default="gs", help="of the server")
    add("--latency_ms", type=float, default=30.0, help="of each request")
    add("--mb_per_s", type=float, default=100.0, help="of all requests together, 10^6 bytes")
    add("--step_ms", type=float, default=440.0, help="a step of the device; 440, as tiny on a CPU")
    add("--batch", type=int, default=32, help="pairs of a step")
    add("--image_size", type=int, default=64, help="that comes out, in pixels")
    add("--threads", type=int, default=8, help="data.threads")
    add("--shards", type=int, default=4, help="how many")
    add("--samples", type=int, default=256, help="of a shard")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with buckets.store(given.kind) as server, tempfile.TemporaryDirectory() as name:
        os.environ.update(server.environment)
        settings.use(settings.Settings(60, f"{name}/cache", 10.0))
        found = measure(server.proxy, given, Path(name))
    told = {
        "benchmark": "bucket_input",
        **vars(given),
        **found,
        "cores": os.cpu_count(),
        "load_at_the_start": round(load, 1),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
