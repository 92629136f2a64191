"""A package's public names, imported when they are first asked for (PEP 562).

Importing a package then costs nothing: a mistyped option is reported before jax is imported.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def public(package: str, names: dict[str, str]) -> tuple[Callable[[str], Any], Callable[[], list]]:
    """`__getattr__` and `__dir__` for a package's `__init__`.

    Args:
        package: its `__name__`.
        names: each public name with the module below the package that defines it.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(f"{package}.{names[name]}"), name)

    return get, lambda: sorted(names)
