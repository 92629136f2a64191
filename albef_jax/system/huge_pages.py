"""Large arrays in huge pages of memory, where Linux gives them on request (`madvise`).

XLA asks for its arrays anew at each step, and a CPU spends a tenth of the step on touching pages
of 4 KiB for the first time. glibc reads the request when a process starts, from `GLIBC_TUNABLES`.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

VARIABLE = "GLIBC_TUNABLES"
REQUEST = "glibc.malloc.hugetlb=1"
SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart_with_huge_pages(module: str) -> None:
    """Start a process that was started as `python -m module` anew, with the request.

    It keeps its number, arguments and environment. Whatever the user has in the variable stays, and
    then nothing happens; nor does it in a debugger or a notebook.
    """
    setting = SETTING.read_text() if SETTING.is_file() else ""
    if to_be_asked_for(setting, module, sys.orig_argv, os.environ):
        os.environ[VARIABLE] = REQUEST
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def to_be_asked_for(
    setting: str, module: str, command: Sequence[str], environment: Mapping[str, str]
) -> bool:
    """Whether a process of this command line gets huge pages by starting anew.

    Args:
        setting: what the kernel says of them, such as `always [madvise] never`.
    """
    modules = [name for flag, name in pairwise(command) if flag == "-m"]
    started = modules[:1] == [module] and bool(sys.executable)
    return "[madvise]" in setting and started and VARIABLE not in environment
