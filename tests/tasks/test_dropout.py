"""Every task's step with dropout, as a run traces it: most whole runs of other tests have none."""

import re

import jax
import pytest

from albef_jax.config.tasks import TASKS, task_spec
from albef_jax.distributed.mesh import make_mesh
from tests.helpers.tiny_run import SIZES, scenes_config, task_config

TRAINED = [task for task in TASKS if task_spec(task).trains]


@pytest.mark.parametrize("task", TRAINED)
def test_a_step_draws_what_is_dropped(task, tmp_path):
    """Of hidden states, at least once for the student and once for the teacher."""
    config = scenes_config() if task == "pretrain" else task_config(task)
    made = task_spec(task).run(config, tmp_path)
    state, rows = jax.eval_shape(made.init_state), made.row_shapes()
    batch = {
        name: jax.ShapeDtypeStruct((made.batch_size, *rows[name].shape), rows[name].dtype)
        for name in made.step_inputs
    }
    step = made.step(make_mesh(devices=jax.devices()[:1]), state)
    text = str(step.trace(state, batch).jaxpr)
    shapes = re.findall(r"random_bits\[bit_width=\d+ shape=\(([\d, ]+)\)", text)
    hidden = [shape for shape in shapes if shape.endswith(f", {SIZES['text_width']}")]
    assert len(hidden) >= 2
