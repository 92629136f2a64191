"""One image or text or a list of them: the same rule for every method of a model."""

import jax
import numpy as np
import pytest
from PIL import Image

from albef_jax.apps.demo.handlers import _image as page_image
from albef_jax.data.tokenizer import Tokenizer
from albef_jax.inference.choices import distinct_answers
from albef_jax.inference.inputs import as_images
from albef_jax.inference.model import CannotServe
from albef_jax.inference.outputs import NotFinite
from tests.helpers.tiny_model import model_of

TEXTS = ["a ball", "a red cube on grass"]
IMAGES = list(np.random.default_rng(0).integers(0, 256, (2, 40, 56, 3), np.uint8))
ANSWERS = ["red", "blue", "yes"]


@pytest.fixture(scope="module")
def model():
    return model_of("retrieval")


@pytest.fixture(scope="module")
def vqa():
    return model_of("vqa")


@pytest.fixture(scope="module")
def entailment():
    return model_of("entailment")


def numbers(answer):
    """All numbers of an answer, in order."""
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, list | tuple):
        return [number for part in answer for number in numbers(part)]
    if isinstance(answer, str):
        return []
    parts = [getattr(answer, name) for name in ("heatmap", "match") if hasattr(answer, name)]
    return [float(value) for part in parts or [answer] for value in np.ravel(part)]


@pytest.fixture(scope="module")
def methods(model, vqa, entailment):
    return {
        "answer": lambda image, text: vqa.answer(image, text, ANSWERS),
        "generate": lambda image, text: vqa.answer(image, text),
        "entail": entailment.entail,
        "ground": model.ground,
    }


@pytest.mark.parametrize("name", ["answer", "generate", "entail", "ground"])
def test_one_gives_one_and_a_list_a_list(methods, name):
    method = methods[name]
    alone = [method(image, text) for image, text in zip(IMAGES, TEXTS, strict=True)]
    assert type(method(IMAGES, TEXTS)) is list
    for together in (method(IMAGES, TEXTS), method(np.stack(IMAGES), tuple(TEXTS))):
        assert len(together) == 2
        np.testing.assert_allclose(numbers(together), numbers(alone), rtol=1e-3, atol=1e-6)
    served = method(IMAGES, TEXTS[0]), method(IMAGES[0], [TEXTS[0]]), method([IMAGES[0]], TEXTS[0])
    assert [len(found) for found in served] == [2, 1, 1]
    for found in served:
        np.testing.assert_allclose(numbers(found[0]), numbers(alone[0]), rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match=r"2 in image and 3 in \w+: give as many of both"):
        method(IMAGES, ["a", "b", "c"])
    with pytest.raises(ValueError, match="no texts were given"):
        method(IMAGES, [])
    with pytest.raises(TypeError, match="item 1 is no text"):
        method(IMAGES, ["a", None])


def test_arrays_have_a_row_for_each_item(model):
    assert model.encode_image(IMAGES[0]).feature.shape == (1, 8)
    assert model.encode_image(tuple(IMAGES)).feature.shape == (2, 8)
    assert model.encode_text("a ball").feature.shape == (1, 8)
    assert model.encode_text(np.array(TEXTS)).feature.shape == (2, 8)
    assert model.match(IMAGES[0], "a ball").itm.shape == (1,)
    assert model.match(IMAGES, "a ball").itm.shape == (2,)
    with pytest.raises(TypeError, match=r"texts: a text is a str, or a list of them, not int"):
        model.encode_text(5)


def test_rank_by_name(model, tmp_path):
    names = []
    for number, image in enumerate(IMAGES):
        names.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image).save(names[-1])
    alone = [model.rank(image=name, texts=TEXTS) for name in names]
    assert [place.place for place in alone[0]] != [] and alone[0][0].by == "itm"
    assert model.rank(image=names, texts=TEXTS) == alone  # a list of rankings
    assert model.rank(image=[names[0]], texts=TEXTS) == alone[:1]
    assert model.rank(IMAGES[0], TEXTS) == alone[0]
    one = model.rank(text="a ball", images=names)
    assert model.rank("a ball", IMAGES) == one == model.rank(text=["a ball"], images=names)[0]
    assert [found.place for found in model.rank(image=names[0], texts="a ball")] == [0]
    assert len(model.rank(text="a ball", images=names[0])) == 1


@pytest.mark.parametrize(
    ("given", "named", "message"),
    [
        (("a.jpg", ["a photo of a dog"]), {}, r"look alike; call rank\(image=..., texts="),
        (("a dog", ["a.jpg", "b.jpg"]), {}, "'a dog'.*look alike"),
        ((IMAGES[0], IMAGES), {}, "images with images"),
        ((IMAGES[0],), {}, "a query and its candidates"),
        ((IMAGES[0],), {"texts": TEXTS}, "a query and its candidates"),
        ((), {}, "got neither"),
        ((), {"image": IMAGES[0], "images": IMAGES}, "got image, images"),
        ((), {"text": "a ball", "texts": TEXTS}, "got text, texts"),
        ((), {"image": IMAGES[0], "texts": []}, "texts: no texts were given"),
    ],
)
def test_rank_never_guesses(model, given, named, message):
    with pytest.raises(ValueError, match=message):
        model.rank(*given, **named)


def test_an_answer_is_never_ranked_by_its_letters(vqa):
    assert vqa.answer(IMAGES[0], "is it?", "yes") == [("yes", 1.0)]


