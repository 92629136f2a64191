"""Mixtures: shares of an epoch, passes over each part, and the pipeline's promises kept."""

from collections import Counter

import numpy as np
import pytest

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.records import Pair
from albef_jax.errors import BadSample

SIZES = {"few": 6, "many": 50, "some": 24}  # 80 in all
BATCH = 8


class Numbered:
    """Records that say which they are; some of them bad."""

    def __init__(self, size, bad=(), ids=0):
        self.size, self.bad, self.ids = size, bad, ids

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise BadSample(f"dir/{index}.jpg", "is bad")
        image = np.full((2, 2, 3), index, np.uint8)
        return Pair(f"dir/{index}.jpg", image, (f"caption {index}",), index + self.ids)


class Telling(Numbered):
    """Has something to say about itself."""

    notes = ("a note",)
    dropped_empty_captions = 2


def mixed(weights=(2, 1, 1), bad=()):
    parts = {name: Numbered(size, bad) for name, size in SIZES.items()}
    return MixedPairs(parts, weights)


def positions(source, epochs, seed=0, batch=BATCH):
    order = source.order(batch, seed)
    samples = len(source) // batch * batch
    return np.array([order[position] for position in range(epochs * samples)]).reshape(epochs, -1)


def part_of(records):
    return np.searchsorted(np.cumsum(list(SIZES.values())), records, "right")


def test_records_stand_one_part_after_the_other_with_their_part_in_the_name():
    source = mixed()
    assert len(source) == 80
    assert [source[index].name for index in (0, 5, 6, 79, -1)] == [
        "few: dir/0.jpg",
        "few: dir/5.jpg",
        "many: dir/0.jpg",
        "some: dir/23.jpg",
        "some: dir/23.jpg",
    ]
    assert source[7].captions == ("caption 1",)
    with pytest.raises(BadSample) as bad:
        mixed(bad={3})[9]
    assert (bad.value.name, bad.value.reason) == ("many: dir/3.jpg", "is bad")
    with pytest.raises(IndexError):
        source[80]


def test_images_of_different_parts_never_share_an_id():
    largest = 2**31 - 1
    source = MixedPairs({"a": Numbered(3), "b": Numbered(3), "c": Numbered(1, ids=largest)})
    ids = [source[index].image_id for index in range(7)]
    assert len(set(ids)) == 7
    assert min(ids) >= 0 and max(ids) <= largest


def test_weights_are_shares_of_every_epoch():
    for epoch in positions(mixed((2, 1, 1)), 2):
        assert Counter(part_of(epoch).tolist()) == {0: 40, 1: 20, 2: 20}


def test_without_weights_every_epoch_has_every_record_once():
    for epoch in positions(mixed(None), 2):
        assert sorted(epoch) == list(range(80))


def test_shares_that_do_not_come_out_even_are_rounded_to_the_nearest():
    for epoch in positions(mixed((1, 1, 1)), 2):
        assert sorted(Counter(part_of(epoch).tolist()).values()) == [26, 27, 27]


def test_each_part_goes_through_passes_of_new_permutations_across_epochs():
    source = mixed((2, 1, 1))
    found = positions(source, 8)
    for number, size in enumerate(SIZES.values()):
        drawn = found[part_of(found) == number]
        times = Counter(drawn.tolist())
        assert len(times) == size
        assert max(times.values()) - min(times.values()) <= 1, "some records come more often"
    # 20 of 50 an epoch: five epochs are two passes.
    many = [epoch[part_of(epoch) == 1] for epoch in found]
    assert len(set(many[0]) | set(many[1])) == 40
    assert sorted(np.concatenate(many[:5]).tolist()) == sorted([*range(6, 56)] * 2)
    assert not np.array_equal(np.sort(many[0]), np.sort(many[5]))


def test_parts_are_spread_over_the_epoch_anew_each_time():
    places = [tuple(part_of(epoch).tolist()) for epoch in positions(mixed(), 4)]
    assert len(set(places)) == 4
    assert all(len(set(place[:20])) > 1 for place in places)


def test_the_seed_decides():
    found = positions(mixed(), 1, seed=1)
    assert np.array_equal(positions(mixed(), 1, seed=1), found)
    assert not np.array_equal(positions(mixed(), 1, seed=0), found)


def batches(source, steps, **options):
    def read(index, rng):
        pair = source[index]
        return {"record": np.int64(index), "drawn": rng.random(), "id": np.int32(pair.image_id)}

    bad = options.pop("bad_samples", None) or BadSamples(None, 1.0, len(source))
    order = source.order(BATCH, 5)
    settings = {"batch_size": BATCH, "seed": 5, "bad_samples": bad, "threads": 2, "order": order}
    return list(shuffled_batches(read, len(source), num_steps=steps, **{**settings, **options}))


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        for key in other:
            assert np.array_equal(one[key], other[key]), key


def test_any_step_is_where_an_unbroken_run_would_be():
    whole = batches(mixed(bad={2, 4}), 25)
    assert_same(batches(mixed(bad={2, 4}), 12, start_step=13), whole[13:])


@pytest.mark.parametrize("threads", [0, 5])
def test_the_number_of_threads_changes_nothing(threads):
    source = mixed(bad={2, 4})
    assert_same(batches(source, 12, threads=threads), batches(source, 12))


def test_hosts_take_consecutive_rows_of_the_one_host_batch():
    source = mixed(bad={2, 4})
    hosts = [batches(source, 12, process_index=i, process_count=2) for i in range(2)]
    joined = [
        {key: np.concatenate([one[key], other[key]]) for key in one}
        for one, other in zip(*hosts, strict=True)
    ]
    assert_same(joined, batches(source, 12))


def test_bad_records_are_replaced_by_others_of_their_part():
    source = mixed((2, 1, 1), bad={2, 4})
    bad = BadSamples(None, 1.0, len(source))
    found = np.array([batch["record"] for batch in batches(source, 40, bad_samples=bad)])
    for epoch in found.reshape(4, -1):
        assert Counter(part_of(epoch).tolist()) == {0: 40, 1: 20, 2: 20}
    assert bad.count == 6  # two in each part


def test_the_start_tells_shares_and_the_notes_of_parts():
    source = MixedPairs({"coco": Telling(10), "cc": Numbered(30)}, (3, 1))
    assert source.notes == (
        "coco 75.0%, its 10 records 3 times an epoch",
        "cc 25.0%, its 30 records 0.333 times an epoch",
        "coco: a note",
    )
    assert source.dropped_empty_captions == 2


def test_a_part_too_light_for_one_sample_an_epoch_is_refused():
    with pytest.raises(ValueError, match=r"data\.mixture: some gets none of the 80 samples"):
        mixed((1, 1, 1e-6)).order(BATCH, 0)
