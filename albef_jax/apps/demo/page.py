"""A page in the browser of this machine to try a checkpoint: match, search, answer, ground.

It listens on this machine alone, sends nothing elsewhere, and deletes uploads when it ends. The
browser may not fetch anything from elsewhere. It needs the extra 'demo'.

Examples:
    python -m albef_jax.apps.demo.page
    python -m albef_jax.apps.demo.page runs/vqa --port=7860
"""

import argparse
import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from albef_jax.apps.demo.handlers import MOST_BYTES, Answers, Refused
from albef_jax.apps.search.index import open_index
from albef_jax.data.scenes.source import ScenesSource
from albef_jax.errors import CheckpointError
from albef_jax.inference.model import Model, load
from albef_jax.inference.outputs import CannotServe
from albef_jax.system.optional import needed
from albef_jax.system.terminal import print_anything
from albef_jax.system.termination import ended_by_exception

HOST = "127.0.0.1"
PORT = 7860
_EXAMPLES, _EXAMPLE_SIDE = 6, 224
_LAST_SECONDS = 3  # for pending answers when the page ends
# The part of a model that a tab needs, and its result.
_TABS = {
    "match": ("itm_head", "matching"),
    "search": ("itm_head", "matching"),
    "answer": ("answer_decoder", "answers"),
    "ground": ("itm_head", "heat maps"),
}
# The browser may contact only this page's own server.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' ws: blob: data:; frame-ancestors 'none'; form-action 'self'"
)
_STYLE = ".gradio-container {width: 100% !important; max-width: 1080px !important; margin: auto}"


