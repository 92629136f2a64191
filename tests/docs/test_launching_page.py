"""The recipes of docs/launching.md lead to a group."""

import re
import subprocess
from pathlib import Path

import yaml

from albef_jax.distributed.launch import VARIABLES, Group, find

PAGE = (Path(__file__).parents[2] / "docs" / "launching.md").read_text("utf-8")


def block(language, start):
    blocks = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return next(text for text in blocks if start in text)


def test_the_manifest():
    service, job = yaml.safe_load_all(block("yaml", "kind: Job"))
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    assert service["metadata"]["name"] == pod["subdomain"]
    assert service["spec"]["selector"] == {"job-name": job["metadata"]["name"]}
    assert spec["completionMode"] == "Indexed"
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["containerName"] == "train"
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert spec["completions"] == spec["parallelism"] == int(variables["JAX_NUM_PROCESSES"])
    host = f"{job['metadata']['name']}-0.{pod['subdomain']}"
    found = find(None, None, None, variables | {"JOB_COMPLETION_INDEX": "3"})
    assert found == Group(f"{host}:4321", 4, 3)


def test_the_scripts_are_shell():
    for start in ("#SBATCH", "XLA_FLAGS", "gcloud"):
        subprocess.run(["bash", "-n"], input=block("bash", start), text=True, check=True)


def test_the_table_has_all_variables():
    for flag, names in VARIABLES.items():
        (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| `--{flag}`")]
        assert all(f"`{name}`" in row for name in names)
