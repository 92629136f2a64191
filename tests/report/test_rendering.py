import json
import re
from dataclasses import replace

import jax
import numpy as np
import pytest

from albef_jax.inference.heat_maps.word_heat import HeatedCaption
from albef_jax.report.rendering import counts, render
from tests.helpers.report_page import COMMAND, IMAGE, Page, examples, recalls


def results():
    itc = {"text_retrieval": recalls(31.25, 60, 70), "image_retrieval": recalls(29.9, 61, 71)}
    itm = {"text_retrieval": recalls(52.6, 80, 85), "image_retrieval": recalls(50.8, 81, 86)}
    sizes = {"chance_r1": 0.2, "images": 500, "captions": 2500, "rerank": 16}
    return {
        "task": "pretrain",
        "preset": "demo",
        "step": 12_000,
        "evaluated_on": "500 unseen scenes",
        "protocol": "500 images and 2500 captions. Ties count as wrong.",
        "retrieval": {"itc": itc, "itm": itm, **sizes},
    }


def page_of(workdir, shown):
    return render("pretrain.html", workdir, results(), COMMAND, examples=shown)


LINE = {"step": 20, "loss": 7.5, "loss_itc": 4.0, "lr": 1e-4, "alpha": None, "bad_samples": 3}


@pytest.fixture
def page(tmp_path):
    """Writes a report of given metrics lines and examples, and reads it back."""

    def write(lines=(LINE, {**LINE, "step": 40, "loss": 5.25}), shown=None):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / "metrics.jsonl").write_text(text)
        (tmp_path / "config.json").write_text('{"optimizer": {"lr": 0.0001}, "note": "<b>"}')
        path = page_of(tmp_path, shown or examples())
        assert path == tmp_path / "report" / "index.html"
        return Page(path.read_text(encoding="utf-8"))

    return write


def test_page_is_self_contained(page):
    found = page()
    assert not found.all("script") and not found.all("link") and not found.all("iframe")
    for _, attributes in found.tags:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert re.match(r"data:image/|#|$", attributes.get(name) or "")
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in found.text and "@import" not in found.text
    policy = found.all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'")


def test_links_within_the_page_lead_somewhere(page):
    found = page()
    targets = {attributes.get("id") for _, attributes in found.tags}
    links = [attributes["href"] for attributes in found.all("a")]
    assert len(links) == 6 and {link.removeprefix("#") for link in links} <= targets


def test_figures_and_protocol_appear(page):
    text = " ".join(page().text.split())
    assert "52.6 % re-ranked by matching" in text
    assert "and 50.8 %. Guessing would give 0.2 %" in text
    assert "After 12,000 steps, on 500 unseen scenes." in text
    assert "ITC 31.2 60.0 70.0 29.9 61.0 71.0" in text
    assert "ITM re-ranked 52.6 80.0 85.0 50.8 81.0 86.0" in text
    assert text.count("2500 captions") == 1
    assert "together. 500 images and 2500 captions. Ties count as wrong." in text


def test_curves_appear(page):
    found = page()
    titles = [attributes["aria-label"] for attributes in found.all("svg")]
    assert titles == ["Loss, the sum", "Loss of each objective, log axis", "Learning rate"]
    assert "7.5 → 5.25" in found.text
    assert "3 images or captions that could not be used" in found.text


def test_examples_appear_with_the_right_ones_marked(page):
    found = page()
    text = " ".join(found.text.split())
    assert len(found.all("img")) == 4
    assert "✗ two stars 3.20 ✓ a red ball 1.50" in text
    assert "✓ 2.00 ✗ -1.00" in text
    assert len(found.all("li", **{"class": "right"})) == 3  # a caption, an image, a word
    assert "not among these" not in text


def test_an_example_that_missed_says_so(page):
    shown = examples()
    shown.texts_of_images[0].ranked.pop()
    shown.images_of_texts[0].ranked.pop(0)
    text = " ".join(page(shown=shown).text.split())
    assert "Right, but not among these: a red ball" in text
    assert "The right image is not among these." in text


def test_teacher_guesses_have_bars(page):
    found = page()
    assert "red ✓ 62 % blue 25 %" in " ".join(found.text.split())
    widths = [attributes["style"] for attributes in found.all("span") if "style" in attributes]
    assert widths == ["width: 62.5%", "width: 25.0%"]
    assert len(found.all("mark")) == 3  # the explanation, the caption, the heading


def test_heat_maps_appear_for_the_caption_and_each_word(page):
    cold, hot = np.zeros((2, 2)), np.eye(2)
    shown = replace(
        examples(), heated=[HeatedCaption(IMAGE, "a red ball", hot, [("red", hot), ("ball", cold)])]
    )
    found = page(shown=shown)
    assert len(found.all("a", href="#heat")) == len(found.all("section", id="heat")) == 1
    for alt in ("heat map of: a red ball", "heat map of the word: ball"):
        assert len(found.all("img", alt=alt)) == 1


def test_a_caption_with_no_word_to_mask_is_left_out(page):
    shown = examples()
    shown.masked_captions[0].words.clear()
    assert not page(shown=shown).all("ol", **{"class": "bars"})


def test_captions_cannot_inject(page):
    evil = 'a <script>alert("x")</script> " onerror="alert(1)'
    found = page(shown=examples(caption=evil, word="script"))
    assert not found.all("script")
    assert all("onerror" not in attributes for _, attributes in found.tags)
    assert evil in found.text
    assert found.all("img", alt=evil)


def test_run_section_tells_how_to_run_it_again(page):
    text = page().text
    assert COMMAND in text
    assert '"lr": 0.0001' in text and '"note": "<b>"' in text
    assert f"jax{jax.__version__}\n" in text
    assert f"devices{jax.device_count()} × {jax.devices()[0].device_kind}" in text


@pytest.mark.parametrize("lines", [[], [{"step": 1}], [{"step": 1, "loss": None}]])
def test_a_run_without_numbers_still_has_a_report(page, lines):
    found = page(lines)
    assert not found.all("svg")
    assert "No metrics were logged." in found.text


def test_a_single_line_is_enough(page):
    assert len(page([LINE]).all("svg")) == 3


def test_a_run_without_a_metrics_file_has_a_report(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    assert page_of(tmp_path, examples()).is_file()


def test_without_a_configuration_the_error_names_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        page_of(tmp_path, examples())


def test_counts_are_the_largest_of_what_was_logged():
    lines: list[dict] = [{"mlm_overflow": value} for value in (2.0, None, 1.0)] + [{}]
    assert [number for _, number in counts(lines)] == [2]
