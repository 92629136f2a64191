"""'Not installed' is said of the very package that is missing, and of no other failure."""

import sys

import pytest

from albef_jax.apps.demo import page
from albef_jax.apps.search import storage
from albef_jax.apps.search.items import SearchError
from albef_jax.observability import metrics
from albef_jax.system.optional import PackageError, needed

BROKEN = {
    "import socksio_that_is_not_there": "No module named 'socksio_that_is_not_there'",
    "raise ImportError('a SOCKS proxy,\\nno socksio')": "ImportError: a SOCKS proxy, no socksio",
    "raise RuntimeError('wrong CPU')": "RuntimeError: wrong CPU",
    "import ctypes; ctypes.CDLL('nowhere.so')": "OSError: nowhere.so",
}
NAMES = ("gradio", "faiss", "tensorboardX", "wandb", "flatbuffers", "apache_beam")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where modules are found first; those that other tests have imported are forgotten."""
    for name in NAMES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def asked(name):
    """The message of whoever needs the package."""
    if name in metrics.MODULES.values():
        return "".join(metrics.problems({m: option for option, m in metrics.MODULES.items()}[name]))
    ask = {"gradio": page.gradio, "faiss": storage.faiss}[name]
    with pytest.raises((SearchError, page.CannotShow)) as caught:
        ask()
    return str(caught.value)


@pytest.mark.parametrize("name", ["gradio", "faiss", "tensorboardX", "wandb"])
@pytest.mark.parametrize("code", BROKEN)
def test_a_package_that_fails_shows_the_cause(place, name, code, monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    (place / f"{name}.py").write_text(code)
    message = asked(name)
    assert "which is installed and cannot be imported: " in message and "\n" not in message
    assert BROKEN[code] in message and "pip install" not in message


@pytest.mark.parametrize("name", ["gradio", "faiss", "tensorboardX", "wandb"])
def test_a_package_that_is_missing(place, name, monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setitem(sys.modules, name, None)
    assert "is not installed: pip install 'albef-jax[" in asked(name)


def test_a_folder_of_that_name_is_no_package(place):
    """Runs of wandb leave a folder `wandb` where they were started."""
    (place / "package_of_nobody").mkdir()
    with pytest.raises(PackageError, match="is not installed"):
        needed("package_of_nobody", "this", "extra")


def test_one_that_is_there(place):
    (place / "module_of_nobody.py").write_text("x = 3")
    assert needed("module_of_nobody", "this", "extra").x == 3
