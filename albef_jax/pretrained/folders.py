"""Where the models that come with the package lie."""

from pathlib import Path

_HERE = Path(__file__).parent

# `scenes`: the built-in world's, by `make pretrained`.
NAMES = ("scenes",)


def locate(model: str | Path) -> Path:
    """The folder of a model that comes with the package, or else the path itself.

    A file or folder of that name in the working directory takes precedence.
    """
    path = Path(model)
    return _HERE / path if str(model) in NAMES and not path.exists() else path
