import itertools

import numpy as np
import pytest

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import (
    MAX_ATTEMPTS,
    eval_batches,
    ordered_batches,
    shuffled_batches,
    steps_per_epoch,
)
from albef_jax.data.examples import PairExamples
from albef_jax.data.images.augment import EvalTransform, TrainTransform
from albef_jax.data.records import Pair
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.errors import BadSample, TooManyBadSamples

SIZE = 11
TOKENIZER = Tokenizer("bert-base-uncased", 6)


class Noise:
    """Images of noise, two captions each; some of them bad."""

    def __init__(self, bad=(), size=SIZE):
        self.bad, self.size = bad, size

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index in self.bad:
            raise BadSample(f"noise/{index}", "is bad")
        image = np.random.default_rng(index).integers(0, 255, (20, 24, 3), np.uint8)
        return Pair(f"noise/{index}", image, ("A dog.", "A big cat!"), 100 + index)


def train_batches(source, max_words=30, **batching):
    read = PairExamples(source, TrainTransform(16), TOKENIZER, max_words)
    return shuffled_batches(read, len(source), **batching)


def batches(num_steps, source=None, **options):
    defaults = {
        "batch_size": 4,
        "seed": 3,
        "num_steps": num_steps,
        "threads": 2,
        "bad_samples": BadSamples(None, 1.0, SIZE),
    }
    source = source or Noise()
    return list(train_batches(source, **{**defaults, **options}))


def indices(found):
    return np.concatenate([batch["sample_index"] for batch in found])


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    for batch, other in zip(found, expected, strict=True):
        assert batch.keys() == other.keys()
        for key in batch:
            assert np.array_equal(batch[key], other[key]), key


def test_shapes_and_types_of_a_batch():
    (batch,) = batches(1)
    assert {key: (value.shape, value.dtype.name) for key, value in batch.items()} == {
        "image": ((4, 16, 16, 3), "uint8"),
        "text_ids": ((4, 6), "int32"),
        "text_mask": ((4, 6), "int32"),
        "image_id": ((4,), "int32"),
        "sample_index": ((4,), "int64"),
    }
    assert np.array_equal(batch["image_id"], batch["sample_index"] + 100)
    texts = {TOKENIZER.decode(row) for row in batch["text_ids"]}
    assert texts <= {"a dog", "a big cat"}


def test_each_epoch_is_another_permutation_without_the_incomplete_batch():
    assert steps_per_epoch(SIZE, 4) == 2
    epochs = indices(batches(2 * 20)).reshape(20, 8)
    assert all(len(set(epoch)) == 8 for epoch in epochs.tolist())
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 20
    assert set(epochs.ravel().tolist()) == set(range(SIZE))


def test_an_epoch_of_whole_batches_has_every_sample_once():
    found = indices(batches(3, Noise(size=12)))
    assert sorted(found.tolist()) == list(range(12))
    assert found.tolist() != list(range(12))


def test_the_seed_decides_and_neighbouring_seeds_share_no_epoch():
    orders = {seed: indices(batches(8, seed=seed)).reshape(4, 8).tolist() for seed in (0, 1, 2**40)}
    assert_same(batches(2, seed=1), batches(2, seed=1))
    flat = [tuple(epoch) for order in orders.values() for epoch in order]
    assert len(set(flat)) == len(flat)


@pytest.mark.parametrize("start", [0, 1, 5])
def test_any_step_is_where_an_unbroken_run_would_be(start):
    bad = BadSamples(None, 1.0, SIZE)
    assert_same(
        batches(7 - start, Noise({2}), start_step=start, bad_samples=bad),
        batches(7, Noise({2}))[start:],
    )


@pytest.mark.parametrize("threads", [0, 1, 5])
def test_the_number_of_threads_changes_nothing(threads):
    assert_same(batches(4, Noise({2}), threads=threads, prefetch=1), batches(4, Noise({2})))


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_take_consecutive_rows_of_the_one_host_batch(count):
    hosts = [batches(5, Noise({2}), process_index=i, process_count=count) for i in range(count)]
    joined = [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*hosts, strict=True)
    ]
    assert_same(joined, batches(5, Noise({2})))


