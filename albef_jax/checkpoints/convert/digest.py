"""A digest of the student's weights, equal in every form of a checkpoint."""

import hashlib

import numpy as np

from albef_jax.checkpoints.official.inventory import Inventory
from albef_jax.checkpoints.official.state_dict import State


def digest(found: Inventory, state: State) -> str:
    """SHA-256 over the student's official names in order, with shapes and float32 contents.

    A tied weight counts once, under its first name; position numbers, teacher and queues do not.
    """
    leaves = {name: array for name, _, array in found.leaves(state, "student")}
    total = hashlib.sha256()
    for name in sorted(leaves):
        array = np.asarray(leaves[name], "<f4", order="C")
        total.update(f"{name} {array.shape}\n".encode())
        total.update(array.reshape(-1).view(np.uint8).data)
    return total.hexdigest()
