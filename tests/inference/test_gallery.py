import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.data.bad_samples import BadSamples
from albef_jax.data.records import Pair
from albef_jax.distributed.mesh import make_mesh
from albef_jax.errors import BadSample, NothingToEvaluate
from albef_jax.inference.gallery import Gallery, encode, padded_chunks, read_gallery, run_in_chunks
from albef_jax.models import albef
from albef_jax.models.primitives import normalize

CAPTIONS = (("A red circle!", "red"), ("blue square",), ("green", "left of", "right"), ("a",))


class Source:
    """Plain grey images, brighter from one to the next; the records in `bad` are."""

    def __init__(self, size: int, bad: tuple[int, ...] = ()):
        self.size, self.bad = size, bad

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Pair:
        if index in self.bad:
            raise BadSample(f"image {index}", "rotten")
        image = np.full((20 + index, 30, 3), 10 * index, np.uint8)
        return Pair(f"image {index}", image, CAPTIONS[index % 4], index)


def read(tokenizer, source, pairs=100, **options):
    register = BadSamples(None, 1.0, len(source))
    options = {"image_size": 16, "rows": 3, "max_words": 2, "threads": 0, **options}
    return read_gallery(source, tokenizer, register, pairs=pairs, **options), register


@pytest.fixture(scope="module")
def one_device():
    return make_mesh(1, devices=jax.devices()[:1])


def test_all_captions_of_each_image(tokenizer):
    gallery, _ = read(tokenizer, Source(5))
    assert gallery.images.shape == (5, 16, 16, 3)
    assert gallery.images[:, 8, 8, 0].tolist() == [0, 10, 20, 30, 40]
    assert gallery.image_of_text.tolist() == [0, 0, 1, 2, 2, 2, 3, 4, 4]
    assert gallery.captions[:3] == ["A red circle!", "red", "blue square"]


def test_captions_are_cleaned_and_cut_for_the_model_alone(tokenizer):
    gallery, _ = read(tokenizer, Source(1))
    expected = tokenizer.encode(["a red", "red"])  # two words
    np.testing.assert_array_equal(gallery.text_ids, expected[0])
    np.testing.assert_array_equal(gallery.text_mask, expected[1])
    assert gallery.text_ids.dtype == gallery.text_mask.dtype == np.int32


def test_bad_images_are_left_out_and_reported(tokenizer):
    gallery, register = read(tokenizer, Source(5, bad=(0, 3)))
    assert gallery.images[:, 8, 8, 0].tolist() == [10, 20, 40]
    assert gallery.image_of_text.tolist() == [0, 1, 1, 1, 2, 2]
    assert register.count == 2


class Rows(Source):
    """Records 0 and 2 are one image by id, 1 and 3 by their pixels."""

    def __getitem__(self, index: int) -> Pair:
        image = np.full((20, 30, 3), 10 * (index % 2), np.uint8)
        return Pair(f"row {index}", image, (f"red {index}",), [5, 6, 5, 8][index])


def test_rows_of_one_image_are_one_candidate(tokenizer):
    gallery, _ = read(tokenizer, Rows(4))
    assert gallery.images[:, 8, 8, 0].tolist() == [0, 10]
    assert gallery.image_of_text.tolist() == [0, 1, 0, 1]
    assert gallery.captions == ["red 0", "red 1", "red 2", "red 3"]
    assert gallery.same_pixels == 1


def test_a_limit_counts_images(tokenizer):
    gallery, _ = read(tokenizer, Rows(4), pairs=1)
    assert len(gallery.images) == 1 and gallery.captions == ["red 0"]


def test_captions_of_several_images_are_counted(tokenizer):
    gallery, _ = read(tokenizer, Source(9))  # each caption of image n is one of image n + 4, too
    number = gallery.text_number()
    assert number.shape == (len(gallery.captions),)
    same = [gallery.captions[place] for place in np.flatnonzero(number == number[0])]
    assert same == ["A red circle!"] * 3
    assert gallery.shared_captions() == len(gallery.captions)
    assert read(tokenizer, Source(3))[0].shared_captions() == 0