def gradio() -> Any:
    """The library of the page, with analytics off."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    return needed("gradio", "the page", "demo", raises=CannotShow)


class CannotShow(Exception):
    """The page cannot be opened; the message has the remedy."""


def served(model: Model, tab: str) -> str:
    """Why a tab cannot be served; empty if it can."""
    part, what = _TABS[tab]
    if part in model.params:
        return ""
    return f"{CannotServe(model.task, what)}."


def example_images(folder: Path) -> list[tuple[str, str]]:
    """Images of the built-in world, written as files, each with a caption of it."""
    source = ScenesSource("val", _EXAMPLES, _EXAMPLE_SIDE)
    found = []
    for number in range(_EXAMPLES):
        pair = source[number]
        path = folder / f"example_{number + 1}.png"
        Image.fromarray(pair.image).save(path)
        found.append((str(path), pair.captions[0]))
    return found


def build_page(answers: Answers, examples: list[tuple[str, str]]) -> Any:
    """The page as gradio's blocks."""
    gr = gradio()
    model = answers.model
    with gr.Blocks(title="albef_jax", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        gr.Markdown(f"# albef_jax\n{model!r}. Images stay on this machine.")
        for tab, fill in (
            ("match", _match_tab),
            ("search", _search_tab),
            ("answer", _answer_tab),
            ("ground", _ground_tab),
        ):
            with gr.Tab(tab.capitalize()):
                if reason := served(model, tab):
                    gr.Markdown(f"This checkpoint cannot do this: {reason}")
                else:
                    fill(gr, answers, examples)
    return page


def _match_tab(gr: Any, answers: Answers, examples: list[tuple[str, str]]) -> None:
    with gr.Row():
        with gr.Column():
            image = _upload(gr)
            texts = gr.Textbox(label="Texts, one a line", lines=3, max_lines=8)
            button = gr.Button("Match", variant="primary")
        heads = ["text", "ITM", "ITC"]
        table = gr.Dataframe(
            headers=heads,
            interactive=False,
            label="Best first: ITM is the match head's probability, ITC the cosine",
            wrap=True,
        )
    _examples(gr, [[file, f"{text}\na yellow star"] for file, text in examples], [image, texts])
    _bind(gr, button, answers.match, [image, texts], table)


def _search_tab(gr: Any, answers: Answers, examples: list[tuple[str, str]]) -> None:
    index = answers.index
    where = f"the index of {len(index)} images" if index else "them"
    with gr.Row():
        with gr.Column(scale=1):
            told = "Images" if index is None else f"Images; none to search {where}"
            files = gr.File(label=told, file_count="multiple", file_types=["image"], height=160)
            query = gr.Textbox(label="What to look for")
            k = gr.Slider(1, 32, value=12, step=1, label="How many at most")
            button = gr.Button("Search", variant="primary")
        shown = gr.Gallery(
            label="Best first", columns=3, object_fit="contain", scale=2, buttons=["fullscreen"]
        )
    if index is None:
        rows = [[[file for file, _ in examples], "a red shape"]]
        _examples(gr, rows, [files, query], ["the six example images: a red shape"])
    _bind(gr, button, answers.search, [files, query, k], shown, query)


def _answer_tab(gr: Any, answers: Answers, examples: list[tuple[str, str]]) -> None:
    with gr.Row():
        with gr.Column():
            image = _upload(gr)
            question = gr.Textbox(label="Question")
            listed = gr.Textbox(label="Answers to choose from, separated by commas (optional)")
            button = gr.Button("Answer", variant="primary")
        found = gr.Label(label="Answers", num_top_classes=5)
    rows = [[file, "how many things are there?"] for file, _ in examples]
    _examples(gr, rows, [image, question])
    _bind(gr, button, answers.answer, [image, question, listed], found, question)


def _ground_tab(gr: Any, answers: Answers, examples: list[tuple[str, str]]) -> None:
    with gr.Row():
        with gr.Column(scale=1):
            image = _upload(gr)
            text = gr.Textbox(label="Text")
            button = gr.Button("Ground", variant="primary")
        shown = gr.Gallery(
            label="Where it is: the whole text, then each word",
            columns=3,
            object_fit="contain",
            scale=2,
            buttons=["fullscreen"],
        )
    _examples(gr, [[file, caption] for file, caption in examples], [image, text])
    _bind(gr, button, answers.ground, [image, text], shown, text)


def _upload(gr: Any) -> Any:
    image = gr.Image(
        label="Image", type="filepath", sources=["upload", "clipboard"], height=300, buttons=[]
    )
    # The unchanged file, so that our own decoder reports errors. Not a subclass, for which gradio
    # would write a stub file into this package.
    image.preprocess = lambda payload: payload.path if payload else None
    return image


def _examples(gr: Any, rows: list[list], inputs: list, labels: list[str] | None = None) -> None:
    gr.Examples(rows, inputs, cache_examples=False, example_labels=labels, label="Examples")


def _bind(
    gr: Any, button: Any, answer: Callable, inputs: list, output: Any, enter: Any = None
) -> None:
    """Let a button, and Enter in a text box, run an answer; refusals are shown as messages."""

    def told(*given):
        try:
            return answer(*given)
        except Refused as problem:
            raise gr.Error(str(problem), title="Not quite", print_exception=False) from None

    asked = [button.click] + ([enter.submit] if enter else [])
    for ask in asked:  # one at a time, since there is one device
        ask(
            told,
            inputs,
            output,
            concurrency_id="model",
            concurrency_limit=1,
            api_visibility="private",
        )


def application(page: Any, port: int) -> Any:
    """The web application: the page, restricted to this machine."""
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    gr = gradio()
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    # Against DNS rebinding: other host names are refused.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])

    @app.middleware("http")
    async def forbid(request, call_next):
        answer = await call_next(request)
        answer.headers["Content-Security-Policy"] = _POLICY
        answer.headers["Referrer-Policy"] = "no-referrer"
        return answer

    return gr.mount_gradio_app(
        app,
        page,
        "/",
        server_name=HOST,
        server_port=port,
        footer_links=[],
        run_history=False,
        max_file_size=MOST_BYTES,
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        pwa=False,
        theme=gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"]),
        css=_STYLE,
    )


def serve(model: Model, index: Path | None, port: int) -> None:
    """Show the page until Ctrl-C or SIGTERM, then delete the uploads.

    Raises:
        CannotShow: gradio is missing, or the port is taken.
        SearchError: an index that the page cannot search.
    """
    gradio()
    _check_port(port)
    answers = Answers(model, open_index(index, model) if index else None)
    with ended_by_exception(), tempfile.TemporaryDirectory(prefix="albef_jax_page_") as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # deleted with the uploads
        import uvicorn

        page = build_page(answers, example_images(Path(folder)))
        app = application(page, port)
        print(f"http://{HOST}:{port}  (Ctrl-C ends)", flush=True)
        logging.getLogger("uvicorn.error").addFilter(_is_news)
        # An open page holds a connection, which must not delay the end.
        uvicorn.run(
            app, host=HOST, port=port, log_level="warning", timeout_graceful_shutdown=_LAST_SECONDS
        )


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of the server's log is about more than connections cut at the end."""
    cut = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not cut and "graceful shutdown" not in record.getMessage()


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as error:
            raise CannotShow(
                f"port {port} cannot be used ({error}); choose another --port"
            ) from None


def main() -> int:
    """The command line; mistakes are a line each, and exit code 2."""
    print_anything()
    parser = argparse.ArgumentParser(
        prog="python -m albef_jax.apps.demo.page",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "path", nargs="?", default="scenes", help="of the checkpoint, as for albef_jax.load"
    )
    parser.add_argument("--port", type=int, default=PORT, help=f"{PORT} by default")
    parser.add_argument("--index", type=Path, help="of images, built with this checkpoint")
    parser.add_argument("--vocab", help="name or path, where the model's own is not known")
    given = parser.parse_args()
    try:
        gradio()
        _check_port(given.port)
        serve(load(given.path, vocab=given.vocab), given.index, given.port)
    except (CannotShow, CannotServe, CheckpointError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
