"""What `albef_jax.main` says to a command line, without a process, which starts for seconds."""

import sys
import warnings
from unittest.mock import patch

import pytest
from absl.testing import flagsaver

from albef_jax import main


def refused(*arguments: str) -> None:
    """Parse as the command does, which ends with exit status 2; the flags are as before then."""
    given = ["main", *arguments]
    with flagsaver.flagsaver(), patch.object(sys, "argv", given), warnings.catch_warnings():
        # ml_collections loads recipes in a way that Python 3.11 warns of.
        warnings.simplefilter("ignore", DeprecationWarning)
        with pytest.raises(SystemExit) as end:
            main._parse(given)
    assert end.value.code == 2
