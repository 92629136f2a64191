"""Makes API pages from docstrings, one for each module, and links names to them."""

import ast
import posixpath
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PACKAGE = "albef_jax"
_CODE = re.compile(r"^```.*?^```|(?<![`\[])`(albef_jax(?:\.\w+)+)`", re.MULTILINE | re.DOTALL)


def modules() -> list[str]:
    """Dotted names of all modules with a page."""
    found = []
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] != "__init__" and path.stat().st_size:
            found.append(".".join(parts))
    return [PACKAGE, *found]


def page_of(module: str) -> str:
    """The path of a module's page in the site."""
    return f"api/{module}.md"


def text_of(module: str) -> str:
    """The text of a module's page."""
    return f"# {module}\n\n::: {module}\n"


def tree(names: list[str]) -> list[dict[str, Any]]:
    """The part of the navigation: modules by package."""
    plain: list[dict[str, Any]] = []
    packages: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        parts = name.split(".")
        if len(parts) < 3:
            plain.append({parts[-1]: page_of(name)})
        else:
            packages.setdefault(parts[1], []).append({".".join(parts[2:]): page_of(name)})
    return [*plain, *({package: inside} for package, inside in packages.items())]


def names_linked(markdown: str, page: str, known: Mapping[str, str]) -> str:
    """A page in which our names in code link to their API pages.

    Args:
        page: its path in the site.
        known: the module of each name with an API page.
    """

    def replace(match: re.Match[str]) -> str:
        name = match[1]
        if name not in known:
            return match[0]
        if name != known[name]:
            return f"[`{name}`][{name}]"
        return f"[`{name}`]({posixpath.relpath(page_of(name), posixpath.dirname(page) or '.')})"

    return _CODE.sub(replace, markdown)


def names(module: str) -> set[str]:
    """The names on a module's page: itself, its definitions, and those of its classes."""
    path = ROOT.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found = {module}

    def add(prefix: str, body: list[ast.stmt]) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                defined = [node.name]
            elif isinstance(node, ast.Assign):
                defined = [target.id for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                defined = [node.target.id]
            else:
                continue
            public = [name for name in defined if not name.startswith("_")]
            found.update(f"{prefix}.{name}" for name in public)
            if isinstance(node, ast.ClassDef) and public:
                add(f"{prefix}.{node.name}", node.body)

    add(module, ast.parse(path.read_text("utf-8")).body)
    return found


def on_config(config: Any) -> Any:
    """Put the API pages at the end of the navigation."""
    config.nav = [*(config.nav or []), {"API": tree(modules())}]
    return config


def on_files(files: Files, config: Any) -> Files:
    """Add the API pages."""
    for module in modules():
        files.append(File.generated(config, page_of(module), content=text_of(module)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called before a page is read as Markdown."""
    uri = page.file.src_uri
    return markdown if uri.startswith("api/") else names_linked(markdown, uri, _known())


@cache
def _known() -> dict[str, str]:
    return {name: module for module in modules() for name in names(module)}
