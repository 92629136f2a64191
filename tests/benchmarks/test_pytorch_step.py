"""The step in PyTorch that ours is timed against computes the same.

Needs the extra `[pytorch]`, which is large: skipped elsewhere.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.checkpoints.official.state_dict import to_official, to_official_params
from albef_jax.losses.alignment import Keys
from albef_jax.losses.masked_lm import MaskedText
from albef_jax.losses.matching import Negatives
from albef_jax.losses.pretraining import Inputs
from albef_jax.models import albef
from albef_jax.models.primitives import normalize
from benchmarks.plain import plain_loss

torch = pytest.importorskip("torch")
from benchmarks.pytorch.step import IGNORED, Batch, Model, start  # noqa: E402

QUEUE = 12
IMAGES, TEXTS = np.array([1, 0, 3, 2, 7, 7, 1, 0]), np.array([3, 2, 1, 0, 0, 1, 5, 6])


@pytest.fixture(scope="module")
def problem(tiny, batch):
    """Parameters, teacher, inputs and queues, in numpy."""
    rng = np.random.default_rng(1)
    selected = (rng.random(batch.text_ids.shape) < 0.3) & (batch.text_mask == 1)
    selected[:, 0] = False
    masked = MaskedText(np.where(selected, 103, batch.text_ids), selected)
    image = np.asarray(normalize(batch.image))
    queues = rng.standard_normal((2, QUEUE, tiny.config.embed_dim)).astype(np.float32)
    queues /= np.linalg.norm(queues, axis=-1, keepdims=True)
    teacher = jax.tree.map(lambda x: np.asarray(x) * 1.1, albef.teacher_params(tiny.params))
    return teacher, Inputs(image, batch.text_ids, batch.text_mask, masked), Keys(*queues)


def loaded(model: Model, state: dict[str, np.ndarray], mark: str) -> None:
    """Give a model the official weights with `mark` in their names, or without any."""
    own = dict(model.state_dict())
    for name in own:
        first, dot, rest = name.partition(".")
        official = f"{first}{mark}{dot}{rest}"
        if official in state:
            own[name] = torch.tensor(np.asarray(state[official]))
        else:
            assert mark and first in ("itm_head", "temp"), official
    model.load_state_dict(own)


@pytest.fixture(scope="module")
def theirs(tiny, problem):
    """Losses and gradients by official name, in PyTorch."""
    teacher, inputs, keys = problem
    pretraining = start(tiny.config, QUEUE, rate=0.0, decay=0.0)
    pretraining.momentum, pretraining.alpha = 1.0, 0.4
    state = to_official(tiny.params, teacher, {})
    loaded(pretraining.student, state, "")
    loaded(pretraining.teacher, state, "_m")
    pretraining.queues = {
        name: torch.tensor(np.array(getattr(keys, name))) for name in keys._fields
    }
    labels = np.where(inputs.masked.selected, inputs.text_ids, IGNORED)
    arrays = inputs.text_ids, inputs.text_mask, inputs.masked.text_ids, labels
    image = torch.tensor(np.moveaxis(np.array(inputs.image), -1, 1))
    batch = Batch(image, *(torch.tensor(np.array(x)).long() for x in arrays))
    losses, _ = pretraining.losses(batch, (torch.tensor(IMAGES), torch.tensor(TEXTS)))
    sum(losses.values()).backward()
    gradients = {name: weight.grad for name, weight in pretraining.student.named_parameters()}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.fixture(scope="module")
def ours(tiny, problem):
    """The same of the plain objective."""
    teacher, inputs, keys = jax.tree.map(jnp.asarray, problem)
    valid = np.ones((1, len(IMAGES)), bool)
    negatives = jax.tree.map(jnp.asarray, Negatives(IMAGES[None], TEXTS[None], valid))
    config = replace(tiny.config, dropout=0.0, attention_dropout=0.0)

    def objective(params):
        losses, _ = plain_loss(config, params, teacher, inputs, keys, negatives, 0.4)
        return losses["loss"], losses

    gradients, losses = jax.jit(jax.grad(objective, has_aux=True))(tiny.params)
    return losses, to_official_params(gradients)


@pytest.mark.parametrize("name", ["loss_itc", "loss_mlm", "loss_itm"])
def test_losses_are_equal(ours, theirs, name):
    assert theirs[0][name] == pytest.approx(float(ours[0][name]), rel=1e-5)


def test_gradients_are_equal(ours, theirs):
    largest = max(np.abs(gradient).max() for gradient in ours[1].values())
    assert set(ours[1]) == set(theirs[1])
    for name, expected in ours[1].items():
        found = theirs[1][name].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * largest, err_msg=name)
