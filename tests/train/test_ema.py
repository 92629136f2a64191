import jax
import numpy as np
import pytest

from albef_jax.models import albef
from albef_jax.train.ema import update_teacher


def test_the_moving_average(tiny):
    teacher = jax.tree.map(lambda leaf: leaf + 1, albef.teacher_params(tiny.params))
    found = jax.jit(update_teacher)(teacher, tiny.params, 0.995)
    assert found.keys() == teacher.keys()
    assert not {"itm_head", "temperature"} & found.keys()

    def compare(new, old, student):
        expected = 0.995 * np.asarray(old, np.float64) + 0.005 * np.asarray(student, np.float64)
        np.testing.assert_allclose(new, expected, rtol=1e-6, atol=1e-7)

    jax.tree.map(compare, found, teacher, {name: tiny.params[name] for name in teacher})


@pytest.mark.parametrize("momentum, source", [(1.0, "teacher"), (0.0, "student")])
def test_the_ends(momentum, source):
    trees = {"teacher": {"a": np.ones(3)}, "student": {"a": np.zeros(3), "temperature": 1.0}}
    found = update_teacher(trees["teacher"], trees["student"], momentum)
    np.testing.assert_array_equal(found["a"], trees[source]["a"])


def test_a_student_that_lacks_a_part_is_an_error():
    with pytest.raises(KeyError, match="text_proj"):
        update_teacher({"text_proj": np.ones(3)}, {"itm_head": np.ones(3)}, 0.9)
