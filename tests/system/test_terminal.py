import io
import sys
from pathlib import Path

import pytest

from albef_jax.system import atomic
from albef_jax.system.terminal import as_utf8, print_anything

ROOT = Path(__file__).parents[2]
COMMANDS = [
    path
    for folder in ("albef_jax", "tools")
    for path in sorted((ROOT / folder).rglob("*.py"))
    if '__name__ == "__main__"' in (text := path.read_text("utf-8")) and "print(" in text
]


def test_a_console_that_knows_ascii_alone_gets_escapes(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "ascii"))
    print_anything()
    print("café.png 猫.png caf\udce9.png")
    sys.stdout.flush()
    assert sys.stdout.buffer.getvalue() == b"caf\\xe9.png \\u732b.png caf\\udce9.png\n"


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_prints_anything(path):
    text = path.read_text("utf-8")
    assert "print_anything()" in text or "return start(run, options" in text


def test_names_that_are_no_utf8_can_be_written_and_sent(tmp_path):
    assert as_utf8("café caf\udce9") == "café caf\\udce9"
    atomic.write_text(tmp_path / "page.html", "<p>caf\udce9 猫")
    assert (tmp_path / "page.html").read_text("utf-8") == "<p>caf\\udce9 猫"