def test_captions_and_augmentation_are_drawn_anew_each_time():
    found = batches(30)
    seen = {}
    for batch in found:
        for index, ids, image in zip(
            batch["sample_index"], batch["text_ids"], batch["image"], strict=True
        ):
            seen.setdefault(int(index), []).append((TOKENIZER.decode(ids), image.tobytes()))
    assert all({text for text, _ in views} == {"a dog", "a big cat"} for views in seen.values())
    assert all(len({image for _, image in views}) == len(views) for views in seen.values())


def test_long_captions_are_cut_to_max_words():
    (batch,) = batches(1, max_words=1)
    assert {TOKENIZER.decode(row) for row in batch["text_ids"]} == {"a"}


def test_a_batch_of_one_from_a_source_of_one():
    found = batches(3, Noise(size=1), batch_size=1)
    assert indices(found).tolist() == [0, 0, 0]


def test_without_num_steps_it_does_not_end_and_closes_cleanly():
    stream = train_batches(
        Noise(),
        batch_size=4,
        seed=3,
        start_step=10**9,
        bad_samples=BadSamples(None, 1.0, SIZE),
    )
    assert len(list(itertools.islice(stream, 9))) == 9
    stream.close()
    assert next(stream, None) is None


def test_bad_samples_are_reported_and_replaced():
    bad_samples = BadSamples(None, 1.0, SIZE)
    found = indices(batches(8, Noise({2, 5}), bad_samples=bad_samples))
    assert len(found) == 32
    assert not {2, 5} & set(found.tolist())
    assert bad_samples.count == 2
    good = indices(batches(8))
    untouched = ~np.isin(good, [2, 5])
    assert np.array_equal(found[untouched], good[untouched])


def test_too_many_bad_samples_stop_the_run_with_their_message():
    strict = BadSamples(None, 0.01, SIZE)
    with pytest.raises(TooManyBadSamples, match=r"2 of 11 .*data\.max_bad_share=0\.01"):
        batches(20, Noise({2, 5}), bad_samples=strict)


def test_a_source_without_a_good_sample_is_given_up():
    with pytest.raises(
        TooManyBadSamples, match=rf"{MAX_ATTEMPTS} samples in a row.*noise/0: is bad"
    ):
        batches(1, Noise({0}, size=1), batch_size=1)


def test_other_exceptions_reach_the_consumer_as_they_are():
    def read(index, rng):
        raise KeyError(f"own message about {index // 100}")

    with pytest.raises(KeyError, match="own message about 0"):
        options = {"batch_size": 2, "seed": 0, "bad_samples": BadSamples(None, 1.0, 2)}
        next(shuffled_batches(read, 2, **options))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 12}, "11 records are fewer than one batch of 12"),
        ({"process_count": 3}, "batch_size=4 does not divide over 3 hosts"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"seed": -1}, "non-negative"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        batches(1, **options)


def evaluated(source=None, batch_size=4, **options):
    bad_samples = options.pop("bad_samples", BadSamples(None, 1.0, SIZE))
    transform = EvalTransform(16)
    source = source or Noise()
    return list(eval_batches(source, transform, batch_size, bad_samples=bad_samples, **options))


