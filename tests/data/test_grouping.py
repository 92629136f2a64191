"""Samples grouped by the buckets of their texts: the same ones, in other batches."""

import pickle
from itertools import chain

import numpy as np
import pytest

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.batching import shuffled_batches, steps_per_epoch
from albef_jax.data.examples import PairExamples
from albef_jax.data.grouping import GroupedPlaces, Grouping
from albef_jax.data.images.augment import TrainTransform
from albef_jax.data.mixture import MixedPairs
from albef_jax.data.records import Pair
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.errors import BadSample

SIZE, BATCH, EPOCHS, WINDOW = 103, 4, 3, 6
PER_EPOCH = steps_per_epoch(SIZE, BATCH)  # 25: the last window of an epoch has one batch
WIDTHS = (4, 8, 16)
TOKENIZER = Tokenizer("scenes", WIDTHS[-1])
BAD = 17


class Texts:
    """Images of noise with two captions of different lengths; one image is bad."""

    def __init__(self, size=SIZE):
        self.size = size

    def __len__(self):
        return self.size

    def texts(self, index):
        first, second = np.random.default_rng(index).integers(1, 18, 2)
        return "red " * first, "blue " * second

    def __getitem__(self, index):
        if index == BAD:
            raise BadSample("noise/17", "is bad")
        image = np.random.default_rng(index).integers(0, 255, (20, 24, 3), np.uint8)
        return Pair(f"noise/{index}", image, self.texts(index), index)


def examples_of(source):
    return PairExamples(source, TrainTransform(16), TOKENIZER, 30)


def batches(start, stop, source=None, grouped=True, **options):
    source = source or Texts()
    examples = examples_of(source)
    mixed = isinstance(source, MixedPairs)
    return list(
        shuffled_batches(
            examples,
            len(source),
            batch_size=BATCH,
            seed=3,
            bad_samples=BadSamples(None, 1.0, SIZE),
            start_step=start,
            num_steps=stop - start,
            order=source.order(BATCH, 3) if mixed else None,
            grouping=Grouping(examples.length, WIDTHS, WINDOW) if grouped else None,
            **{"threads": 2, **options},
        )
    )


def rows(found):
    """Each sample as bytes: record, caption and augmented image."""
    return [
        [tuple(batch[name][row].tobytes() for name in batch) for row in range(BATCH)]
        for batch in found
    ]


def assert_same(found, expected):
    assert len(found) == len(expected) > 0
    assert rows(found) == rows(expected)


def longest(found):
    return np.array([batch["text_mask"].sum(axis=1).max() for batch in found])


def mixture():
    return MixedPairs({"large": Texts(SIZE - 20), "small": Texts(20)}, [2.0, 1.0])


@pytest.fixture(scope="module", params=[Texts, mixture], ids=["one source", "mixture"])
def source(request):
    return request.param()


@pytest.fixture(scope="module")
def grouped(source):
    return batches(0, EPOCHS * PER_EPOCH, source, threads=0)


def test_every_window_has_the_samples_of_the_published_order(source, grouped):
    """The same records, captions and crops, also for the one that replaces a bad one."""
    published = batches(0, EPOCHS * PER_EPOCH, source, grouped=False)
    for epoch in range(EPOCHS):
        for first in range(0, PER_EPOCH, WINDOW):
            end = min(first + WINDOW, PER_EPOCH)
            window = slice(epoch * PER_EPOCH + first, epoch * PER_EPOCH + end)
            ours, theirs = (
                sorted(chain.from_iterable(rows(found[window]))) for found in (grouped, published)
            )
            assert ours == theirs
    assert rows(grouped) != rows(published)


def test_all_but_few_batches_of_a_window_hold_texts_of_one_bucket(grouped):
    mixed = 0
    for first in range(0, PER_EPOCH - WINDOW, WINDOW):
        for batch in grouped[first : first + WINDOW]:
            lengths = batch["text_mask"].sum(axis=1)
            mixed += len(set(np.searchsorted(WIDTHS, lengths).tolist())) > 1
    windows = (PER_EPOCH - 1) // WINDOW
    assert mixed <= windows * (len(WIDTHS) - 1) + 1  # a bad sample's replacement has any length


def test_batches_are_narrower_than_in_the_published_order(source, grouped):
    published = batches(0, EPOCHS * PER_EPOCH, source, grouped=False)
    shares = [(longest(found) <= WIDTHS[0]).mean() for found in (grouped, published)]
    assert shares[0] > 0.05 and shares[1] == 0
    assert longest(grouped).mean() < longest(published).mean() - 1


def test_short_texts_do_not_come_first(grouped):
    order = longest(grouped[:WINDOW]).tolist()
    assert order not in (sorted(order), sorted(order, reverse=True))


@pytest.mark.parametrize("start", [1, WINDOW, PER_EPOCH - 1, PER_EPOCH, 2 * PER_EPOCH + 5], ids=str)
@pytest.mark.parametrize("threads", [0, 5])
def test_any_step_is_where_an_unbroken_run_would_be(source, grouped, start, threads):
    stop = min(start + WINDOW + 2, len(grouped))
    assert_same(batches(start, stop, source, threads=threads), grouped[start:stop])


@pytest.mark.parametrize("count", [2, 4])
def test_hosts_take_consecutive_rows_of_the_one_host_batch(source, grouped, count):
    stop = PER_EPOCH + 3
    hosts = [
        batches(0, stop, source, process_index=number, process_count=count)
        for number in range(count)
    ]
    joined = [
        {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for parts in zip(*hosts, strict=True)
    ]
    assert_same(joined, grouped[:stop])


def test_places_go_to_workers_and_are_the_same_there():
    lengths = np.random.default_rng(0).integers(0, 3, 40)
    places = GroupedPlaces(lengths.__getitem__, 4, 10, 4, seed=0)
    before = [places[position] for position in range(8)]
    sent = pickle.loads(pickle.dumps(places))
    assert [sent[position] for position in range(8)] == before
    assert sorted(sent[position] for position in range(40)) == list(range(40))


def test_an_error_in_a_length_reaches_who_reads():
    def broken(position):
        raise KeyError("no such text")

    with pytest.raises(KeyError, match="no such text"):
        GroupedPlaces(broken, 2, 4, 2, seed=0)[0]


def test_the_length_is_that_of_the_example(source):
    examples = examples_of(source)
    for index in range(30, 60):
        rng, same = (np.random.default_rng([index, 7]) for _ in "ab")
        assert examples.length(index, rng) == examples(index, same)["text_mask"].sum()
