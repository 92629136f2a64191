"""The table of a start says what the record says."""

import jax
import numpy as np

from albef_jax.checkpoints.init_from.checkpoint import format_table
from albef_jax.checkpoints.official import state_dict
from albef_jax.checkpoints.official.name_table import QUEUE_NAMES
from tests.helpers.warm_starts import (
    CONVERSION,
    EACH_RECORD,
    blank,
    official,
    start,
)


def marked(rows, task, status):
    """Official keys of a task's modules that have this status."""
    paths = {(row.part, row.path) for row in rows if row.status == status}

    def mark(part, tree):
        def ones_or_zeros(path, leaf):
            keys = [key.key for key in path]
            chosen = {(part, "/".join(keys)), (part, "/".join(keys[:-1]))} & paths
            return np.full(np.shape(leaf), bool(chosen), np.float32)

        return jax.tree_util.tree_map_with_path(ones_or_zeros, tree)

    parts = mark("student", official(task).params), mark("teacher", official(task).teacher)
    flat = state_dict.to_official(*parts, {}, task)
    names = {f"queue/{ours}": name for name, ours in QUEUE_NAMES.items()}
    queues = {names[path] for part, path in paths if part == "queues"}
    return queues | {key for key, array in flat.items() if array.all()}


def parameters(keys):
    """Without second names and the numbers of positions."""
    return {k for k in keys if "predictions.decoder" not in k and "position_ids" not in k}


@EACH_RECORD
def test_the_table_says_what_is_recorded(entry, task, source_task):
    record, rows = CONVERSION[entry], start(task, source_task).rows
    assert {row.status for row in rows} <= {"loaded", "new", "unused"}
    new, unused = marked(rows, task, "new"), marked(rows, source_task, "unused")
    assert parameters(new) == parameters(record["left_at_initialisation"])
    assert parameters(unused) == parameters(record["unused_source"])


def test_the_table_as_text():
    made = start("nlvr_pretrain", "pretrain", fresh=blank("nlvr_pretrain", image_size=96))
    assert format_table(made.rows) == (
        "student                        94 tensors   99.1 k  91 loaded, 1 resized, 2 new\n"
        "  image_encoder                18 tensors   41.1 k  17 loaded, 1 resized\n"
        "    image_encoder/pos_embed     1 tensors      888  resized, from 16 to 36 patches\n"
        "  image_proj                    2 tensors      400  loaded\n"
        "  pair_encoder                 48 tensors   36.3 k  loaded, from fusion_encoder\n"
        "  ta_head                       2 tensors       75  new, the task's own\n"
        "  temperature                   1 tensors        1  loaded\n"
        "  text_encoder                 21 tensors   20.9 k  loaded\n"
        "  text_proj                     2 tensors      400  loaded\n"
        "student of the checkpoint       7 tensors      898  unused\n"
        "  mlm_head, itm_head\n"
        "teacher of the checkpoint      74 tensors   82.5 k  unused\n"
        "  image_encoder, text_encoder, fusion_encoder, mlm_head, image_proj, text_proj\n"
        "queues of the checkpoint        3 tensors      385  unused\n"
        "  queue"
    )


def test_the_table_folds_what_fared_alike():
    made = start("nlvr", "nlvr_pretrain", teacher="student")
    teacher = [row for row in made.rows if row.part == "teacher"]
    assert format_table(teacher) == (
        "teacher    91 tensors   98.4 k  loaded, a copy of the student"
    )
    assert format_table([]) == ""
