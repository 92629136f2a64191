"""Imports optional packages; distinguishes missing ones from broken ones."""

import importlib
from typing import Any


class PackageError(ValueError):
    """A required package cannot be used; the message has the cause and the remedy."""


def needed(
    module: str,
    what: str,
    extra: str,
    package: str = "",
    raises: type[BaseException] = PackageError,
) -> Any:
    """Import a module of an optional package.

    Args:
        module: its name, "faiss".
        what: the feature that needs it, for the message: "searching".
        extra: our extra that installs it.
        package: its name for pip, if it differs from the module's.
        raises: the type of the error.

    Raises:
        PackageError: or `raises`. The message says "not installed" only if this very package is
            missing; for any other failure of the import it has the cause.
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
