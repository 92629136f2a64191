import os

from albef_jax.system import machine_memory as module
from albef_jax.system.machine_memory import machine_memory


def test_a_container_has_less_than_its_machine(tmp_path, monkeypatch):
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(module, "_LIMITS", (limit,))
    whole = machine_memory()
    assert whole is None or whole > 2**20
    limit.write_text("max\n")
    assert machine_memory() == whole
    limit.write_text("1048576\n")
    assert whole is None or machine_memory() == 2**20


def test_a_system_that_does_not_say(monkeypatch):
    monkeypatch.delattr(os, "sysconf", raising=False)
    assert machine_memory() is None
