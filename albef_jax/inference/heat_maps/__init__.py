"""Grad-CAM: heat maps of texts and words, and boxes ranked by them."""

from albef_jax.system.lazy import public

__getattr__, __dir__ = public(
    __name__,
    {
        "match_maps": "gradcam",
        "image_map": "gradcam",
        "by_word": "word_heat",
        "rank_boxes": "boxes",
        "pointing_game": "boxes",
    },
)
