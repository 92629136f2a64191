"""Frozen parts: what is left to train, and that a tower cut in two computes the same."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models import albef
from albef_jax.models.frozen import Frozen, completed
from albef_jax.models.primitives import normalize

SOME = Frozen(
    ("mlm_head", "temperature"), (("image_encoder", 1), ("text_encoder", 1), ("fusion_encoder", 1))
)


def test_what_is_trained(tiny):
    trained = SOME.trained(tiny.params)
    assert "mlm_head" not in trained
    assert "temperature" not in trained
    assert trained["image_encoder"].keys() == {"blocks", "norm"}
    assert trained["text_encoder"].keys() == {"layers"}
    for tower, stack in (("image_encoder", "blocks"), ("fusion_encoder", "layers")):
        for ours, whole in zip(
            jax.tree.leaves(trained[tower][stack]),
            jax.tree.leaves(tiny.params[tower][stack]),
            strict=True,
        ):
            np.testing.assert_array_equal(ours, whole[1:])
    assert trained["itm_head"] is tiny.params["itm_head"]
    assert not Frozen()
    assert jax.tree.structure(Frozen().trained(tiny.params)) == jax.tree.structure(tiny.params)


def test_all_layers_may_be_frozen(tiny):
    """Arrays without rows could not be saved."""
    frozen = Frozen((), (("image_encoder", 2), ("text_encoder", 2)))
    trained = frozen.trained(tiny.params)
    assert trained["image_encoder"].keys() == {"norm"}
    assert "text_encoder" not in trained
    whole = completed(trained, tiny.params)
    jax.tree.map(np.testing.assert_array_equal, whole, tiny.params)


def test_shapes_alone_can_be_cut(tiny):
    abstract = jax.eval_shape(lambda: tiny.params)
    shapes = jax.tree.map(lambda leaf: leaf.shape, SOME.trained(abstract))
    expected = jax.tree.map(lambda leaf: leaf.shape, SOME.trained(tiny.params))
    assert shapes == expected


@pytest.mark.parametrize("xp", [np, jnp])
def test_a_part_is_put_back_in_its_place(tiny, xp):
    whole = jax.tree.map(xp.asarray, tiny.params)
    part = SOME.trained(jax.tree.map(lambda leaf: 2 * leaf, whole))
    both = completed(part, whole)
    assert jax.tree.structure(both) == jax.tree.structure(whole)
    jax.tree.map(np.testing.assert_array_equal, SOME.trained(both), part)
    np.testing.assert_array_equal(both["temperature"], whole["temperature"])
    first = both["text_encoder"]["layers"]["norm"]["scale"][0]
    np.testing.assert_array_equal(first, whole["text_encoder"]["layers"]["norm"]["scale"][0])
    assert all(isinstance(leaf, xp.ndarray) for leaf in jax.tree.leaves(both))


def test_a_teacher_has_what_is_frozen_of_the_student(tiny):
    teacher = albef.teacher_params(SOME.trained(tiny.params))
    whole = SOME.whole_teacher(teacher, tiny.params)
    assert jax.tree.structure(whole) == jax.tree.structure(albef.teacher_params(tiny.params))
    assert SOME.whole_teacher({}, tiny.params) == {}


def test_what_else_a_teacher_lacks_stays_missing(tiny):
    """As in a damaged file: it must not be taken from the student in silence."""
    teacher = albef.teacher_params(SOME.trained(tiny.params))
    del teacher["text_proj"]
    assert "text_proj" not in SOME.whole_teacher(teacher, tiny.params)


@pytest.mark.parametrize("layers", [1, 2])
def test_a_tower_cut_in_two_computes_the_same(tiny, batch, layers):
    cut = replace(tiny.config, frozen_image_layers=layers, frozen_text_layers=layers)
    image = normalize(batch.image)

    @jax.jit
    def both(params):
        return [
            (
                albef.encode_image(config, params, image),
                albef.encode_text(config, params, batch.text_ids, batch.text_mask),
            )
            for config in (tiny.config, cut)
        ]

    whole, parts = both(tiny.params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), whole, parts)


def test_no_gradient_passes_frozen_layers(tiny, batch):
    """All that is trained of a tower has one, and nothing before."""
    cut = replace(tiny.config, frozen_image_layers=1, frozen_text_layers=1)
    image = normalize(batch.image)

    @jax.jit
    @jax.grad
    def gradient(params):
        feat = albef.image_feature(params, albef.encode_image(cut, params, image))
        text = albef.encode_text(cut, params, batch.text_ids, batch.text_mask)
        return jnp.sum(feat * albef.text_feature(params, text))

    grads = gradient(tiny.params)
    trained = Frozen((), (("image_encoder", 1), ("text_encoder", 1))).trained(grads)
    for tower in ("image_encoder", "text_encoder"):
        moved = completed(jax.tree.map(jnp.zeros_like, trained[tower]), grads[tower])
        assert all(not leaf.any() for leaf in jax.tree.leaves(moved))
        # Scores do not change with the keys' bias.
        assert all(
            leaf.any() or path[-1].key == "bias"
            for path, leaf in jax.tree.leaves_with_path(trained[tower])
        )


def test_a_frozen_text_encoder_has_no_dropout(tiny, batch):
    config = replace(tiny.config, dropout=0.5, frozen_text_layers=2)

    def encode(config, key):
        texts = batch.text_ids, batch.text_mask
        return albef.encode_text(config, tiny.params, *texts, dropout_key=key)

    plain = encode(tiny.config, None)
    np.testing.assert_allclose(encode(config, jax.random.key(0)), plain, rtol=1e-5, atol=1e-6)
    partly = replace(config, frozen_text_layers=1)
    assert np.abs(encode(partly, jax.random.key(0)) - plain).max() > 0.01
