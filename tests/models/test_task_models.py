"""Which parts each task's model has, how they start, and the small heads."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from albef_jax.models import albef, task_models
from albef_jax.models.classifiers import assignment_logits, class_logits

ENCODERS = {"image_encoder", "text_encoder"}
CONTRAST = {"image_proj", "text_proj", "temperature"}
MODULES = {
    "pretrain": ENCODERS | CONTRAST | {"fusion_encoder", "itm_head", "mlm_head"},
    "retrieval": ENCODERS | CONTRAST | {"fusion_encoder", "itm_head"},
    "grounding": ENCODERS | CONTRAST | {"fusion_encoder", "itm_head"},
    "entailment": ENCODERS | {"fusion_encoder", "cls_head"},
    "vqa": ENCODERS | {"fusion_encoder", "answer_decoder"},
    "nlvr_pretrain": ENCODERS | CONTRAST | {"pair_encoder", "ta_head"},
    "nlvr": ENCODERS | {"pair_encoder", "cls_head"},
}
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def abstract(tiny):
    """Each task's tree as shapes; nothing is computed."""
    return {
        task: jax.eval_shape(partial(task_models.init, tiny.config, task), jax.random.key(0))
        for task in MODULES
    }


@pytest.mark.parametrize("task", MODULES)
def test_modules(abstract, task):
    assert abstract[task].keys() == MODULES[task]


@pytest.mark.parametrize("task", MODULES)
def test_what_is_kept_of_the_pretraining_model_has_its_shapes(abstract, task):
    shared = abstract[task].keys() & MODULES["pretrain"]
    for name in shared:
        assert abstract[task][name] == abstract["pretrain"][name], name


@pytest.mark.parametrize("task", MODULES)
def test_the_teacher_has_all_but_match_head_and_temperature(abstract, task):
    teacher = jax.eval_shape(albef.teacher_params, abstract[task])
    assert teacher.keys() == MODULES[task] - {"itm_head", "temperature"}
    for name, tree in teacher.items():
        assert tree == abstract[task][name], name


@pytest.mark.parametrize("task", MODULES)
def test_parameters_are_float32_at_any_dtype(tiny, task):
    config = replace(tiny.config, dtype="bfloat16")
    tree = jax.eval_shape(partial(task_models.init, config, task), jax.random.key(0))
    assert {leaf.dtype for leaf in jax.tree.leaves(tree)} == {jnp.dtype("float32")}


@pytest.mark.parametrize("task, classes", [("entailment", 3), ("nlvr", 2)])
def test_classes(abstract, task, classes):
    head = abstract[task]["cls_head"]
    assert head["hidden"]["kernel"].shape == (24, 24)
    assert head["out"]["kernel"].shape == (24, classes)
    assert head["out"]["bias"].shape == (classes,)


def test_three_assignments(abstract):
    assert abstract["nlvr_pretrain"]["ta_head"]["kernel"].shape == (24, 3)


@pytest.fixture(scope="module")
def fresh(tiny):
    """What is new in one task, and a part of what is kept, of three keys."""

    @jax.jit
    def init(key):
        params = task_models.init(tiny.config, "nlvr_pretrain", key)
        return {name: params[name] for name in ("image_proj", "pair_encoder", "ta_head")}

    # This kind of key compiles faster than the default.
    return [jax.device_get(init(jax.random.key(seed, impl="rbg"))) for seed in (0, 0, 1)]


def test_fresh_parameters_follow_the_key(fresh):
    one, again, other = fresh
    jax.tree.map(np.testing.assert_array_equal, one, again)
    still = {
        jax.tree_util.keystr(path)
        for (path, ours), theirs in zip(
            jax.tree_util.tree_leaves_with_path(one), jax.tree.leaves(other), strict=True
        )
        if np.array_equal(ours, theirs)
    }
    assert still
    assert all(name.endswith(("['bias']", "['scale']")) for name in still), still


def test_no_two_parts_start_alike(fresh):
    tree = fresh[0]
    kernels = {
        jax.tree_util.keystr(path): np.asarray(leaf).ravel()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
        if path[-1].key == "kernel"
    }
    firsts = [kernel[:24] / np.linalg.norm(kernel[:24]) for kernel in kernels.values()]
    alike = np.abs(np.array(firsts) @ np.array(firsts).T) - np.eye(len(firsts))
    assert alike.max() < 0.95


def test_heads_start_small_with_zero_biases(fresh):
    """Uniform by fan-in: a deviation of one over the root of the width."""
    head = fresh[0]["ta_head"]
    assert np.std(head["kernel"]) == pytest.approx(24**-0.5, rel=0.3)
    assert not np.any(head["bias"])


def head(inputs, outputs):
    kernel = RNG.standard_normal((inputs, outputs), np.float32)
    return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(RNG.standard_normal(outputs))}


def test_class_logits():
    params = {"cls_head": {"hidden": head(6, 5), "out": head(5, 3)}}
    x = RNG.standard_normal((4, 6), np.float32)
    hidden, out = (
        jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["cls_head"][name])
        for name in ("hidden", "out")
    )
    inside = x @ hidden["kernel"] + hidden["bias"]
    assert np.any(inside < 0)
    expected = np.maximum(inside, 0) @ out["kernel"] + out["bias"]
    np.testing.assert_allclose(class_logits(params, jnp.asarray(x)), expected, rtol=1e-4, atol=1e-5)


def test_assignment_logits():
    params = {"ta_head": head(6, 3)}
    x = RNG.standard_normal((4, 6), np.float32)
    expected = x @ np.asarray(params["ta_head"]["kernel"]) + params["ta_head"]["bias"]
    found = assignment_logits(params, jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_heads_compute_in_float32_at_any_dtype():
    params = {"cls_head": {"hidden": head(6, 5), "out": head(5, 3)}, "ta_head": head(6, 3)}
    x = jnp.ones((2, 6), jnp.bfloat16)
    assert class_logits(params, x).dtype == assignment_logits(params, x).dtype == jnp.float32
