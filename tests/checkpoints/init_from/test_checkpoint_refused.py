"""What a start refuses: missing modules, and other sizes; and what may be allowed."""

import pytest

from albef_jax.errors import CheckpointError
from tests.helpers.warm_starts import assert_equal, blank, changed, official, start


def test_what_is_missing_is_named_by_the_largest_part():
    message = r"vqa from retrieval: student: .*: answer_decoder/head \(from mlm_head\);"
    with pytest.raises(CheckpointError, match=message):
        start("vqa", "retrieval")


def without(tree, *paths):
    def keep(node, path):
        if not isinstance(node, dict):
            return node
        inner = {k: (v, f"{path}/{k}".lstrip("/")) for k, v in node.items()}
        return {k: keep(v, p) for k, (v, p) in inner.items() if p not in paths}

    return keep(tree, "")


def test_missing_modules_are_named():
    gone = "text_encoder/layers/norm", "image_proj", "fusion_encoder/layers/cross_attention"
    source = changed("pretrain", params=without(official("pretrain").params, *gone))
    with pytest.raises(CheckpointError) as error:
        start("retrieval", "pretrain", source=source)
    assert "student" in str(error.value)
    listed = str(error.value).partition("checkpoint: ")[2].partition(";")[0].split(", ")
    assert sorted(listed) == sorted(gone)
    made = start("retrieval", "pretrain", source=source, allow_missing=gone)
    assert_equal(made.params["image_proj"], official("retrieval").params["image_proj"])
    new = {row.path: row.note for row in made.rows if row.status == "new" and row.part == "student"}
    assert len(new) == 7 and set(new.values()) == {"not in the checkpoint"}


def test_a_teacher_that_lacks_something_is_named():
    source = changed("pretrain", teacher=without(official("pretrain").teacher, "text_proj"))
    with pytest.raises(CheckpointError, match="teacher: not in the checkpoint: text_proj;"):
        start("retrieval", "pretrain", source=source)


def test_part_of_a_stand_in_may_be_missing():
    made = start("vqa", "retrieval", allow_missing=("answer_decoder/head",))
    decoder, fresh = made.params["answer_decoder"], official("vqa").params["answer_decoder"]
    assert_equal(decoder["head"], fresh["head"])
    assert_equal(decoder["layers"], official("retrieval").params["fusion_encoder"]["layers"])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocab_size": 300}, "model.vocab_size is 200 there and 300 here;"),
        ({"text_depth": 3, "max_positions": 32}, "model.max_positions is 64 there and 32 here; mo"),
        ({"embed_dim": 8, "image_size": 96}, "size: model.embed_dim is 16 there and 8 here; set"),
        ({"image_width": 48}, "model.image_width is 24 there and 48 here;"),
    ],
)
def test_other_sizes_are_named(sizes, message):
    with pytest.raises(CheckpointError, match=message.replace(".", r"\.")):
        start("retrieval", "pretrain", fresh=blank("retrieval", **sizes))


def test_a_decoder_cannot_read_images_of_another_width():
    # the fusion layers read image tokens, the decoder's the question's
    fresh = blank("vqa", image_width=48)
    source = blank("pretrain", image_width=48)
    keys = "answer_decoder/layers/cross_attention/key"
    message = rf"{keys} is \(2, 48, 24\) there and \(2, 24, 24\) here"
    with pytest.raises(CheckpointError, match=message):
        start("vqa", "pretrain", fresh=fresh, source=source)
    made = start(
        "vqa",
        "pretrain",
        fresh=fresh,
        source=source,
        allow_missing=(keys, keys.replace("key", "value")),
    )
    new = [row for row in made.rows if row.status == "new" and row.part == "student"]
    assert [row.path.rpartition("/")[2] for row in new] == ["key", "value"]


def test_what_may_be_missing_must_exist():
    with pytest.raises(CheckpointError, match="no module 'ita_head'"):
        start("retrieval", "pretrain", allow_missing=("ita_head",))
