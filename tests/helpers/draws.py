"""Hard negatives and assignments from a random key, as the losses draw and choose them."""

from albef_jax.losses.matching import choose_negatives, draw_noise
from albef_jax.losses.text_assignment import choose_assignment, draw


def draw_negatives(key, text_to_image, image_to_text, excluded):
    noise = draw_noise(key, *text_to_image.shape[:2])
    return choose_negatives(noise, text_to_image, image_to_text, excluded)


def draw_assignment(key, logits):
    return choose_assignment(draw(key, *logits.shape[:2]), logits)
