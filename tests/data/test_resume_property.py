"""Wherever a run stops, and whoever goes on, the same samples come in the same order.

Random stop points, and numbers of threads, workers and hosts, which may change at each start.
"""

import json

import cv2
import numpy as np
import pytest

from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches, steps_per_epoch
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.errors import BadSample

SIZE, BATCH, EPOCHS = 27, 4, 3
STEPS = EPOCHS * steps_per_epoch(SIZE, BATCH)
ROTTEN = 5  # this record cannot be read


def json_source(directory):
    scenes, items = ScenesSource("train", SIZE, 32), []
    for index in range(SIZE):
        cv2.imwrite(str(directory / f"{index}.png"), scenes[index].image)
        items.append({"image": f"{index}.png", "caption": list(scenes[index].captions)})
    (directory / "pairs.json").write_text(json.dumps(items))
    return JsonPairs([directory / "pairs.json"], directory)


@pytest.fixture(scope="module", params=["scenes", "json", "rotten", "mixture"])
def source(request, tmp_path_factory):
    if request.param == "json":
        return json_source(tmp_path_factory.mktemp("pairs"))
    if request.param == "mixture":
        parts = {"large": ScenesSource("train", SIZE - 7, 32), "small": ScenesSource("val", 7, 32)}
        return MixedPairs(parts, [1.0, 1.0])
    scenes = ScenesSource("train", SIZE, 32)
    if request.param == "scenes":
        return scenes

    class Rotten:
        def __len__(self):
            return SIZE

        def __getitem__(self, index):
            if index == ROTTEN:
                raise BadSample("5.png", "not an image")
            return scenes[index]

    return Rotten()


def read_part(source, start, stop, hosts, threads, workers=0):
    """Steps `start` to `stop`, joined over hosts: sample numbers and random draws."""

    def read(index, rng):
        pair = source[index]
        caption = rng.integers(len(pair.captions))
        return {"draw": rng.integers(1 << 30), "pixels": pair.image.sum(), "caption": caption}

    of_hosts = []
    for host in range(hosts):
        batches = shuffled_batches(
            read,
            SIZE,
            batch_size=BATCH,
            seed=3,
            bad_samples=BadSamples(None, 1.0, SIZE),
            start_step=start,
            num_steps=stop - start,
            process_index=host,
            process_count=hosts,
            threads=threads,
            workers=workers,
            order=source.order(BATCH, 3) if isinstance(source, MixedPairs) else None,
        )
        of_hosts.append(list(batches))
    return [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*of_hosts, strict=True)
    ]


@pytest.fixture(scope="module")
def unbroken(source):
    return read_part(source, 0, STEPS, hosts=1, threads=0)


def stop_and_go_on(source, unbroken, rng, most_workers):
    stops = np.unique(rng.integers(1, STEPS, size=rng.integers(1, 5)))
    found = []
    for start, stop in zip([0, *stops], [*stops, STEPS], strict=True):
        hosts, threads = int(rng.choice([1, 2])), int(rng.choice([0, 1, 3, 8]))
        workers = int(rng.integers(most_workers + 1))
        found += read_part(source, int(start), int(stop), hosts, threads, workers)
    assert len(found) == STEPS
    for ours, theirs in zip(found, unbroken, strict=True):
        for key in theirs:
            np.testing.assert_array_equal(ours[key], theirs[key])


@pytest.mark.parametrize("seed", range(6))
def test_the_samples_are_those_of_the_unbroken_run(source, unbroken, seed):
    stop_and_go_on(source, unbroken, np.random.default_rng(seed), most_workers=0)


@pytest.mark.slow  # each worker takes seconds to start
@pytest.mark.parametrize("seed", range(2))
def test_with_workers_too(source, unbroken, seed):
    stop_and_go_on(source, unbroken, np.random.default_rng(seed), most_workers=3)


def test_each_sample_once_an_epoch(source, unbroken, request):
    per_epoch = steps_per_epoch(SIZE, BATCH)
    if isinstance(source, MixedPairs):
        drawn = np.concatenate([batch["sample_index"] for batch in unbroken])
        for part in (drawn[drawn < SIZE - 7], drawn[drawn >= SIZE - 7]):
            assert len(part) == EPOCHS * per_epoch * BATCH // 2
            counts = np.unique(part, return_counts=True)[1]
            assert counts.max() - counts.min() <= 1  # each record as often as the others
        return
    rotten = "rotten" in request.node.name
    orders = []
    for epoch in range(EPOCHS):
        batches = unbroken[epoch * per_epoch : (epoch + 1) * per_epoch]
        order = np.concatenate([batch["sample_index"] for batch in batches])
        orders.append(order.tolist())
        assert ROTTEN not in order or not rotten
        # for a record that cannot be read another one comes twice
        assert len(set(orders[-1])) >= len(order) - rotten
        assert len(order) == SIZE - SIZE % BATCH
    assert orders[0] != orders[1] != orders[2]
