"""Packages that only some commands need: found, missing, or there and broken."""

import importlib
from typing import Any


class PackageError(ValueError):
    """A package that is needed cannot be used; the message says why, and what to do."""


def needed(
    module: str, what: str, extra: str, package: str = "", raises: type[Exception] = PackageError
) -> Any:
    """A module of an optional package, imported.

    Args:
        module: its name, "faiss".
        what: needs it, for the message: "searching".
        extra: of ours, that installs it.
        package: what it is called for pip, where not like the module.
        raises: the error.

    Raises:
        PackageError: or `raises`. It says "not installed" of this very package only; where its
            import fails in another way, it shows the cause.
    """
    package = package or module
    remedy = f"pip install 'albef-jax[{extra}]', or pip install {package}"
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name == module:
            raise raises(f"{what} needs {package}, which is not installed: {remedy}") from None
        raise raises(_broken(what, package, error)) from error
    except Exception as error:  # importing runs the package's own code, which may raise anything
        raise raises(_broken(what, package, error)) from error
    if hasattr(found, "__path__") and getattr(found, "__file__", None) is None:
        # A folder of this name, as wandb leaves one, is taken for a package without code.
        raise raises(f"{what} needs {package}, which is not installed: {remedy}")
    return found


def _broken(what: str, package: str, error: Exception) -> str:
    cause = " ".join(str(error).split())
    return (
        f"{what} needs {package}, which is installed and cannot be imported: "
        f"{type(error).__name__}: {cause}"
    )
