import asyncio
import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from albef_jax.apps.demo import handlers
from albef_jax.apps.demo.handlers import Answers, Refused
from albef_jax.apps.demo.page import CannotShow, _check_port, application, build_page, served
from albef_jax.apps.search.index import build_index, open_index
from albef_jax.apps.search.items import SearchError, items_of
from tests.helpers.processes import PATIENCE, ROOT, free_port
from tests.helpers.tiny_model import model_of

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


@pytest.fixture(scope="module")
def model():
    return model_of("retrieval")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 56, 3), np.uint8)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xffno image")
    return folder


@pytest.fixture
def closed_loop():
    """Closes the event loop that gradio sets and leaves, which would be told of at the end."""
    yield
    with suppress(RuntimeError):  # none was left
        asyncio.get_event_loop_policy().get_event_loop().close()
    asyncio.set_event_loop(None)
    gc.collect()


def test_matching_gives_rows_best_first(model, files):
    rows = Answers(model).match(str(files / "0.png"), "a red ball\n\n a star \n")
    assert {row[0] for row in rows} == {"a red ball", "a star"}
    assert rows[0][1] >= rows[1][1]
    found = model.match(files / "0.png", rows[0][0])
    assert rows[0][1:] == [round(float(found.itm[0]), 3), round(float(found.itc[0]), 3)]


def test_searching_uploads(model, files):
    names = [str(files / f"{number}.png") for number in range(4)]
    shown = Answers(model).search(names, "a red ball", 3)
    itm = model.match(names, "a red ball").itm
    order = np.argsort(-itm)[:3]
    assert [told.partition(":")[0] for _, told in shown] == [f"{place}.png" for place in order]
    assert f"ITM {itm[order[0]]:.3f}" in shown[0][1] and shown[0][0].dtype == np.uint8


def test_searching_an_index(model, files, tmp_path):
    pytest.importorskip("faiss")
    build_index(model, items_of(images=files), tmp_path / "index")
    shown = Answers(model, open_index(tmp_path / "index", model)).search(None, "a red ball", 2)
    assert len(shown) == 2 and "ITM" in shown[0][1]
    (tmp_path / "a.txt").write_text("a ball\n")
    build_index(model, items_of(captions=tmp_path / "a.txt"), tmp_path / "texts")
    with pytest.raises(SearchError, match="the page searches images"):
        Answers(model, open_index(tmp_path / "texts", model))


def test_grounding_shows_the_whole_text_and_each_word(model, files):
    shown = Answers(model).ground(str(files / "0.png"), "a red ball")
    assert [told for _, told in shown][1:] == ["a", "red", "ball"]
    assert shown[0][1].startswith("whole text, ITM 0.")
    assert all(image.dtype == np.uint8 and image.shape[2] == 3 for image, _ in shown)


def test_answers_with_and_without_a_list(files):
    answers = Answers(model_of("vqa"))
    found = answers.answer(str(files / "0.png"), "what colour is it?", "red, blue, red,")
    assert sorted(found) == ["blue", "red"]
    assert sum(found.values()) == pytest.approx(1, abs=1e-3)
    with pytest.raises(Refused, match="'vqa' gives no matching"):
        answers.match(str(files / "0.png"), "a ball")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda a, d: a.match(None, "a ball"), "Upload an image"),
        (lambda a, d: a.match(f"{d}/broken.jpg", "a ball"), "^broken.jpg cannot be used: not a"),
        (lambda a, d: a.match(f"{d}/gone.jpg", "a ball"), "cannot be read"),
        (lambda a, d: a.match(f"{d}/0.png", " \n "), "at least one text"),
        (lambda a, d: a.match(f"{d}/0.png", "a\n" * 33), "33 texts"),
        (lambda a, d: a.match(f"{d}/0.png", "a" * 500), "too long"),
        (lambda a, d: a.search(None, "a ball"), "Upload some images"),
        (lambda a, d: a.search([f"{d}/0.png"], ""), "what to look for"),
        (lambda a, d: a.search([f"{d}/0.png"] * 33, "a ball"), "33 images"),
        (lambda a, d: a.ground(f"{d}/0.png", None), "Type a text"),
        (lambda a, d: a.answer(f"{d}/0.png", "what?"), "no answers; load one of vqa"),
    ],
)
def test_refusals_can_be_read(model, files, ask, message):
    with pytest.raises(Refused, match=message):
        ask(Answers(model), files)


