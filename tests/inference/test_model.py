import doctest
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import albef_jax
from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.inference import model as api
from albef_jax.inference.inputs import as_images
from albef_jax.inference.model import CannotServe
from albef_jax.models import albef
from albef_jax.models.config import ModelConfig
from albef_jax.models.primitives import normalize
from tests.helpers.tiny_model import SERVED, model_of

GOLDEN = Path(__file__).parents[1] / "golden" / "tiny"


@pytest.fixture(scope="module")
def model():
    return model_of("retrieval")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (6, 40, 56, 3), np.uint8)


def test_examples_of_the_docstrings(model):
    names = {
        "np": np,
        "model": model,
        "vqa_model": model_of("vqa"),
        "entailment_model": model_of("entailment"),
    }
    found = doctest.DocTestFinder().find(api.Model, "Model", globs=names)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for example in found:
        runner.run(example)
    assert runner.failures == 0
    assert runner.tries >= 12


def test_features_are_those_of_the_model(model, images):
    found = model.encode_image(images)
    assert found.feature.shape == (6, 8)  # a whole batch of four, and one of two
    assert found.tokens.shape == (6, 5, 16)
    np.testing.assert_allclose(np.linalg.norm(found.feature, axis=1), 1, rtol=1e-5)
    image = np.array(Image.fromarray(images[5]).resize((32, 32), Image.Resampling.BICUBIC))
    tokens = albef.encode_image(model.config, model.params, normalize(image[None]))
    np.testing.assert_allclose(found.tokens[5], tokens[0], rtol=1e-4, atol=1e-5)


def test_a_batch_does_not_matter(model, images):
    together = model.encode_text(["a ball", "two red cubes on grass", "a star"]).feature
    alone = [model.encode_text(text).feature[0] for text in ("a ball", "two red cubes on grass")]
    np.testing.assert_allclose(together[:2], alone, rtol=1e-4, atol=1e-5)


def test_images_in_every_form(model, images, tmp_path):
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    forms = [images[0], Image.fromarray(images[0]), tmp_path / "a.png", str(tmp_path / "a.png")]
    features = model.encode_image(forms).feature
    np.testing.assert_allclose(features, np.repeat(features[:1], 4, axis=0), atol=1e-6)
    grey = as_images(images[0, ..., 0])[0]
    assert grey.shape == (40, 56, 3)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.full((4, 4, 3), 255.0), ValueError, "floats from 255 to 255: .*0 to 1"),
        (np.zeros((4, 4, 3), int), ValueError, "int64, whose range is not known: give uint8"),
        (np.full((4, 4, 3), np.nan), ValueError, "NaN"),
        (np.zeros((3, 4, 5), np.uint8), ValueError, "R, G, B"),
        ({"a.jpg": 1}, TypeError, "not dict"),
        (b"\xff\xd8", TypeError, "not bytes"),
        (5, TypeError, "int"),
        ([], ValueError, "no images"),
        ("nowhere.jpg", OSError, "nowhere"),
    ],
)
def test_what_is_no_image(model, bad, error, message):
    with pytest.raises(error, match=message):
        model.encode_image(bad)


def test_match_of_one_and_many(model, images):
    texts = ["a ball", "a cube", "two stars"]
    many = model.match(images[0], texts)
    pairs = model.match([images[0]] * 3, texts)
    np.testing.assert_allclose(many.itm, pairs.itm, rtol=1e-5)
    features = model.encode_image(images[:1]).feature, model.encode_text(texts).feature
    np.testing.assert_allclose(many.itc, features[1] @ features[0][0], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match="2 in images and 3 in texts"):
        model.match(list(images[:2]), texts)


def test_ranking_re_ranks_the_best_of_the_contrast(model, images):
    ranked = model.rank("a ball", list(images), k=3)
    assert sorted(one.place for one in ranked) == list(range(6))
    assert [one.by for one in ranked] == ["itm"] * 3 + ["itc"] * 3
    feature = model.encode_text("a ball").feature[0]
    nearest = np.argsort(-(model.encode_image(images).feature @ feature))
    assert {one.place for one in ranked[:3]} == set(nearest[:3])
    assert ranked[0].score >= ranked[1].score >= ranked[2].score
    texts = model.rank(images[0], ["a ball", "a cube"])
    assert {one.place for one in texts} == {0, 1}


