"""The state that a run begins with: from a checkpoint, or from pre-trained encoders."""

import jax
from ml_collections import ConfigDict

from albef_jax.checkpoints.init_from.checkpoint import transfer
from albef_jax.checkpoints.init_from.encoders import warm_start_encoders
from albef_jax.checkpoints.init_from.report import ModuleOrigin
from albef_jax.checkpoints.load import read_checkpoint
from albef_jax.config.tasks import task_spec
from albef_jax.distributed.sync import print_on_main
from albef_jax.losses.queue import Queue
from albef_jax.models import albef
from albef_jax.train.state import TrainState


def start_from(config: ConfigDict, fresh: TrainState) -> tuple[TrainState, list[ModuleOrigin]]:
    """A fresh state with what `init.checkpoint` has of it, and what became of every module.

    Raises:
        CheckpointError: the checkpoint cannot be read, lacks something that `init.allow_missing`
            does not name, or is of another size.
    """
    found = read_checkpoint(config.init.checkpoint)
    print_on_main(*(f"{config.init.checkpoint}: {note}" for note in found.notes))
    allowed = (part.strip() for part in config.init.allow_missing.split(","))
    start = transfer(
        task_spec(config.task).model,
        fresh.params,
        found.task,
        found.params,
        fresh.teacher,
        found.teacher,
        {} if fresh.queue is None else fresh.queue.arrays(),
        found.queues,
        teacher=config.init.get("teacher", "official"),
        allow_missing=tuple(filter(None, allowed)),
    )
    queue = fresh.queue
    if queue is not None:
        queue = Queue(**start.queues)
        # Another batch size: whole batches must fit up to the queue's end.
        aligned = queue.pointer - queue.pointer % config.train.batch_size
        queue = queue._replace(pointer=jax.numpy.int32(aligned))
    return fresh.replace(params=start.params, teacher=start.teacher, queue=queue), start.rows


def start_from_encoders(
    config: ConfigDict, fresh: TrainState
) -> tuple[TrainState, list[ModuleOrigin]]:
    """A fresh state with the encoders of `init.text` and `init.vision`, in the teacher too.

    Raises:
        CheckpointError: an encoder cannot be found or read, or is of another size.
    """
    params, rows = warm_start_encoders(config, fresh.params)
    teacher = jax.device_get(albef.teacher_params(params)) if fresh.teacher else {}
    return fresh.replace(params=params, teacher=teacher), rows
