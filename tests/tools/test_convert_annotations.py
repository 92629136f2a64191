"""Official annotation files, small and made up, in the layout of the real ones."""

import gzip
import json
import pickle

import pytest
from PIL import Image

from albef_jax.data.annotations.pairs import JsonPairs
from albef_jax.data.annotations.questions import JsonQuestions
from albef_jax.data.annotations.referring import JsonReferring
from albef_jax.data.annotations.sentences import JsonSentences, JsonTwoImages
from tools.convert_annotations import main

COCO = {
    "info": {},
    "images": [
        {"id": 42, "file_name": "COCO_val2014_000000000042.jpg", "height": 9, "width": 9},
        {"id": 7, "file_name": "COCO_val2014_000000000007.jpg"},
        {"id": 8, "file_name": "COCO_val2014_000000000008.jpg"},
    ],
    "annotations": [
        {"image_id": 7, "id": 1, "caption": "A cat."},
        {"image_id": 42, "id": 2, "caption": "Shoes."},
        {"image_id": 7, "id": 3, "caption": "A grey cat."},
    ],
}


def karpathy(split, number, *captions):
    sentences = [{"raw": text, "tokens": text.split(), "sentid": 0} for text in captions]
    name = f"COCO_val2014_{number:012d}.jpg"
    told = {"filepath": "val2014", "filename": name, "split": split, "cocoid": number}
    return {**told, "imgid": 0, "sentences": sentences}


KARPATHY = {
    "dataset": "coco",
    "images": [
        karpathy("train", 1, "one"),
        karpathy("test", 2, "two", "2"),
        karpathy("restval", 3, "three"),
    ],
}
QUESTIONS = {
    "data_subtype": "val2014",
    "questions": [
        {"image_id": 42, "question": "What is it?", "question_id": 42000},
        {"image_id": 7, "question": "A cat?", "question_id": 7000},
    ],
}


def vqa_answer(number, *texts):
    answers = [
        {"answer": text, "answer_id": n, "answer_confidence": "yes"} for n, text in enumerate(texts)
    ]
    return {"question_id": number, "image_id": 1, "answers": answers, "answer_type": "other"}


ANNOTATIONS = {
    "data_subtype": "val2014",
    "annotations": [vqa_answer(7000, *["yes"] * 10), vqa_answer(42000, *["shoe"] * 9, "boot")],
}
VIZWIZ = [
    {
        "image": f"VizWiz_val_0000000{number}.jpg",
        "question": "What is this?",
        "answers": [{"answer": "soup", "answer_confidence": "yes"}] * 10,
        "answer_type": "other",
        "answerable": 1,
    }
    for number in range(2)
]
EASY_VQA = [
    ["what color is the shape?", "teal", 7],
    ["what is the teal shape?", "circle", 7],
    ["is there a circle?", "yes", 0],
    ["is no red shape present?", "yes", 0],
]
SNLI_VE = [
    {
        "Flickr30K_ID": "2407214681",
        "gold_label": label,
        "sentence1": "A man.",
        "sentence2": "A woman.",
        "pairID": "1",
    }
    for label in ("contradiction", "-", "neutral")
]
NLVR2 = [
    {"identifier": "train-4100-0-1", "directory": 63, "sentence": "Two dogs.", "label": "True"},
    {"identifier": "train-4100-1-1", "directory": 63, "sentence": "One dog.", "label": "False"},
]
REFS = [
    {
        "ref_id": ref_id,
        "ann_id": 3,
        "image_id": 70,
        "file_name": "COCO_train2014_000000000070_3.jpg",
        "split": split,
        "sentences": [{"sent": text, "raw": text} for text in texts],
    }
    for ref_id, split, texts in ((5, "train", ["left man", "man"]), (6, "val", ["dog"]))
]
INSTANCES = {
    "images": [
        {"id": 70, "file_name": "COCO_train2014_000000000070.jpg", "width": 50, "height": 40}
    ],
    "annotations": [{"id": 3, "image_id": 70, "bbox": [2, 3, 20, 15]}],
}


