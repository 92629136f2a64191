"""Starts of tasks from the golden checkpoints, and what the official code made of them."""

import json
from functools import partial

import jax
import numpy as np
import pytest

from albef_jax.checkpoints.init_from.checkpoint import transfer
from albef_jax.checkpoints.official import state_dict
from albef_jax.checkpoints.tree_sizes import sizes_of
from albef_jax.models import albef, task_models
from albef_jax.models.config import ModelConfig
from tests.helpers.golden_files import TINY, official

CONVERSION = json.loads((TINY / "key_conversion.json").read_text())
# (entry of the record, task, task of the checkpoint)
RECORDED = [
    ("retrieval", "retrieval", "pretrain"),
    ("ve", "entailment", "pretrain"),
    ("vqa", "vqa", "pretrain"),
    ("pretrain_nlvr", "nlvr_pretrain", "pretrain"),
    ("nlvr_from_pretrain_nlvr", "nlvr", "nlvr_pretrain"),
]
EACH_RECORD = pytest.mark.parametrize(("entry", "task", "source_task"), RECORDED)


def start(task, source_task, *, fresh=None, source=None, **options):
    """The golden file of `task` stands for its fresh model."""
    fresh, source = fresh or official(task), source or official(source_task)
    return transfer(
        task,
        fresh.params,
        source_task,
        source.params,
        fresh.teacher,
        source.teacher,
        fresh.queues,
        source.queues,
        **options,
    )


def changed(task, **parts):
    old = official(task)
    fields = {"params": old.params, "teacher": old.teacher, "queues": old.queues} | parts
    return state_dict.Official(**fields, unused=[])


def twins(params):
    return {name: tree for name, tree in params.items() if name not in albef.STUDENT_ONLY}


def blank(task, **sizes):
    """A model of zeros with the golden sizes, or others."""
    heads = {"image_heads": 3, "text_heads": 3}
    config = ModelConfig(**{**sizes_of(official("pretrain").params), **heads, **sizes})
    init = partial(task_models.init, config, task)
    params = jax.eval_shape(init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), params)
    teacher = twins(params) if task != "nlvr_pretrain" else {}
    return state_dict.Official(params, teacher, {}, [])


def assert_equal(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)
