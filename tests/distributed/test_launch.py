"""Which group a process belongs to, by flags, variables, and Slurm."""

import pytest

from albef_jax.distributed.launch import Group, find
from albef_jax.errors import ConfigError

SLURM = {
    "SLURM_JOB_ID": "8193",
    "SLURM_STEP_NODELIST": "gpu[003-004,7],cpu1",
    "SLURM_NTASKS": "16",
    "SLURM_PROCID": "9",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
}


def test_alone():
    assert find(None, None, None, {}) is None
    assert find(None, None, None, {"JOB_COMPLETION_INDEX": "3"}) is None
    assert find("here:1", 1, 0, {}) is None
    assert find(None, None, None, SLURM | {"SLURM_NTASKS": "1"}) is None
    # inside an sbatch script, before srun
    assert find(None, None, None, {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4"}) is None


def test_flags():
    assert find("host:4321", 4, 3, {}) == Group("host:4321", 4, 3)
    assert find("[::1]:4321", 2, 0, SLURM).coordinator == "[::1]:4321"
    assert find("auto", None, None, SLURM) == Group("auto")


def test_variables_stand_for_flags():
    variables = {
        "JAX_COORDINATOR_ADDRESS": "first:4321",
        "JAX_NUM_PROCESSES": "4",
        "JOB_COMPLETION_INDEX": "2",
    }
    assert find(None, None, None, variables) == Group("first:4321", 4, 2)
    assert find(None, None, 1, variables) == Group("first:4321", 4, 1)
    assert find(None, None, None, variables | {"JAX_PROCESS_ID": "0"}).process == 0


@pytest.mark.parametrize(
    "nodes, first",
    [
        ("a1", "a1"),
        ("a1,b2", "a1"),
        ("n[001-004]", "n001"),
        ("n[07,09-12],m3", "n07"),
        ("tux-[1-2]-s[3-4]", "tux-1-s3"),
        ("a[01-02]-ib0", "a01-ib0"),
        ("a[01-02,7]-ib[3,4].x,b[1,2]", "a01-ib3.x"),
        ("a-b_c.d,e", "a-b_c.d"),
    ],
)
def test_slurm(nodes, first):
    found = find(None, None, None, SLURM | {"SLURM_STEP_NODELIST": nodes})
    assert found == Group(f"{first}:{61440 + 1}", 16, 9)


def test_a_task_takes_its_own_gpu_where_it_sees_several():
    eight = {"CUDA_VISIBLE_DEVICES": "0,1,2,3,4,5,6,7"}
    assert find(None, None, None, SLURM | eight).devices == (1,)
    assert find(None, None, None, SLURM | {"CUDA_VISIBLE_DEVICES": "1"}).devices is None
    one_a_node = {"SLURM_STEP_TASKS_PER_NODE": "1(x16)"}
    assert find(None, None, None, SLURM | eight | one_a_node).devices is None


@pytest.mark.parametrize(
    "given, message",
    [
        (("host:1", None, None), "--coordinator given, but not --processes and --process"),
        (("host:1", 2, None), "--coordinator and --processes given, but not --process:"),
        ((None, 2, 1), "but not --coordinator"),
        ((None, None, 0), "--process given, but not --coordinator and --processes"),
        (("host:1", 2, 2), "--process=2 --processes=2: processes are numbered 0 to N - 1"),
        (("host:1", 2, -1), "numbered 0 to N - 1"),
        (("host:1", 0, 0), "numbered 0 to N - 1"),
        (("host", 2, 1), "--coordinator=host: give HOST:PORT"),
        (("auto", 2, None), "leave out --processes"),
    ],
)
def test_errors(given, message):
    with pytest.raises(ConfigError, match=message):
        find(*given, {})


def test_a_variable_that_is_no_number():
    variables = {
        "JAX_COORDINATOR_ADDRESS": "a:1",
        "JAX_NUM_PROCESSES": "two",
        "JAX_PROCESS_ID": "0",
    }
    with pytest.raises(ConfigError, match="--processes=two: not a number"):
        find(None, None, None, variables)
