import json
import pickle

import numpy as np
import pytest
from PIL import Image

from albef_jax.data.annotations.referring import JsonReferring
from albef_jax.errors import BadSample

REFS = [
    {"ref_id": 5, "image_id": 70, "ann_id": 3, "split": "testA"},
    {"ref_id": 6, "image_id": 71, "ann_id": 4, "split": "val"},
]
INSTANCES = {
    "annotations": [{"id": 3, "bbox": [2, 3, 20, 15]}, {"id": 4, "bbox": [1.5, 0, 48.5, 40]}],
    "images": [{"id": number, "width": 50, "height": 40} for number in (70, 71)],
}
DETECTIONS = {"70": [[3, 4, 20, 15, 0.9], [0, 0, 49, 39, 0.7]], "71": [[0, 0, 25, 20, 0.9]]}


@pytest.fixture
def root(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (50, 40), (90, 0, 0)).save(tmp_path / name)
    return tmp_path


def written(root, content, name="val.json"):
    path = root / name
    if name.endswith(".p"):
        path.write_bytes(pickle.dumps(content, 2))
    else:
        path.write_text(json.dumps(content), "utf-8")
    return path


def item(ref_id=5, image="a.png", **more):
    return {"image": image, "text": "the left man", "ref_id": ref_id, **more}


def evaluated(root, *items, refs=REFS, instances=INSTANCES, detections=DETECTIONS, **options):
    files = {
        "references": written(root, refs, "refs(unc).p") if refs else None,
        "instances": written(root, instances, "instances.json") if instances else None,
        "detections": written(root, detections, "dets.json") if detections else None,
    }
    return JsonReferring([written(root, list(items))], root, training=False, **files, **options)


def own(ref_id=1, bbox=(2, 3, 20, 15), **more):
    return item(ref_id, bbox=list(bbox), **more)


def test_training_needs_texts_and_images_alone(root):
    items = [{"image": image, "text": "a man"} for image in ("b.png", "a.png", "b.png")]
    found = JsonReferring([written(root, items)], root, training=True)
    assert [one.image_id for one in found] == [0, 1, 0]
    assert found[1].name == str(root / "a.png")
    assert (found[1].text, found[1].split, found[1].ref_id) == ("a man", "train", -1)
    assert found[1].box is None and found[1].candidates.shape == (0, 4)


def test_evaluation_finds_boxes_by_way_of_refer(root):
    found = evaluated(root, item(5), item(6, "b.png"), item(5, text="a man"))
    assert [one.box for one in found][:2] == [(2, 3, 20, 15), (1.5, 0, 48.5, 40)]
    assert [one.split for one in found] == ["testA", "val", "testA"]
    assert [one.ref_id for one in found] == [5, 6, 5]
    assert [one.image_id for one in found] == [0, 1, 0]
    assert found[0].candidates.tolist() == [[3, 4, 20, 15], [0, 0, 49, 39]]
    assert found[0].candidates.dtype == np.float32
    assert found[2].text == "a man" and found[0].image.shape == (40, 50, 3)


def test_items_may_carry_their_own_truth(root):
    detections = {"a.png": [[0, 0, 9, 9]], "x1": [[1, 1, 9, 9]], "7": [[2, 2, 9, 9]]}
    items = [own(), own(2, image_id="x1", split="testB"), own(3, image_id=7)]
    found = evaluated(root, *items, refs=None, instances=None, detections=detections)
    assert [one.candidates[0, 0] for one in found] == [0, 1, 2]
    assert [one.split for one in found] == ["val", "testB", "val"]
    assert found[0].box == (2, 3, 20, 15)


def test_an_own_box_comes_before_that_of_refer(root):
    found = evaluated(root, own(5, (1, 1, 5, 5), image_id=70))
    assert found[0].box == (1, 1, 5, 5)


