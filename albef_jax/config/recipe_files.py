"""Finds the file of a recipe: the path as given, or a recipe shipped with the package."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from albef_jax.errors import ConfigError

# In the repository, recipes lie beside the package; installed, in it.
_PLACES = (Path(__file__).parents[2] / "configs", Path(__file__).parents[1] / "recipes")


def resolved(arguments: Sequence[str]) -> list[str]:
    """Command-line arguments in which `--config` names a file that exists.

    `configs/vqa.py:demo` is looked for here, then among the recipes of the package.

    Raises:
        ConfigError: no such file; the message names the nearest recipe.
    """
    found = list(arguments)
    for place, argument in enumerate(found):
        if argument in ("--config", "-config") and place + 1 < len(found):
            found[place + 1] = located(found[place + 1])
        elif argument.startswith(("--config=", "-config=")):
            flag, _, recipe = argument.partition("=")
            found[place] = f"{flag}={located(recipe)}"
    return found


def located(recipe: str) -> str:
    """`FILE.py[:PRESET]` with a path that exists; see `resolved`."""
    found = re.fullmatch(r"(.+?\.py)(:.*)?", recipe, re.DOTALL)
    if found is None or Path(found[1]).is_file():
        return recipe
    path, preset = Path(found[1]), found[2] or ""
    shipped = {file.stem: file for place in _PLACES for file in sorted(place.glob("*.py"))}
    if path.parent == Path("configs") and path.stem in shipped:
        return f"{shipped[path.stem]}{preset}"
    near = difflib.get_close_matches(path.stem, shipped, 1)
    hint = f"did you mean configs/{near[0]}.py?" if near else f"there are {', '.join(shipped)}"
    raise ConfigError(f"--config={recipe}: no such file; {hint}")