def written(path, content):
    if path.suffix == ".p":
        path.write_bytes(pickle.dumps(content, 2))
    elif ".jsonl" in path.name:
        path.write_text("".join(json.dumps(item) + "\n" for item in content))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(json.dumps(content).encode()))
    else:
        path.write_text(json.dumps(content))
    return str(path)


@pytest.fixture
def convert(tmp_path, capsys):
    """Runs the tool; the list it wrote, or what it said where it refused."""

    def run(files, *options):
        sources = [written(tmp_path / name, content) for name, content in files.items()]
        out = tmp_path / "out.json"
        code = main([*sources, *options, str(out)])
        printed = capsys.readouterr()
        assert code == (0 if out.exists() else 2)
        return json.loads(out.read_text()) if code == 0 else printed.err

    convert = run
    convert.out = tmp_path / "out.json"  # type: ignore[attr-defined]
    return convert


def images(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (50, 40)).save(root / name)


@pytest.mark.parametrize("name", ["captions_val2014.json", "captions_val2014.json.gz"])
def test_coco_captions(convert, tmp_path, name):
    assert convert({name: COCO}, "--images=val2014/") == [
        {"image": "val2014/COCO_val2014_000000000042.jpg", "caption": ["Shoes."], "image_id": 42},
        {
            "image": "val2014/COCO_val2014_000000000007.jpg",
            "caption": ["A cat.", "A grey cat."],
            "image_id": 7,
        },
    ]
    images(tmp_path / "val2014", "COCO_val2014_000000000042.jpg", "COCO_val2014_000000000007.jpg")
    assert JsonPairs([convert.out], tmp_path)[1].captions == ("A cat.", "A grey cat.")


def test_karpathy_splits(convert):
    found = convert({"dataset_coco.json": KARPATHY}, "--split=train,restval")
    assert [item["caption"] for item in found] == [["one"], ["three"]]
    assert found[0]["image"] == "val2014/COCO_val2014_000000000001.jpg"
    assert found[0]["image_id"] == 1


def test_a_split_has_to_be_chosen(convert):
    said = convert({"dataset_coco.json": KARPATHY})
    assert "several splits: train (1), test (1), restval (1); choose with --split" in said
    said = convert({"dataset_coco.json": KARPATHY}, "--split=val")
    assert "has no split 'val'; it has restval, test, train" in said


def test_vqa(convert, tmp_path):
    found = convert({"questions.json": QUESTIONS, "annotations.json": ANNOTATIONS})
    assert found[0] == {
        "image": "val2014/COCO_val2014_000000000042.jpg",
        "question": "What is it?",
        "question_id": 42000,
        "dataset": "vqa",
        "answer": ["shoe"] * 9 + ["boot"],
        "answer_type": "other",
    }
    images(tmp_path, *(item["image"] for item in found))
    assert JsonQuestions([convert.out], tmp_path, training=True)[1].answers == ("yes",) * 10


def test_vqa_without_answers_is_a_test_set(convert):
    assert all("answer" not in item for item in convert({"questions.json": QUESTIONS}))


def test_vqa_files_that_do_not_go_together(convert):
    assert "give the file of the questions, too" in convert({"a.json": ANNOTATIONS})
    fewer = {**ANNOTATIONS, "annotations": ANNOTATIONS["annotations"][:1]}
    said = convert({"q.json": QUESTIONS, "a.json": fewer})
    assert "1 questions have no answers in" in said


def test_vizwiz(convert, tmp_path):
    found = convert({"val.json": VIZWIZ})
    assert [item["question_id"] for item in found] == [0, 1]
    assert found[0]["answer"] == ["soup"] * 10
    images(tmp_path, *(item["image"] for item in found))
    assert len(JsonQuestions([convert.out], tmp_path, training=False)) == 2