def instances(box=(2, 3, 20, 15), **size):
    images = [{"id": 70, "width": 50, "height": 40, **size}]
    return {"annotations": [{"id": 3, "bbox": list(box)}], "images": images}


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (item("5"), {}, "'ref_id' must be a whole number, not '5'"),
        (item(text=" "), {}, "'text' is empty"),
        (item(7), {}, r"ref_id 7: is not in data\.references"),
        (
            item(),
            {"refs": None, "instances": None},
            r"ref_id 5: has no 'bbox', and data\.references is not set",
        ),
        (item(), {"instances": {**INSTANCES, "annotations": []}}, "ref_id 5: box 3 is not in"),
        (item(), {"instances": {**INSTANCES, "images": []}}, "ref_id 5: image 70 is not in"),
        (
            item(),
            {"instances": instances((40, 3, 20, 15))},
            r"ref_id 5: box \[40, 3, 20, 15\] reaches outside its image of 50 x 40",
        ),
        (item(), {"instances": instances((2, 3, 20, 0))}, r"ref_id 5: box .* has no area"),
        (
            item(),
            {"detections": {"71": [[0, 0, 5, 5]]}},
            r"ref_id 5: data\.detections has no usable box for image '70'",
        ),
        (item(), {"detections": {"70": []}}, "ref_id 5: .* has no usable box for image '70'"),
        (
            item(),
            {"detections": {"70": [[0, 0, 5, 0]]}},
            "ref_id 5: .* has no usable box for image '70'",
        ),
        (
            item(),
            {"detections": {"70": [[0, 0, 5, 5], [0, 0, 5, 50]]}},
            r"ref_id 5: candidate \[0, 0, 5, 50\] reaches outside",
        ),
        (own(bbox=(1, 2, 3)), {}, r"ref_id 1: 'bbox' must be \[x, y, width, height\], not"),
        (own(bbox=(-9, 2, 30, 3)), {}, r"ref_id 1: box .* reaches outside its image;"),
        (own(split=3), {}, "ref_id 1: 'split' must be a text"),
    ],
)
def test_a_broken_item_is_named_with_its_ref_id(root, given, options, message):
    with pytest.raises(ValueError, match=rf"val\.json, item 0: {message}"):
        evaluated(root, given, **options)


def test_all_problems_come_in_one_message(root):
    with pytest.raises(ValueError) as refused:
        evaluated(root, item(7), item(5), item(8), own(9, (0, 0, 0, 0)))
    told = str(refused.value)
    for part in ("item 0: ref_id 7", "item 2: ref_id 8", "item 3: ref_id 9"):
        assert part in told
    assert "item 1" not in told


def test_candidates_without_area_are_left_out_and_counted_once_a_image(root):
    detections = {"70": [[0, 0, 5, 0, 0.9], [3, 4, 20, 15, 0.8]]}
    found = evaluated(root, item(5), item(5), detections=detections)
    assert found[1].candidates.tolist() == [[3, 4, 20, 15]]
    assert found.dropped_candidates == 1


def test_a_image_too_small_for_its_box_is_a_bad_sample(root):
    found = evaluated(root, item(5), item(6, "b.png"), own(8, (0, 0, 60, 5), image_id=70))
    Image.new("RGB", (25, 20)).save(root / "b.png")
    assert found[0].box is not None
    for index, told in ((1, "ref_id 6: box .* of 25 x 20"), (2, "ref_id 8: box .* of 50 x 40")):
        with pytest.raises(BadSample, match=told):
            found[index]


def test_a_missing_image_is_a_bad_sample(root):
    found = evaluated(root, item(5), item(6, "b.png"))
    (root / "b.png").unlink()
    with pytest.raises(BadSample, match="cannot be read"):
        found[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"detections": None}, r"no candidate boxes: set data\.detections"),
        ({"instances": None}, r"data\.references and data\.instances go together"),
        ({"refs": None}, "go together"),
    ],
)
def test_files_that_evaluation_needs(root, options, message):
    with pytest.raises(ValueError, match=message):
        evaluated(root, item(), **options)


def test_a_wrong_root_and_an_empty_split_name_their_settings(root):
    items = written(root, [{"image": "c.png", "text": "a man"}])
    with pytest.raises(ValueError, match=r"data\.image_root=.*1 of 1"):
        JsonReferring([items], root, training=True)
    with pytest.raises(ValueError, match=r"the list is empty; .*data\.eval_files"):
        evaluated(root, setting="data.eval_files")


@pytest.mark.parametrize(
    ("box", "candidates", "message"),
    [
        ((0.04, 0.1, 0.4, 0.375), [[0.06, 0.1, 0.4, 0.4]], r"box \[0.04, 0.1, 0.4, 0.375\] lies"),
        (
            (2, 3, 20, 15),
            [[0.06, 0.1, 0.4, 0.4], [0, 0, 1, 1]],
            r"candidate \[0.06, 0.1, 0.4, 0.4\]",
        ),
    ],
)
def test_boxes_scaled_to_1_are_refused(root, box, candidates, message):
    """They would overlap with nothing: 0 % without an error."""
    options = {"refs": None, "instances": None, "detections": {"a.png": candidates}}
    with pytest.raises(ValueError, match=f"{message}.*multiply it by the image's width"):
        evaluated(root, own(bbox=box), **options)


def test_one_tiny_candidate_among_others_is_what_a_detector_found(root):
    detections = {"a.png": [[0, 0, 1, 1], [3, 4, 20, 15]]}
    found = evaluated(root, own(), refs=None, instances=None, detections=detections)
    assert len(found[0].candidates) == 2