def test_answers_written_alike_share_no_probability(vqa):
    once = vqa.answer(IMAGES[0], "what colour is it?", ["red", "blue"])
    twice = vqa.answer(IMAGES[0], "what colour is it?", ["red", "blue", "Red", " red", "blue"])
    assert twice == once


def test_k_changes_no_answer(vqa):
    """It was the number of candidates, too: with one, the likeliest first token won."""
    many = [f"{colour} {thing}" for colour in ("red", "blue") for thing in ("ball", "cube", "star")]
    ranked = vqa.answer(IMAGES[0], "what is it?", many, k=6)
    assert sum(share for _, share in ranked) == pytest.approx(1, abs=1e-4)
    for k in (1, 3):
        assert vqa.answer(IMAGES[0], "what is it?", many, k=k) == ranked[:k]


def test_answers_that_the_vocabulary_cannot_tell_apart():
    tokenizer = Tokenizer("scenes", 40)
    assert distinct_answers(["red", "RED"], tokenizer) == ("red",)
    with pytest.raises(ValueError, match="'猫' and '犬' are the same to this vocabulary"):
        distinct_answers(["red", "猫", "犬"], tokenizer)
    with pytest.raises(ValueError, match="one of them is empty"):
        distinct_answers(["red", " "], tokenizer)


@pytest.mark.parametrize("k", [0, -1, True, 1.0, "5", None])
def test_k_is_a_whole_number(model, vqa, k):
    for method in (
        lambda: vqa.answer(IMAGES[0], "what?", ANSWERS, k=k),
        lambda: model.rank("a ball", IMAGES, k=k),
    ):
        with pytest.raises(ValueError, match=f"^k={k!r}: must be a whole number, 1 or more$"):
            method()


@pytest.mark.parametrize("layer", [-1, 0, 2, 99, True, 1.0])
def test_heat_maps_come_from_layers_that_exist(model, layer):
    """This model has one text layer and one fusion layer."""
    with pytest.raises(ValueError, match=r"^layer=.*must be a whole number, 1 to 1 \(the fusion"):
        model.ground(IMAGES[0], "a ball", layer=layer)


def test_a_batch_has_a_row():
    with pytest.raises(ValueError, match="batch_size=0: must be a whole number, 1 or more"):
        model_of("retrieval", batch_size=0)


@pytest.fixture
def photo(tmp_path):
    """The file of an image 40 wide and 56 high that a phone wrote lying on its side."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(IMAGES[0]).transpose(Image.Transpose.ROTATE_90).save(
        tmp_path / "phone.png", exif=exif
    )
    return tmp_path / "phone.png"


def test_photos_of_phones_are_turned_upright(model, photo):
    for given in (photo, str(photo), Image.open(photo)):
        assert np.array_equal(as_images(given)[0], IMAGES[0])
    assert model.ground(photo, "a ball").heatmap.shape == IMAGES[0].shape[:2]
    assert np.array_equal(page_image(str(photo)), IMAGES[0])


def test_sixteen_bits_are_one_image_in_every_form(tmp_path):
    """`Image.open` of the same file was clipped to white."""
    deep = np.linspace(0, 65535, 40 * 56).reshape(40, 56).astype(np.uint16)
    Image.fromarray(deep).save(tmp_path / "g16.png")
    forms = [tmp_path / "g16.png", Image.open(tmp_path / "g16.png"), deep, deep / 65535]
    for image in as_images(forms):
        assert np.abs(image[..., 0].astype(int) - (deep >> 8)).max() <= 1
    with pytest.raises(ValueError, match="range is not known"):
        as_images(Image.fromarray(deep.astype(np.int32)))


def damaged(model, name):
    """The same with a NaN in each array of a module."""

    def poisoned(leaf):
        leaf = np.array(leaf)
        leaf[(0,) * leaf.ndim] = np.nan
        return jax.device_put(leaf)

    params = {**model.params, name: jax.tree.map(poisoned, model.params[name])}
    copy = type(model)(model.task, model.config, params, model.tokenizer, model.batch_size)
    copy.__dict__["_programs"] = model._programs  # compiled already
    return copy


@pytest.mark.parametrize(
    ("which", "part", "ask"),
    [
        ("model", "image_encoder", lambda m: m.encode_image(IMAGES)),
        ("model", "text_encoder", lambda m: m.encode_text(TEXTS)),
        ("model", "fusion_encoder", lambda m: m.match(IMAGES, TEXTS)),
        ("model", "itm_head", lambda m: m.rank("a ball", IMAGES)),
        ("model", "fusion_encoder", lambda m: m.ground(IMAGES[0], "a ball")),
        ("vqa", "answer_decoder", lambda m: m.answer(IMAGES[0], "what?", ANSWERS)),
        ("vqa", "answer_decoder", lambda m: m.answer(IMAGES[0], "what?")),
        ("entailment", "fusion_encoder", lambda m: m.entail(IMAGES[0], "a ball")),
    ],
)
def test_weights_that_are_not_finite_are_told(request, which, part, ask):
    with pytest.raises(
        NotFinite, match=rf"not finite .*{part}.*load an earlier checkpoint"
    ) as told:
        ask(damaged(request.getfixturevalue(which), part))
    assert isinstance(told.value, CannotServe)  # what commands and the page turn into a message