def test_easy_vqa(convert, tmp_path):
    found = convert({"questions.json": EASY_VQA}, "--images=train/")
    assert found[0] == {
        "image": "train/images/7.png",
        "question": "what color is the shape?",
        "question_id": 0,
        "dataset": "vqa",
        "answer": ["teal"],
        "question_type": "color",
    }
    assert [item["question_id"] for item in found] == [0, 1, 2, 3]
    kinds = [item["question_type"] for item in found]
    assert kinds == ["color", "shape", "yes/no", "yes/no, negated"]
    images(tmp_path, "train/images/0.png", "train/images/7.png")
    read = JsonQuestions([convert.out], tmp_path, training=True, max_answers=1)
    assert (read[3].kind, read[3].answers) == ("yes/no, negated", ("yes",))


def test_captions_of_easy_vqa(tmp_path, capsys):
    more = [
        ["What color is the triangle?", "red", 1],
        ["what shape is present?", "rectangle", 2],
        ["what is the color of the shape?", "gray", 2],
        ["what shape is present?", "circle", 3],
    ]
    source, out = written(tmp_path / "questions.json", EASY_VQA + more), tmp_path / "out.json"
    assert main([source, str(out), "--images=train/", "--captions"]) == 0
    assert json.loads(out.read_text()) == [
        {"image": "train/images/7.png", "caption": "a teal circle"},
        {"image": "train/images/1.png", "caption": "a red triangle"},
        {"image": "train/images/2.png", "caption": "a gray rectangle"},
    ]
    told = capsys.readouterr().out
    assert "3 items from easy-VQA, for task pretrain" in told
    assert "2 images whose color or shape no question tells: left out" in told
    images(tmp_path, *(f"train/images/{number}.png" for number in (7, 1, 2)))
    assert JsonPairs([out], tmp_path)[0].captions == ("a teal circle",)


def test_captions_that_contradict_each_other_are_refused(convert):
    said = convert({"q.json": [*EASY_VQA, ["what shape is it?", "triangle", 7]]}, "--captions")
    assert "q.json, item 4: the shape of images/7.png is 'triangle', and 'circle' by" in said


def test_other_questions_have_no_captions(convert):
    said = convert({"val.json": VIZWIZ}, "--captions")
    assert "val.json: captions are not made of VizWiz" in said


@pytest.mark.parametrize(
    "broken",
    [
        ["is there a circle?", "yes"],
        ["is there a circle?", "yes", "0"],
        ["is there a circle?", "yes", -1],
        ["is there a circle?", None, 0],
        ["is there a circle?", " ", 0],
        [" ", "yes", 0],
        ["is there a circle?", "yes", True],
        {"question": "is there a circle?"},
    ],
)
def test_a_broken_question_of_easy_vqa_is_named(convert, broken):
    said = convert({"questions.json": [*EASY_VQA, broken]})
    assert "questions.json, item 4: must be [question, answer, number of the image]" in said
    assert f"not {broken!r}" in said