def test_evaluation_walks_in_order_and_pads_the_last_batch():
    found = evaluated()
    assert [batch["image"].shape for batch in found] == [(4, 16, 16, 3)] * 3
    assert indices(found).tolist() == [*range(SIZE), -1]
    valid = np.concatenate([batch["valid"] for batch in found])
    assert valid.dtype == bool and valid.tolist() == [True] * SIZE + [False]
    ids = np.concatenate([batch["image_id"] for batch in found])
    assert ids.dtype == np.int32 and ids.tolist() == [*range(100, 111), -1]
    captions = [texts for batch in found for texts in batch["captions"]]
    assert captions == [("A dog.", "A big cat!")] * SIZE + [()]
    assert np.array_equal(found[1]["image"][2], EvalTransform(16)(Noise()[6].image))
    assert not found[-1]["image"][-1].any()


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_rows_of_each_batch(processes):
    read = []

    class Counted(Noise):
        def __getitem__(self, index):
            read.append(index)
            return super().__getitem__(index)

    own = [
        evaluated(Counted({5}), batch_size=8, threads=0, share=(number, processes))
        for number in range(processes)
    ]
    whole = evaluated(Noise({5}), batch_size=8)
    assert sorted(read) == [*range(SIZE)]
    for parts, batch in zip(zip(*own, strict=True), whole, strict=True):
        for name, rows in batch.items():
            together = [row for part in parts for row in part[name]]
            np.testing.assert_equal(together, list(rows), err_msg=name)


def test_evaluation_of_chosen_records():
    assert indices(evaluated(indices=[7, 0, 7], batch_size=2)).tolist() == [7, 0, 7, -1]
    assert evaluated(indices=[]) == []


@pytest.mark.parametrize("threads", [0, 3])
def test_evaluation_marks_bad_records_and_reports_them(threads):
    bad_samples = BadSamples(None, 1.0, SIZE)
    found = evaluated(Noise({0, 1, 2, 3}), bad_samples=bad_samples, threads=threads)
    assert not found[0]["valid"].any() and not found[0]["image"].any()
    assert found[0]["captions"] == [()] * 4
    assert indices(found).tolist() == [*range(SIZE), -1]
    assert found[1]["valid"].all()
    assert bad_samples.count == 4


def ordered(read, blank, size=5, batch_size=2, **options):
    bad_samples = options.pop("bad_samples", BadSamples(None, 1.0, size))
    return list(ordered_batches(read, blank, size, batch_size, bad_samples=bad_samples, **options))


def answer(index):
    if index == 1:
        raise BadSample("noise/1", "is bad")
    return {
        "ids": np.full(3, index),
        "label": np.int32(index),
        "text": f"t{index}",
        "box": (index,),
    }


BLANK = {"ids": np.zeros(3, int), "label": np.int32(-1), "text": "", "box": ()}


@pytest.mark.parametrize("threads", [0, 3])
def test_ordered_batches_stack_arrays_and_gather_everything_else(threads):
    bad_samples = BadSamples(None, 1.0, 5)
    found = ordered(answer, BLANK, bad_samples=bad_samples, threads=threads)
    assert [batch["ids"].shape for batch in found] == [(2, 3)] * 3
    assert [batch["label"].tolist() for batch in found] == [[0, -1], [2, 3], [4, -1]]
    assert found[0]["label"].dtype == np.int32
    assert [batch["text"] for batch in found] == [["t0", ""], ["t2", "t3"], ["t4", ""]]
    assert [batch["box"] for batch in found] == [[(0,), ()], [(2,), (3,)], [(4,), ()]]
    valid = np.concatenate([batch["valid"] for batch in found])
    assert valid.tolist() == [True, False, True, True, True, False]
    assert indices(found).tolist() == [0, 1, 2, 3, 4, -1]
    assert bad_samples.count == 1


def test_where_the_blank_has_no_array_arrays_may_differ_in_shape():
    (batch,) = ordered(lambda i: {"boxes": np.zeros((i, 4))}, {"boxes": None}, 3, 4)
    assert [len(boxes) for boxes in batch["boxes"][:3]] == [0, 1, 2]
    assert batch["boxes"][3] is None


def test_ordered_batches_of_chosen_records_and_of_none():
    assert indices(ordered(answer, BLANK, indices=[4, 0, 4])).tolist() == [4, 0, 4, -1]
    assert ordered(answer, BLANK, size=0) == []


def test_a_row_without_a_key_of_the_blank_is_an_error():
    with pytest.raises(KeyError, match="label"):
        ordered(lambda i: {"ids": np.zeros(3, int)}, BLANK)
