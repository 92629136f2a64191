"""The scripts and manifests of docs/launching.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

from tests.helpers.processes import ROOT

PAGE = (ROOT / "docs" / "launching.md").read_text("utf-8")
HOSTS = "/opt/ml/input/config/resourceconfig.json"


def blocks(language: str) -> list[str]:
    """All blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def block(language: str, inside: str) -> str:
    """The one block that contains this text."""
    (found,) = [text for text in blocks(language) if inside in text]
    return found


def manifest() -> tuple[dict, dict]:
    """The Kubernetes service and job."""
    service, job = yaml.safe_load_all(block("yaml", "kind: Job"))
    return service, job


def pod_variables() -> dict[str, str]:
    """Which variables the manifest gives each pod."""
    (container,) = manifest()[1]["spec"]["template"]["spec"]["containers"]
    return {entry["name"]: entry["value"] for entry in container["env"]}


def sagemaker_variables(folder: Path, hosts: list[str], current: str) -> dict[str, str]:
    """What `sagemaker.sh` sets on a host, by the file that SageMaker would write there."""
    told = folder / f"{current}.json"
    told.write_text(json.dumps({"current_host": current, "hosts": hosts}))
    script = block("bash", HOSTS).replace(HOSTS, str(told)).replace("cd /albef_jax", "cd .")
    script = script.replace("python -", f"{sys.executable} -", 1)
    script = script.replace('exec python -m albef_jax.main "$@"', "exec env")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    done = subprocess.run(["bash"], input=script, env=clean, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    lines = (line.partition("=") for line in done.stdout.splitlines() if line.startswith("JAX_"))
    return {name: value for name, _, value in lines}
