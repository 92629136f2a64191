import jax
import numpy as np
import pytest

from albef_jax.inference.export import export_encoders
from albef_jax.inference.model import CannotServe
from albef_jax.inference.outputs import NotFinite
from tests.helpers.tiny_model import model_of


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = model_of("retrieval")
    folder = tmp_path_factory.mktemp("exported")
    files = export_encoders(model, folder, platforms=("cpu",))
    return model, folder, [jax.export.deserialize(bytearray(path.read_bytes())) for path in files]


@pytest.mark.parametrize("count", [1, 3])
def test_exported_encoders_give_the_same_features(exported, count):
    model, _, (image, text) = exported
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), np.uint8)
    ours = image.call(images)
    np.testing.assert_allclose(ours, model.encode_image(images).feature, rtol=1e-4, atol=1e-5)
    texts = ["a red ball", "two cubes on grass", "a star"][:count]
    ids, mask = model.tokenizer.encode(texts)
    found = text.call(ids, mask)
    np.testing.assert_allclose(found, model.encode_text(texts).feature, rtol=1e-4, atol=1e-5)


def test_a_model_without_features_is_refused(tmp_path):
    with pytest.raises(CannotServe, match="features"):
        export_encoders(model_of("entailment"), tmp_path)


def test_nothing_is_overwritten(exported):
    model, folder, _ = exported
    with pytest.raises(FileExistsError):
        export_encoders(model, folder, platforms=("cpu",))


def test_weights_that_are_not_finite_are_not_exported(tmp_path):
    model = model_of("retrieval")
    model.params["image_proj"] = jax.tree.map(
        lambda leaf: leaf * np.nan, model.params["image_proj"]
    )
    with pytest.raises(NotFinite, match="image_proj"):
        export_encoders(model, tmp_path, platforms=("cpu",))
    assert not list(tmp_path.iterdir())