def test_a_file_of_easy_vqa_that_is_cut_short(tmp_path, capsys):
    whole = json.dumps(EASY_VQA)
    (tmp_path / "questions.json").write_text(whole[: len(whole) // 2])
    assert main([str(tmp_path / "questions.json"), str(tmp_path / "out.json")]) == 2
    assert "questions.json: not JSON" in capsys.readouterr().err


def test_snli_ve(convert, tmp_path):
    found = convert({"snli_ve_dev.jsonl": SNLI_VE}, "--images=flickr/")
    assert found == [
        {"image": "flickr/2407214681.jpg", "sentence": "A woman.", "label": label}
        for label in ("contradiction", "neutral")
    ]
    images(tmp_path, "flickr/2407214681.jpg")
    assert JsonSentences([convert.out], tmp_path)[1].label == 1


def test_what_is_left_out_is_said(tmp_path, capsys):
    source = written(tmp_path / "dev.jsonl", SNLI_VE)
    assert main([source, str(tmp_path / "out.json")]) == 0
    assert "1 lines have no gold label: left out" in capsys.readouterr().out


def test_nlvr2(convert, tmp_path):
    found = convert({"train.jsonl": NLVR2})
    folder = "images/train/63/train-4100"
    assert found[1] == {
        "images": [f"{folder}-1-img0.png", f"{folder}-1-img1.png"],
        "sentence": "One dog.",
        "label": "False",
    }
    images(tmp_path, *(image for item in found for image in item["images"]))
    assert JsonTwoImages([convert.out], tmp_path)[0].label == 1


def test_refcoco(convert, tmp_path):
    files = {"refs(unc).p": REFS, "instances.json": INSTANCES}
    assert "several splits: train, val; choose with --split" in convert(files)
    found = convert(files, "--split=train")
    assert [item["text"] for item in found] == ["left man", "man"]
    image = "COCO_train2014_000000000070.jpg"
    assert found[0] == {"image": image, "text": "left man", "ref_id": 5}
    images(tmp_path, image)
    detections = written(tmp_path / "dets.json", {"70": [[3, 4, 20, 15]]})
    evaluated = JsonReferring(
        [convert.out],
        tmp_path,
        training=False,
        references=tmp_path / "refs(unc).p",
        instances=tmp_path / "instances.json",
        detections=detections,
    )
    assert evaluated[0].box == (2, 3, 20, 15)


def test_refcoco_needs_both_files(convert):
    assert "both of REFER's files" in convert({"refs(unc).p": REFS}, "--split=train")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "captions.json",
            COCO,
            r"captions\.json: COCO's captions, as in the official code; convert it:",
        ),
        ("dataset.json", KARPATHY, "Karpathy's splits.*--split=test OUT"),
        ("q.json", QUESTIONS, r"VQA's questions .*q\.json ANNOTATIONS OUT\.json"),
        ("a.json", ANNOTATIONS, "VQA's questions or annotations"),
        ("val.json", VIZWIZ, "VizWiz"),
        ("questions.json", EASY_VQA, r"easy-VQA.*questions\.json --images=train/ OUT\.json"),
        ("dev.jsonl", SNLI_VE, "SNLI-VE"),
        ("dev.jsonl.gz", NLVR2, "not a whole gzip file"),
        ("train.jsonl", NLVR2, "NLVR2"),
        ("refs(unc).p", REFS, r"a pickle; if it is REFER's, .*instances\.json --split=train"),
        ("instances.json", INSTANCES, "COCO's instances"),
        ("other.json", {"data": [], "version": 2}, "one object with 'data', 'version'"),
    ],
)
def test_training_on_a_official_file_names_the_command(tmp_path, name, content, message):
    file = written(tmp_path / name, content)
    with pytest.raises(ValueError, match=message) as refused:
        JsonPairs([file], tmp_path)
    assert "wrap" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json", "out.json"], "cannot be read"),
        (["list.json", "out.txt"], "name a file that ends in .json"),
        (["list.json", "list.json"], "would overwrite a source"),
        (["list.json", "no/out.json"], "no such directory"),
        (["list.json", "out.json"], "of none of the formats known here"),
        (["list.json", "coco.json", "out.json"], "of none of the formats known here"),
        (["nlvr.jsonl", "coco.json", "out.json"], "convert them one by one"),
    ],
)
def test_mistakes_are_a_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "list.json", [{"image": "a", "caption": "b"}])
    written(tmp_path / "coco.json", COCO)
    written(tmp_path / "nlvr.jsonl", NLVR2)
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_a_broken_item_is_named(convert):
    broken = {**COCO, "annotations": [*COCO["annotations"], {"image_id": 7, "caption": None}]}
    said = convert({"c.json": broken})
    assert "c.json, annotations, item 3: 'caption' must be a text, not None" in said
