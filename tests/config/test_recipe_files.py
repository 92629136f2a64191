from pathlib import Path

import pytest

from albef_jax.config import recipe_files
from albef_jax.config.recipe_files import located, resolved
from albef_jax.errors import ConfigError

ROOT = Path(__file__).parents[2]


def test_a_file_that_is_there_stays_as_it_is(monkeypatch):
    monkeypatch.chdir(ROOT)
    given = ["main", "--config", "configs/vqa.py:demo", "--config.train.steps=3"]
    assert resolved(given) == given


def test_without_a_clone_the_recipes_of_the_package_are_found(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "albef_jax"
    (package / "recipes").mkdir(parents=True)
    (package / "recipes" / "vqa.py").write_text("")
    places = (package.parent / "configs", package / "recipes")
    monkeypatch.setattr(recipe_files, "_PLACES", places)
    monkeypatch.chdir(tmp_path)
    recipe = package / "recipes" / "vqa.py"
    assert located("configs/vqa.py") == str(recipe)
    assert resolved(["main", "--config=configs/vqa.py:demo"])[1] == f"--config={recipe}:demo"
    assert resolved(["main", "--config", "configs/vqa.py:demo"])[2] == f"{recipe}:demo"


@pytest.mark.parametrize("path", ["configs/pretrian.py:4m", "elsewhere/pretrain.py"])
def test_a_file_that_is_nowhere(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"no such file; did you mean configs/pretrain\.py\?"):
        resolved(["main", "--config", path])


def test_a_name_unlike_all_gets_their_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="there are entailment, grounding, "):
        located("configs/xyz.py")


def test_a_folder_may_have_the_ending_in_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my.python"
    folder.mkdir()
    (folder / "x.py").write_text("")
    assert located(f"{folder}/x.py:demo") == f"{folder}/x.py:demo"
    with pytest.raises(ConfigError, match=r"did you mean configs/vqa\.py"):
        located(f"{folder}/vqaa.py")