def test_heat_maps_have_the_size_of_the_image(model, images):
    found = model.ground(images[0], "a red ball")
    assert found.heatmap.shape == (40, 56)
    assert [word for word, _ in found.words] == ["a", "red", "ball"]
    assert all(heat.shape == (40, 56) and heat.min() >= 0 for _, heat in found.words)
    assert found.match == pytest.approx(model.match(images[0], "a red ball").itm[0], rel=1e-4)


@pytest.mark.parametrize(
    ("task", "call", "served"),
    [
        ("entailment", lambda m, p: m.encode_image(p), "retrieval"),
        ("vqa", lambda m, p: m.match(p, "a ball"), "retrieval"),
        ("entailment", lambda m, p: m.ground(p, "a ball"), "retrieval"),
        ("retrieval", lambda m, p: m.answer(p, "what?"), "vqa"),
        ("nlvr", lambda m, p: m.entail(p, "a ball"), "entailment"),
    ],
)
def test_what_a_checkpoint_cannot_serve(task, call, served, images):
    with pytest.raises(CannotServe, match=f"{task!r}.*{served}"):
        call(model_of(task), images[0])


def test_free_answers(images):
    ((answer, share),) = model_of("vqa").answer(images[0], "what is it?")
    assert isinstance(answer, str)
    assert 0 <= share <= 1


def test_loading_a_workdir(model, images, tmp_path):
    with Checkpoints(tmp_path / "checkpoints", keep=1) as checkpoints:
        checkpoints.save(3, {"params": model.params, "train": {"step": np.int32(3)}})
    config = {"task": "retrieval", "model": SERVED, "data": {"vocab": "scenes", "source": "scenes"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded = albef_jax.load(tmp_path)
    assert repr(loaded) == "Model(retrieval, 0.0 M parameters, 32 px)"
    ours, theirs = (one.encode_image(images).feature for one in (loaded, model))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_loading_a_official_checkpoint(images, tmp_path):
    """Of the golden set; its vocabulary of 200 words needs a file."""
    words = [f"w{number}" for number in range(200)]
    for place, special in {0: "PAD", 100: "UNK", 101: "CLS", 102: "SEP", 103: "MASK"}.items():
        words[place] = f"[{special}]"
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    loaded = albef_jax.load(GOLDEN / "retrieval.pth", vocab=tmp_path / "vocab.txt")
    assert (loaded.task, loaded.config.image_size, loaded.config.embed_dim) == ("retrieval", 64, 16)
    assert loaded.match(images[0], "w3 w9").itm.shape == (1,)


def test_a_vocabulary_of_another_model_is_refused():
    with pytest.raises(ValueError, match=r"200 words .* of 30522; give its own with vocab="):
        albef_jax.load(GOLDEN / "retrieval.pth")


def test_settings_of_earlier_versions_are_passed_over(model, monkeypatch):
    """As `model.remat`, which became three."""
    settings = {"model": {**SERVED, "remat": False, "dropout": 0.3}, "data": {"vocab": "scenes"}}
    found = SimpleNamespace(
        task="retrieval", params=model.params, config=settings, origin=Path("run")
    )
    monkeypatch.setattr(api, "read_checkpoint", lambda path: found)
    assert api.load("run").config == ModelConfig(**SERVED, dropout=0.3)


def test_a_model_trained_with_cudnn_is_read_without_a_card(model, monkeypatch, images):
    settings = {"model": {**SERVED, "attention": "cudnn"}, "data": {"vocab": "scenes"}}
    found = SimpleNamespace(
        task="retrieval", params=model.params, config=settings, origin=Path("run")
    )
    monkeypatch.setattr(api, "read_checkpoint", lambda path: found)
    loaded = api.load("run")
    assert loaded.config.attention == "xla"
    expected = model.encode_image(images).feature
    np.testing.assert_allclose(loaded.encode_image(images).feature, expected, atol=1e-6)
