"""What devices are, and that the weakest of all processes counts."""

from types import SimpleNamespace

import jax
import pytest

from albef_jax.distributed import device_found as module
from albef_jax.distributed.accelerators import GPU_SHARE, OFFERS, Accelerator
from albef_jax.distributed.device_found import device_found
from albef_jax.distributed.mesh import make_mesh
from albef_jax.observability.flops import PEAKS


def card(memory, capability="9.0", platform="gpu", kind="NVIDIA H100 80GB HBM3"):
    return SimpleNamespace(
        device_kind=kind,
        platform=platform,
        compute_capability=capability,
        memory_stats=lambda: {"bytes_limit": memory},
    )


def mesh_of(*devices):
    return SimpleNamespace(local_devices=devices)


def test_virtual_devices_share_the_memory_of_the_machine(monkeypatch):
    monkeypatch.setattr(module, "machine_memory", lambda: 800)
    found = device_found(make_mesh())
    assert found == Accelerator("cpu", "cpu", 800 // jax.local_device_count())
    monkeypatch.setattr(module, "machine_memory", lambda: None)
    assert device_found(make_mesh()).memory is None


def test_the_weakest_device_of_all_processes_counts(monkeypatch):
    other = vars(Accelerator("NVIDIA A100-SXM4-40GB", "gpu", 40, 8.0))
    monkeypatch.setattr(module, "gather_from_all", lambda here: [here, [other]])
    found = device_found(mesh_of(card(70), card(60)))
    assert (found.memory, found.capability) == (40, 8.0)
    assert found.bfloat16 and found.cudnn


@pytest.mark.parametrize(
    ("device", "bfloat16", "cudnn"),
    [
        (card(70, platform="cuda"), True, True),
        (card(16, "7.0"), False, False),
        (card(64, "gfx90a", "rocm", "AMD"), False, False),
        (card(16, "", "tpu", "TPU v5 lite"), True, False),
    ],
)
def test_what_devices_can_do(device, bfloat16, cudnn):
    found = device_found(mesh_of(device))
    assert (found.bfloat16, found.cudnn) == (bfloat16, cudnn)
    assert found.platform in ("gpu", "tpu")


def test_each_offer_has_a_peak_and_leaves_jax_its_share():
    for offer in OFFERS.values():
        assert any(name in offer.kind for name in PEAKS)
        share = GPU_SHARE if offer.platform == "gpu" else 1
        assert offer.device.memory == int(share * offer.total)
