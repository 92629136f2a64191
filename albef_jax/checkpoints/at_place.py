"""The checkpoints of a workdir, on a disk or in a bucket."""

from ml_collections import ConfigDict

from albef_jax.checkpoints.bucket_steps import FOLDER, BucketSteps
from albef_jax.checkpoints.from_one_process import BucketCheckpoints
from albef_jax.checkpoints.manager import Checkpoints
from albef_jax.distributed.sync import is_main_process
from albef_jax.workdir.place import Place


def steps_in(place: Place) -> BucketSteps:
    """The saved steps of a workdir in a bucket; what the run has logged is written before each."""
    assert place.folder is not None
    return BucketSteps(place.folder, before_seal=place.flush)


def checkpoints_at(place: Place, options: ConfigDict) -> Checkpoints:
    """The checkpoints of a workdir.

    Args:
        options: of `config.checkpoint`.
    """
    directory, keep, keep_every = place.path / FOLDER, options.keep, options.keep_every
    if place.folder is None:
        return Checkpoints(directory, keep, keep_every)
    steps = steps_in(place)
    if is_main_process():  # which holds the lock
        steps.remove_unsealed()
    return BucketCheckpoints(directory, keep, keep_every, steps)
