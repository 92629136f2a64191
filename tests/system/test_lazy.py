"""Each package's public names exist, are few, and cost nothing until they are asked for."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

import albef_jax

# Programs, and helpers without a theme of their own.
WITHOUT = {"albef_jax.tasks.shared", "albef_jax.system", "albef_jax.apps", "albef_jax.tasks"}
PACKAGES = [
    module.name
    for module in pkgutil.walk_packages(albef_jax.__path__, "albef_jax.")
    if module.ispkg and module.name not in WITHOUT
]


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names(name):
    package = import_module(name)
    public = dir(package) if hasattr(package, "__getattr__") else package.__all__
    assert 1 <= len(public) <= 6
    for one in public:
        assert getattr(package, one).__doc__, one
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing


def test_importing_a_package_does_not_import_jax():
    code = "import sys, albef_jax.models, albef_jax.config, albef_jax.validate, albef_jax.train"
    heavy = "[name for name in ('jax', 'flax', 'grain', 'orbax') if name in sys.modules]"
    ended = subprocess.run(
        [sys.executable, "-c", f"{code}; print({heavy})"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "[]"
