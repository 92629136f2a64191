"""Ships the recipes inside the wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class WithRecipes(build_py):
    """Also copies `configs/` to `albef_jax/recipes/`; in place, nothing is copied."""

    def run(self) -> None:
        """Build."""
        super().run()
        if not self.editable_mode:
            recipes = Path(self.build_lib, "albef_jax", "recipes")
            recipes.mkdir(parents=True, exist_ok=True)
            for file in sorted(Path("configs").glob("*.py")):
                shutil.copyfile(file, recipes / file.name)


setup(cmdclass={"build_py": WithRecipes})
