"""Finds the entry of a `.pth` that holds the weights, and lists the other contents."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# In order of preference: the official code's, other trainers', and averages of the weights, which
# are used only if there is nothing else.
ENTRIES = (
    *("model", "state_dict", "model_state_dict", "module"),
    *("model_ema", "ema", "ema_state_dict", "state_dict_ema"),
)
_DEEPEST = 3
_SHOWN = 8


@dataclass(frozen=True)
class Found:
    """The weights in an unpickled file.

    Attributes:
        state: tensors by name.
        where: the entries that lead to it, from the outermost on; empty if it is the file itself.
        odd: `name (type)` of entries among the tensors that are not tensors.
        beside: entries beside `where`, by name.
    """

    state: dict[str, np.ndarray]
    where: tuple[str, ...]
    odd: tuple[str, ...]
    beside: dict[str, Any] = field(default_factory=dict)

    def notes(self) -> tuple[str, ...]:
        """Remarks on the choice for the user, a line each."""
        notes = []
        if self.where not in ((), ("model",)):
            notes.append(f"the weights are those under {' / '.join(self.where)}")
        if self.odd:
            notes.append(f"among the weights, no tensors and left out: {_listed(self.odd)}")
        if self.beside:
            names = tuple(map(str, self.beside))
            notes.append(f"beside the weights: {_listed(names)}")
        return tuple(notes)


def find(content: dict) -> Found:
    """The weights in the contents of a file.

    Raises:
        ValueError: there are none.
    """
    where: tuple[str, ...] = ()
    state: dict = content
    beside: dict[str, Any] = {}
    while len(where) < _DEEPEST and (entry := _entry(state, _DEEPEST - len(where))):
        beside |= {str(name): value for name, value in state.items() if name != entry}
        state, where = state[entry], (*where, entry)
    tensors = {name: value for name, value in state.items() if _is_tensor(name, value)}
    odd = [f"{name} ({_kind(value)})" for name, value in state.items() if name not in tensors]
    if not tensors:
        raise ValueError(
            f"no weights: it holds {_listed(tuple(odd)) or 'nothing'}, and tensors are looked for "
            f"in it and under {', '.join(ENTRIES)}; save the model's state dict under one of these"
        )
    return Found(tensors, where, tuple(odd), beside)


def _entry(content: Mapping[Any, Any], depth: int) -> str | None:
    """The entry to look into."""
    return next((name for name in ENTRIES if _holds(content.get(name), depth - 1)), None)


def _holds(value: object, depth: int) -> bool:
    """Whether there are tensors in `value`, or in an entry of it."""
    if not isinstance(value, dict):
        return False
    if any(_is_tensor(name, inner) for name, inner in value.items()):
        return True
    return depth > 0 and _entry(value, depth) is not None


def _is_tensor(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, np.ndarray)


def _kind(value: object) -> str:
    return "dictionary" if isinstance(value, dict) else type(value).__name__


def _listed(names: tuple[str, ...]) -> str:
    shown = [name[:80] for name in names[:_SHOWN]]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
