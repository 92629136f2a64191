"""Real processes that find each other by the variables of docs/launching.md, two of each recipe."""

import json
import random
import socket

import pytest

from tests.helpers.launching_page import pod_variables, sagemaker_variables
from tests.helpers.processes import free_port, started


def kubernetes(_):
    first = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}", "JAX_NUM_PROCESSES": "2"}
    return [pod_variables() | first | {"JOB_COMPLETION_INDEX": str(n)} for n in range(2)]


def sagemaker(folder):
    hosts = ["algo-2", "algo-1"]
    found = [sagemaker_variables(folder, hosts, f"algo-{number}") for number in (1, 2)]
    assert {one["JAX_COORDINATOR_ADDRESS"] for one in found} == {"algo-1:4321"}
    here = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"}
    return [one | here for one in found]


def slurm(_):
    """The port follows from the job's number: one of a job whose port is free."""
    while True:
        job = random.randrange(4096)
        with socket.socket() as taken:
            if taken.connect_ex(("127.0.0.1", 61440 + job)):
                break
    step = {"SLURM_JOB_ID": str(job), "SLURM_STEP_NODELIST": "127.0.0.1", "SLURM_NTASKS": "2"}
    return [step | {"SLURM_PROCID": str(n), "SLURM_LOCALID": str(n)} for n in range(2)]


RECIPES = {recipe.__name__: recipe for recipe in (kubernetes, sagemaker, slurm)}


@pytest.fixture(scope="module")
def greeted(tmp_path_factory):
    """What the processes of each recipe printed, all started at once."""
    folder = tmp_path_factory.mktemp("variables")
    groups = {name: recipe(folder) for name, recipe in RECIPES.items()}
    variables = [one for group in groups.values() for one in group]
    commands = [["tests/helpers/acts.py", "greeting", str(folder)]] * len(variables)
    with started(commands, devices=1, variables=variables) as processes:
        codes = [process.end() for process in processes]
        texts = [process.text for process in processes]
    assert set(codes) == {0}, texts
    return {name: texts[2 * place : 2 * place + 2] for place, name in enumerate(groups)}


@pytest.mark.parametrize("recipe", RECIPES)
def test_two_processes_find_each_other(greeted, recipe):
    told = [
        json.loads(line)
        for text in greeted[recipe]
        for line in text.splitlines()
        if line.startswith("{")
    ]
    assert told == [{"number": n, "present": [0, 1]} for n in range(2)]
