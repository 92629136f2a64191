"""Our losses and fusion encoder give what torchmultimodal's own tests of ALBEF expect.

Its inputs were recorded (`tests/golden/torchmultimodal`); the expected values are its own, to all
six digits that it states.
"""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.losses.contrastive import Contrast, Similarities, itc_loss
from albef_jax.losses.vqa import answer_losses
from albef_jax.models import albef
from albef_jax.models.config import ModelConfig

FOLDER = Path(__file__).parents[1] / "golden" / "torchmultimodal"
CLOSE = {"rtol": 2e-7, "atol": 1e-6}  # six digits, and float32 rounding of losses of 14

# Our leaf, theirs, and whether theirs is transposed.
LAYER = [
    (f"{ours}/{leaf}", f"{theirs}.{torch_leaf}", leaf == "kernel")
    for ours, theirs, leaves in [
        *(
            (f"{ours}/{part}", f"{theirs}.{their_part}", ("kernel", "bias"))
            for ours, theirs in (
                ("self_attention", "attention"),
                ("cross_attention", "cross_attention"),
            )
            for part, their_part in (
                ("query", "query"),
                ("key", "key"),
                ("value", "value"),
                ("out", "output"),
            )
        ),
        ("self_attention/norm", "attention_layernorm", ("scale", "bias")),
        ("cross_attention/norm", "cross_attention_layernorm", ("scale", "bias")),
        ("intermediate", "feedforward.model.0", ("kernel", "bias")),
        ("output", "feedforward.model.2", ("kernel", "bias")),
        ("norm", "feedforward_layernorm", ("scale", "bias")),
    ]
    for leaf, torch_leaf in zip(leaves, ("weight", "bias"), strict=True)
]


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    with np.load(FOLDER / "inputs.npz") as file:
        return dict(file)


def contrast(arrays, suffix: str) -> Contrast:
    """Two queries; the first two keys are the group's, the third is the queue's."""
    ways = (arrays[f"contrast/{name}{suffix}"] for name in ("image_to_text", "text_to_image"))
    return Contrast(*(Similarities(way[None, :, :2], way[None, :, 2:]) for way in ways))


@pytest.mark.parametrize(("alpha", "expected"), [(0.0, 1.160506), (0.4, 1.341230)])
def test_contrastive_loss(arrays, alpha, expected):
    loss = itc_loss(contrast(arrays, ""), contrast(arrays, "_m"), alpha)
    np.testing.assert_allclose(loss, expected, **CLOSE)


@pytest.mark.parametrize(
    ("alpha", "expected"),
    [(None, [14.552961, 14.930183]), (0.4, [14.367424, 14.541029])],
)
def test_answer_loss(arrays, alpha, expected):
    """One answer a question, without padding."""
    labels = arrays["answers/labels"][:, None].astype(np.int32)
    scores, scores_m = (arrays[f"answers/{name}"][:, None] for name in ("scores", "scores_m"))
    teacher = None if alpha is None else scores_m
    losses = answer_losses(scores, labels, np.ones_like(labels), teacher, alpha or 0.0)
    np.testing.assert_allclose(losses[:, 0], expected, **CLOSE)


def test_fusion_encoder(arrays):
    """Two texts, the second with one token of padding; six layers of width 3."""
    config = ModelConfig(
        image_width=3, text_width=3, text_heads=1, dropout=0.0, attention_dropout=0.0
    )
    layers: dict = {}
    for ours, theirs, transposed in LAYER:
        stack = np.stack([arrays[f"encoder/layer.{i}.{theirs}"] for i in range(6)])
        *path, leaf = ours.split("/")
        node = layers
        for key in path:
            node = node.setdefault(key, {})
        node[leaf] = jnp.asarray(stack.swapaxes(1, 2) if transposed else stack)
    fused = albef.fuse(
        config,
        {"fusion_encoder": {"layers": layers}},
        jnp.asarray(arrays["encoder/text"])[:, None],
        np.array([[[1, 1]], [[1, 0]]], np.int32),
        jnp.asarray(arrays["encoder/image"]),
    )
    expected = [
        [[0.794870, 0.615549, -1.410419], [1.314163, -1.109555, -0.204607]],
        [[-0.862034, -0.539896, 1.401930], [-1.176761, -0.090902, 1.267663]],
    ]
    np.testing.assert_allclose(fused[:, 0], expected, rtol=0, atol=1e-5)
