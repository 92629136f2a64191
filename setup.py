"""Ships the recipes inside the wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["albef_jax*"]), "albef_jax.recipes"],
    package_dir={"albef_jax.recipes": "configs"},
)