def test_a_large_file_is_refused_unread(model, files, monkeypatch):
    monkeypatch.setattr(handlers, "MOST_BYTES", 100)
    with pytest.raises(Refused, match=r"0\.png is larger than"):
        Answers(model).match(str(files / "0.png"), "a ball")


def test_tabs_that_cannot_be_served_say_what_could(model):
    assert served(model, "match") == served(model, "ground") == ""
    assert "load one of vqa" in served(model, "answer")
    bare = replace(model, task="entailment", params={})
    assert "load one of pretrain, retrieval or grounding" in served(bare, "search")


def test_a_port_that_is_taken():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotShow, match="choose another --port"):
            _check_port(other.getsockname()[1])


@pytest.mark.filterwarnings("ignore")  # of libraries that only the page needs
def test_the_application_keeps_to_itself(model, closed_loop):
    pytest.importorskip("gradio")
    from starlette.testclient import TestClient

    page = build_page(Answers(model), [])
    assert page.analytics_enabled is False
    labels = {block.label for block in page.blocks.values() if hasattr(block, "label")}
    assert {"Match", "Search", "Answer", "Ground", "Texts, one a line"} <= labels
    assert "Question" not in labels  # a retrieval model answers none
    client = TestClient(application(page, 7860), base_url="http://127.0.0.1:7860")
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 400


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_in_a_browser(model, files, closed_loop):
    """Types, uploads, clicks and reads, in a real browser."""
    pytest.importorskip("gradio")
    browsers = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    import uvicorn

    port = free_port()
    app = application(build_page(Answers(model), []), port)
    server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.1)
    asked: list[str] = []
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    try:
        with browsers.sync_playwright() as play:
            browser = play.chromium.launch(executable_path=CHROMIUM, args=flags)
            window = browser.new_page()
            window.set_default_timeout(60_000)
            window.on("request", lambda request: asked.append(request.url))
            window.goto(f"http://127.0.0.1:{port}/")
            panel = window.get_by_role("tabpanel").filter(visible=True)
            upload = panel.locator("input[type=file]").first
            upload.set_input_files(files / "broken.jpg")
            panel.get_by_label("Texts, one a line").fill("a red ball\na star")
            panel.get_by_role("button", name="Match", exact=True).click()
            window.get_by_text("broken.jpg cannot be used").wait_for()
            window.get_by_role("tab", name="Ground").click()
            panel = window.get_by_role("tabpanel").filter(visible=True)
            panel.locator("input[type=file]").first.set_input_files(files / "0.png")
            panel.get_by_label("Text", exact=True).fill("a red ball")
            panel.get_by_role("button", name="Ground", exact=True).click()
            panel.get_by_text("whole text, ITM").first.wait_for()
            window.get_by_role("tab", name="Answer").click()
            panel = window.get_by_role("tabpanel").filter(visible=True)
            assert "load one of vqa" in panel.inner_text()
            browser.close()
    finally:
        server.should_exit = True
        thread.join(20)
    ours = (f"http://127.0.0.1:{port}/", "data:", "blob:")
    assert asked and not [url for url in asked if not url.startswith(ours)]


# With a model of random weights.
SERVED = """
import sys
from tests.helpers.processes import PATIENCE, ROOT, free_port
from tests.helpers.tiny_model import model_of
from albef_jax.apps.demo.page import serve
serve(model_of("retrieval"), None, int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_page_ended_by_a_signal_leaves_no_folder(number, tmp_path):
    pytest.importorskip("gradio")
    port = free_port()
    command = [sys.executable, "-c", SERVED, str(port)]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    options = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **options) as process:
        assert f"http://127.0.0.1:{port}" in process.stdout.readline()
        assert list(tmp_path.glob("albef_jax_page_*/example_1.png"))
        time.sleep(2)  # until it serves
        process.send_signal(number)
        process.wait(PATIENCE)
    assert not list(tmp_path.glob("albef_jax_page_*"))


def test_a_mistake_on_the_command_line_is_one_line(tmp_path):
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "albef_jax.apps.demo.page", str(tmp_path / "none"), "--port=0"]
    found = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ)
    assert found.returncode == 2
    assert found.stderr.startswith("error: ") and "Traceback" not in found.stderr
