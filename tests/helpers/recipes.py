"""Recipes, as the files under `configs/` make them."""

import runpy

from ml_collections import ConfigDict

from tests.helpers.pages import ROOT


def recipe(name: str, preset: str = "") -> ConfigDict:
    """What a file under `configs/` makes of a preset."""
    get_config = runpy.run_path(str(ROOT / "configs" / f"{name}.py"))["get_config"]
    return get_config(*filter(None, [preset]))
