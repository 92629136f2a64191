"""The workflow, templates and container files name things that exist."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[2]
WORKFLOW = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text("utf-8"))
TEMPLATES = [ROOT / ".github/ISSUE_TEMPLATE" / f"{name}.yml" for name in ("bug", "question")]
MAKE = re.compile(r"\bmake (?:(?:-\S+|\w+=\S+) )*((?:[\w./-]+ ?)+)")


def shell(job: str) -> str:
    return "\n".join(step.get("run", "") for step in WORKFLOW["jobs"][job]["steps"])


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def targets() -> set[str]:
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("$(BIN)", ".venv/bin")
    found = set(re.findall(r"^([\w%./-]+):", makefile, re.MULTILINE))
    return found | {name.replace("%", ".venv") for name in found}


def test_the_workflow_begins_with_the_oldest_python():
    pythons = WORKFLOW["jobs"]["python"]["strategy"]["matrix"]["python"]
    assert f">={pythons[0]}" == project()["requires-python"]
    assert pythons == sorted(pythons, key=Version)


def test_the_workflow_runs_the_checks_of_a_submission():
    assert shell("python").split() == [".ci/run"]
    assert os.access(ROOT / ".ci/run", os.X_OK)


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_the_workflow_pins_an_end_of_the_range_of_jax(end, tmp_path):
    (tmp_path / "requirements.txt").write_bytes((ROOT / "requirements.txt").read_bytes())
    (pin,) = [step for step in WORKFLOW["jobs"]["jax"]["steps"] if step.get("name") == "Pin jax"]
    environment = os.environ | {"END": end}
    subprocess.run(["bash", "-ec", pin["run"]], cwd=tmp_path, env=environment, check=True)
    pinned = Requirement((tmp_path / "build/jax.txt").read_text().strip())
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    (allowed,) = [Requirement(line) for line in lines if line.startswith("jax>")]
    (specifier,) = pinned.specifier
    version = Version(specifier.version.removesuffix(".*"))
    assert pinned.name == "jax" and specifier.operator == "==" and version in allowed.specifier
    beyond = Version(f"0.{version.minor - 1}.99" if end == "oldest" else f"0.{version.minor + 1}")
    assert beyond not in allowed.specifier


@pytest.mark.parametrize("file", [".github/workflows/ci.yml", ".ci/run", "Dockerfile"])
def test_every_target_that_is_made_exists(file):
    named = set(" ".join(MAKE.findall((ROOT / file).read_text("utf-8"))).split())
    assert named and named <= targets()


def test_the_container_has_extras_that_exist():
    extras = re.findall(r"EXTRAS=([\w,]+)", (ROOT / "Dockerfile").read_text("utf-8"))
    assert {"dev", "dev,gpu", "dev,tpu"} == set(extras)
    assert {name for text in extras for name in text.split(",")} <= set(
        project()["optional-dependencies"]
    )


def test_the_development_container_uses_a_stage_of_the_dockerfile():
    folder = ROOT / ".devcontainer"
    settings = json.loads((folder / "devcontainer.json").read_text("utf-8"))
    dockerfile = (folder / settings["build"]["dockerfile"]).read_text("utf-8")
    assert re.search(rf"^FROM \S+ AS {settings['build']['target']}$", dockerfile, re.MULTILINE)
    assert MAKE.findall(settings["postCreateCommand"])[0] in targets()


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.stem)
def test_a_template_is_a_form(template):
    form = yaml.safe_load(template.read_text("utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"]]
    assert len(ids) == len(set(ids))
    assert all(field["attributes"]["label"] for field in form["body"])
