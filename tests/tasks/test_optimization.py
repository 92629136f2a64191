"""Rates of first layers where some of them are frozen."""

from albef_jax.models.frozen import Frozen
from albef_jax.tasks.shared.optimization import of_trained_layers

FACTORS = {
    ("image_encoder", None): 0.5,
    ("image_encoder", 6): 0.1,
    ("text_encoder", 2): 0.2,
    ("temperature", None): 0.3,
}


def test_layers_are_counted_from_the_first_that_is_trained():
    frozen = Frozen((), (("image_encoder", 4), ("text_encoder", 2)))
    assert of_trained_layers(FACTORS, frozen) == {
        ("image_encoder", None): 0.5,
        ("image_encoder", 2): 0.1,
        ("temperature", None): 0.3,
    }


def test_nothing_frozen_changes_nothing():
    assert of_trained_layers(FACTORS, Frozen()) == FACTORS
