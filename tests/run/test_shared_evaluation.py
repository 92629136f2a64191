"""An evaluation by any number of real processes gives the same bytes."""

import shutil

import pytest

from tests.helpers.processes import group_flags, started

DEVICES = 4  # of all processes together
FILES = ("results.json", "queries.csv")


def run(workdir, task, processes, *flags):
    config = f"tests/helpers/tiny_run.py:{task}"
    command = ["-m", "albef_jax.main", "--config", config, f"--workdir={workdir}", *flags]
    groups = group_flags(processes) if processes > 1 else [[]]
    with started([[*command, *group] for group in groups], DEVICES // processes) as running:
        codes = [one.end() for one in running]
        assert not any(codes), running[0].text


@pytest.mark.slow
@pytest.mark.parametrize("task", ["retrieval", "entailment", "vqa", "nlvr", "grounding"])
def test_one_two_and_four_processes_find_the_same(task, tmp_path):
    run(tmp_path / "trained", task, 1)
    found = []
    for processes in (1, 2, 4):
        workdir = tmp_path / str(processes)
        shutil.copytree(tmp_path / "trained", workdir)
        for name in FILES:
            (workdir / name).unlink()
        run(workdir, task, processes, "--eval_only")
        found.append([(workdir / name).read_bytes() for name in FILES])
    assert found[0] == found[1] == found[2]
