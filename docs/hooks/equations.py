"""Converts equations, in GitHub's two notations, to MathML.

Markdown gets a placeholder for each equation, which is replaced in the HTML.
"""

import re
from typing import Any

from latex2mathml.converter import convert

_FENCE = r"^(?P<fence>`{3,})(?P<kind>\w*).*?\n(?P<block>.*?)^(?P=fence)`*[ \t]*$"
_WRITTEN = re.compile(rf"{_FENCE}|\$`(?P<inline>[^`]+)`\$", re.MULTILINE | re.DOTALL)
_TAG = re.compile(r"\\tag\{(\w+)\}")
_MARK = "\ue000{}\ue001"


def cut_out(markdown: str) -> tuple[str, list[str]]:
    """A page with placeholders for its equations, and these as HTML."""
    found: list[str] = []

    def replace(match: re.Match[str]) -> str:
        if match["inline"]:
            found.append(convert(match["inline"]))
        elif match["kind"] == "math":
            found.append(_displayed(match["block"].strip()))
        else:
            return match[0]  # some other code
        return _MARK.format(len(found) - 1)

    return _WRITTEN.sub(replace, markdown), found


def _displayed(equation: str) -> str:
    tag = _TAG.search(equation)
    number = f'<span class="number">({tag[1]})</span>' if tag else ""
    drawn = convert(_TAG.sub("", equation), display="block")
    return f'<div class="equation">{drawn}{number}</div>'


def put_back(html: str, equations: list[str]) -> str:
    """The HTML of a page, with its equations."""
    for number, equation in enumerate(equations):
        mark = _MARK.format(number)
        if equation.startswith("<div"):
            html = html.replace(f"<p>{mark}</p>", equation)
        html = html.replace(mark, equation)
    return html


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called before a page is read as Markdown."""
    text, page.meta["equations"] = cut_out(markdown)
    return text


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Called when a page is HTML."""
    return put_back(html, page.meta["equations"])
