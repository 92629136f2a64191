"""The recipes of docs/launching.md lead to a group, and do what the page says."""

import json
import os
import re
import subprocess
import tomllib

import pytest

from albef_jax.distributed.launch import VARIABLES, Group, find
from tests.helpers.launching_page import (
    PAGE,
    block,
    blocks,
    manifest,
    pod_variables,
    sagemaker_variables,
)
from tests.helpers.processes import ROOT


def test_the_manifest():
    service, job = manifest()
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == container["name"]
    variables = pod_variables()
    assert spec["completions"] == spec["parallelism"] == int(variables["JAX_NUM_PROCESSES"])
    host = f"{job['metadata']['name']}-0.{pod['subdomain']}"
    found = find(None, None, None, variables | {"JOB_COMPLETION_INDEX": "3"})
    assert found == Group(f"{host}:4321", 4, 3)
    accounts = [text for text in blocks("bash") if "kubectl create serviceaccount" in text]
    assert len(accounts) == 2
    assert all(f"serviceaccount {pod['serviceAccountName']}\n" in text for text in accounts)


@pytest.mark.parametrize("script", blocks("bash"), ids=lambda text: text.splitlines()[0])
def test_the_scripts_are_shell(script):
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_table_has_all_variables():
    for flag, names in VARIABLES.items():
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `--{flag}`")]
        assert all(f"`{name}`" in row for name in names)


def test_the_extras_exist():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = re.findall(r"-e '\.\[([\w,]+)\]'|EXTRAS=([\w,]+)", PAGE)
    extras = {extra for found in named for text in found for extra in text.split(",")} - {""}
    assert {"gcs", "s3"} < extras <= set(project["optional-dependencies"])


def test_sagemaker_hosts_are_numbered(tmp_path):
    hosts = [f"algo-{number}" for number in (10, 2, 1, 9)]  # by number, not by letter
    for place, current in enumerate(["algo-1", "algo-2", "algo-9", "algo-10"]):
        variables = sagemaker_variables(tmp_path, hosts, current)
        assert find(None, None, None, variables) == Group("algo-1:4321", 4, place)
    assert find(None, None, None, sagemaker_variables(tmp_path, ["algo-1"], "algo-1")) is None


def test_the_request_for_a_sagemaker_job():
    session = pytest.importorskip("botocore.session", reason="albef_jax[s3] not installed")
    validate = pytest.importorskip("botocore.validate")
    request = json.loads(block("json", "TrainingJobName"))
    service = session.get_session().get_service_model("sagemaker")
    shape = service.operation_model("CreateTrainingJob").input_shape
    report = validate.ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    limits = request["StoppingCondition"]
    assert limits["MaxWaitTimeInSeconds"] >= limits["MaxRuntimeInSeconds"]
    assert request["ResourceConfig"]["InstanceType"] in (
        service.shape_for("TrainingInstanceType").enum
    )


def test_the_policy_names_one_bucket():
    policy = json.loads(block("json", "Statement"))
    resources = [statement["Resource"] for statement in policy["Statement"]]
    assert resources == ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"]


@pytest.fixture
def played(tmp_path):
    """A folder with programs that play others: each is given its lines of shell."""
    (tmp_path / "bin").mkdir()

    def play(name: str, lines: str):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/bash\n{lines}\n")
        file.chmod(0o755)

    def run(script: str) -> tuple[int, str]:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash"], input=script, text=True, cwd=tmp_path, env=os.environ | {"PATH": path}
        )
        log = tmp_path / "log"
        return done.returncode, log.read_text() if log.exists() else ""

    play("bin/sleep", "exit 0")
    return play, run


# Plays `gcloud` by files: the state, and what the run on the pod does each time.
GCLOUD = """
echo "$4" >> log
case $4 in
    create) echo "PROVISIONING ACTIVE" > state ;;
    describe)
        [ -e state ] || exit 1
        read -r now later < state
        echo "$now"
        echo "${later:-$now}" > state ;;
    delete) rm state ;;
    ssh)
        read -r outcome rest < outcomes
        echo "$rest" > outcomes
        [ "$outcome" = taken ] && { echo SUSPENDED > state; exit 255; }
        exit "$outcome" ;;
esac
"""


@pytest.mark.parametrize(
    "outcomes, code, log",
    [
        ("0", 0, "create ssh delete"),
        ("taken taken 0", 0, "create ssh delete create ssh delete create ssh delete"),
        ("taken 2", 2, "create ssh delete create ssh delete"),
    ],
)
def test_a_pod_is_asked_for_again_when_it_is_taken_away(played, tmp_path, outcomes, code, log):
    play, run = played
    play("bin/gcloud", GCLOUD)
    (tmp_path / "host.sh").write_text("the run")
    (tmp_path / "outcomes").write_text(outcomes)
    found, asked = run(block("bash", "pod()"))
    assert found == code
    assert [word for word in asked.split() if word != "describe"] == log.split()


@pytest.mark.parametrize(
    "codes, last", [("0", 0), ("75 137 143 0", 0), ("75 2", 2), ("1", 1), ("75 " * 20, 75)]
)
def test_a_host_starts_the_run_again_until_it_is_done(played, tmp_path, codes, last):
    play, run = played
    play("bin/git", "mkdir albef_jax")
    play("bin/python3", "exit 0")
    run("git clone")
    play(
        "albef_jax/.venv/bin/python",
        f"read -r code rest < {tmp_path}/codes; echo $rest > {tmp_path}/codes\n"
        f"echo $code >> {tmp_path}/log; exit $code",
    )
    (tmp_path / "codes").write_text(codes)
    found, log = run(block("bash", "uv venv"))
    assert found == last and log.split() == codes.split()
