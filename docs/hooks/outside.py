"""Adds files from outside docs/: the README, as the first page, other pages, linked files."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
# Pages from the root of the repository, by their place in the site.
PAGES = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
}
BESIDE = "repository"  # the folder of files from outside in the site
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)]*)?(\))")


def moved(target: str, page: str) -> str:
    """The target of a page's relative link in the site.

    Args:
        target: as written.
        page: its path in docs/, or one of `PAGES`, which are one folder above.
    """
    if re.match(r"[a-z]+:", target):
        return target
    folder = "" if page in PAGES else posixpath.join("docs", posixpath.dirname(page))
    path = posixpath.normpath(posixpath.join(folder, target))
    inside = path.removeprefix("docs/") if path.startswith("docs/") else f"{BESIDE}/{path}"
    places = {file: place for place, file in PAGES.items()}
    inside = places.get(path, inside)
    return posixpath.relpath(inside, posixpath.dirname(page) or ".")


def links_moved(markdown: str, page: str) -> str:
    """A page's text with the links of the site."""
    return _LINK.sub(lambda m: m[1] + moved(m[2], page) + (m[3] or "") + m[4], markdown)


def on_files(files: Files, config: Any) -> Files:
    """Add the pages from the root, and each file outside docs/ that a page links to."""
    for place, file in PAGES.items():
        content = (ROOT / file).read_text("utf-8")
        files.append(File.generated(config, place, content=content))
    for page in list(files.documentation_pages()):
        for _, target, _, _ in _LINK.findall(page.content_string):
            path = posixpath.normpath(
                posixpath.join(posixpath.dirname(page.src_uri), moved(target, page.src_uri))
            )
            if path.startswith(f"{BESIDE}/") and files.get_file_from_path(path) is None:
                source = ROOT / path.removeprefix(f"{BESIDE}/")
                if source.is_file():  # otherwise the link is reported as dead
                    files.append(File.generated(config, path, abs_src_path=str(source)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called before a page is read as Markdown."""
    return links_moved(markdown, page.file.src_uri)
