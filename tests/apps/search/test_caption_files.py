import json

import pytest

from albef_jax.apps.search.items import SearchError, items_of

WANTED = ["two dogs, one ball", "a cat"]
ROWS = [{"image": "a.jpg", "caption": text} for text in WANTED]
FORMS = {
    "lines.txt": "two dogs, one ball\n\na cat\n",
    "windows.txt": "\ufefftwo dogs, one ball\r\na cat\r\n",
    "no_suffix": "two dogs, one ball\na cat",
    "list.json": json.dumps(WANTED),
    "annotations.json": json.dumps([{"image": "a.jpg", "caption": WANTED}]),
    "rows.jsonl": "\n".join(map(json.dumps, ROWS)) + "\n",
    "texts.jsonl": "\n".join(map(json.dumps, WANTED)),
    "rows.txt": "\n".join(map(json.dumps, ROWS)),
    "list.txt": json.dumps(WANTED, indent=1),
    "table.csv": 'image,caption\na.jpg,"two dogs, one ball"\nb.jpg,a cat\n',
    "excel.CSV": "\ufeffid;Caption\r\n1;two dogs, one ball\r\n2;a cat\r\n",
    "table.tsv": "image\tcaption\na.jpg\ttwo dogs, one ball\nb.jpg\ta cat\n",
    "one_column.csv": 'caption\n"two dogs, one ball"\na cat\n',
    "flickr8k.txt": 'image,caption\na.jpg,"two dogs, one ball"\nb.jpg,a cat\n',
    "flickr30k.csv": "image_name| comment_number| comment\na.jpg| 0| two dogs, one ball\n"
    "a.jpg| 1| a cat\n",
    "results.token": "1000092795.jpg#0\ttwo dogs, one ball\n1000092795.jpg#1\ta cat\n",
    "token.txt": "1000092795.jpg#0\ttwo dogs, one ball\n1000092795.jpg#1\ta cat\n",
}


@pytest.mark.parametrize("name", FORMS)
def test_the_files_that_people_have(name, tmp_path):
    (tmp_path / name).write_bytes(FORMS[name].encode())
    assert [item.name for item in items_of(captions=tmp_path / name).items] == WANTED


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.xlsx", "PK", r"not read from a \.xlsx file; give a text file"),
        ("a.txt.gz", "", r"not read from a \.gz file"),
        ("a.csv", "image,words\na.jpg,a cat\n", r"'image,words', names no column of captions"),
        ("a.csv", "image,caption\na.jpg\n", r"line 2: has 1 of 2 columns, and no 'caption'"),
        ("a.token", "a.jpg#0\ta cat\nand a dog\n", r"line 2: not NAME\.jpg#0, a tab"),
        ("a.jsonl", '{"caption": "a cat"}\nnot JSON\n', r"line 2: not JSON"),
        ("a.jsonl", '{"caption": "a cat"}\n{"label": 1}\n', r"line 2 is neither a text"),
        ("a.txt", "a.jpg,a cat\n", r"begins with the name of an image"),
        ("a.txt", "\n\n", r"no captions"),
    ],
)
def test_other_files_are_refused(name, text, message, tmp_path):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=message) as refused:
        items_of(captions=tmp_path / name)
    assert name in str(refused.value)


def test_a_sentence_with_the_words_of_a_header_is_a_caption(tmp_path):
    lines = ["an image, with a caption below", "text, on a wall", "{a brace}", "[a bracket]"]
    (tmp_path / "a.txt").write_text("\n".join(lines))
    assert [item.name for item in items_of(captions=tmp_path / "a.txt").items] == lines


def test_a_line_separator_inside_a_caption_does_not_cut_it(tmp_path):
    (tmp_path / "a.txt").write_text("a cat\u2028on a mat\na dog", "utf-8")
    assert len(items_of(captions=tmp_path / "a.txt").items) == 2
    with pytest.raises(SearchError, match="cannot be read"):
        items_of(captions=tmp_path / "none.txt")