def test_the_first_pairs_only(tokenizer):
    gallery, _ = read(tokenizer, Source(9), pairs=2)
    assert gallery.images[:, 8, 8, 0].tolist() == [0, 10]


def test_reading_is_the_same_at_any_batch_size_and_with_threads(tokenizer):
    expected, _ = read(tokenizer, Source(7))
    for options in ({"rows": 1}, {"rows": 16}, {"threads": 2}):
        found, _ = read(tokenizer, Source(7), **options)
        for field in ("images", "captions", "text_ids", "image_of_text"):
            np.testing.assert_array_equal(getattr(found, field), getattr(expected, field))


def test_nothing_but_bad_images_is_an_error(tokenizer):
    with pytest.raises(NothingToEvaluate, match="no image"):
        read(tokenizer, Source(3, bad=(0, 1, 2)))


@pytest.mark.parametrize("size, rows", [(7, 3), (6, 3), (2, 5), (1, 1)])
def test_padded_chunks(size, rows):
    chunks = list(padded_chunks(size, rows))
    assert {len(chunk) for chunk in chunks} == {rows}
    joined = np.concatenate(chunks)
    assert joined[:size].tolist() == list(range(size))
    assert set(joined[size:]) <= {size - 1}
    assert len(joined) - size < rows


def test_running_in_chunks_is_running_at_once(one_device):
    arrays = {"x": np.arange(14.0).reshape(7, 2), "y": np.arange(7)}
    shapes = []

    @jax.jit
    def function(batch):
        shapes.append(batch["x"].shape)
        return batch["x"].sum(axis=1) + batch["y"], batch["x"] * 2

    for rows in (3, 7, 10):
        total, double = run_in_chunks(function, one_device, rows, arrays)
        np.testing.assert_array_equal(total, arrays["x"].sum(axis=1) + arrays["y"])
        np.testing.assert_array_equal(double, arrays["x"] * 2)
    assert shapes == [(3, 2), (7, 2), (10, 2)]  # each compiled once


@pytest.fixture(scope="module")
def gallery(tokenizer):
    rng = np.random.default_rng(0)
    captions = ["red circle", "a blue square of a", "green", "left", "triangle right of a circle"]
    return Gallery(
        rng.integers(0, 256, (3, 16, 16, 3), np.uint8),
        captions,
        *tokenizer.encode(captions),
        np.array([0, 0, 1, 2, 2]),
    )


@pytest.fixture(scope="module")
def direct(tiny, gallery):
    """Image by image, and caption by caption without padding."""
    config, params = tiny

    @jax.jit
    def of_images(params, images):
        return albef.image_feature(params, albef.encode_image(config, params, normalize(images)))

    @jax.jit
    def of_text(params, ids):
        text_embeds = albef.encode_text(config, params, ids, jnp.ones_like(ids))
        return albef.text_feature(params, text_embeds)[0]

    lengths = gallery.text_mask.sum(axis=1)
    features = [
        of_text(params, ids[None, :length])
        for ids, length in zip(gallery.text_ids, lengths, strict=True)
    ]
    return of_images(params, gallery.images), np.stack(features)


@pytest.mark.parametrize("devices, rows", [(1, 2), (1, 16), (8, 8)])
def test_encoding(tiny, gallery, direct, devices, rows):
    mesh = make_mesh(1, devices=jax.devices()[:devices])
    found = encode(*tiny, gallery, mesh, rows)
    assert found.text_embeds.shape == (5, 8, 24)
    assert isinstance(found.text_embeds, np.ndarray)
    image_feat, text_feat = direct
    np.testing.assert_allclose(found.image_feat, image_feat, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.text_feat, text_feat, rtol=1e-4, atol=1e-5)
