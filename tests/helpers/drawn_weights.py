"""Runs that start from weights which numpy drew: compiling the real draws takes longer than a run.

Fresh weights themselves are tested in `tests/models`, and in the runs of pre-training.
"""

import pytest

from albef_jax.models import task_models
from albef_jax.models.albef import Params
from albef_jax.models.config import ModelConfig
from tests.helpers.tiny_model import random_params


@pytest.fixture(scope="module")
def drawn_weights():
    """Fresh weights of any model are constants; their shapes are the real ones."""

    def init(config: ModelConfig, model: str, key: object) -> Params:
        return random_params(config, 0, model)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task_models, "init", init)
        yield
