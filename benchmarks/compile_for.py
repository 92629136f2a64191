"""What the pre-training step would do on an accelerator that is not at hand, by its own compiler.

Compiles the step for a device that is only described, reads the program, and prints a table and
last one JSON line: whether it fits, operations, memory traffic by part of the model, the most pairs
a second that its kernels allow, collectives and what runs beside them, the heaviest kernels.
Nothing runs, and no driver is needed: jax's CUDA wheels are, or libtpu (`make accelerators`).
Targets: h100, h200, a100, v5e, v5p, v6e; h100x8 are eight on one host. The base step takes minutes.

Examples:
    python -m benchmarks.compile_for h100 --pairs=64
    python -m benchmarks.compile_for h100 --set attention=cudnn remat_image=dots remat_text=dots
    python -m benchmarks.compile_for v5ex4 --preset=small --out=step.hlo
    python -m benchmarks.compile_for v5ex16 --slices=2 --fsdp=8
"""

import argparse
import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from albef_jax.models.config import PRESETS, ModelConfig, preset
from benchmarks.devices import DEVICES, target
from benchmarks.model_changes import changed

GiB = 2**30
_TOLERANCE = 0.02  # between operations by count and of the program


def stop(message: str) -> NoReturn:
    """End with one line on what to change."""
    raise SystemExit(f"error: {message}")


def recomputes(model: ModelConfig) -> bool:
    """Whether the backward pass computes products again, which counting leaves out."""
    remat = (model.remat_image, model.remat_text, model.remat_fusion)
    return model.attention == "cudnn" or any(how != "none" for how in remat)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", help=f"{', '.join(sorted(DEVICES))}; h100x8 for eight")
    parser.add_argument("--preset", default="base", choices=sorted(PRESETS))
    parser.add_argument("--image_size", type=int, help="pixels; 256, or as the preset says")
    parser.add_argument("--pairs", type=int, default=64, help="pairs a device")
    parser.add_argument("--group", type=int, default=64, help="contrast group")
    parser.add_argument("--length", type=int, default=25, help="tokens of a caption")
    parser.add_argument("--queue", type=int, default=65_536)
    parser.add_argument("--fsdp", type=int, default=1, help="devices that share parameters")
    parser.add_argument("--slices", type=int, default=1, help="of TPUs: slices of equal size")
    parser.add_argument(
        "--set",
        nargs="+",
        default=[],
        metavar="OPTION=VALUE",
        help="of the model; dtype is bfloat16",
    )
    parser.add_argument("--out", type=Path, help="file for the program's text")
    return parser.parse_args()


def prepare(given: argparse.Namespace) -> tuple[str, int, ModelConfig]:
    """Device, number of devices and model, checked before anything takes time.

    Raises:
        SystemExit: something is not there, or does not go together.
    """
    try:
        kind, count = target(given.target)
    except ValueError as error:
        stop(str(error))
    sizes = {"image_size": given.image_size} if given.image_size else {}
    try:
        model = changed(preset(given.preset, dtype="bfloat16", **sizes), given.set)
    except ValueError as error:
        stop(f"the model: {error}")
    for name in ("pairs", "group", "length", "queue", "fsdp", "slices"):
        if getattr(given, name) < 1:
            stop(f"--{name}={getattr(given, name)}: must be at least 1")
    if given.length > model.max_positions:
        stop(f"--length={given.length}: the model has max_positions={model.max_positions}")
    if given.pairs % min(given.group, given.pairs):
        stop(f"--pairs={given.pairs}: no multiple of --group={given.group}, nor below it")
    if given.queue % (given.pairs * count):
        stop(f"--queue={given.queue}: no multiple of the {given.pairs * count} pairs of a step")
    layouts = DEVICES[kind].slices or {}
    if given.slices > 1 and (count % given.slices or count // given.slices not in layouts):
        stop(f"--slices={given.slices}: {given.target} does not consist of so many TPU slices")
    if count // given.slices % given.fsdp:
        whole = "devices" if given.slices == 1 else "devices of a slice"
        stop(f"--fsdp={given.fsdp}: does not divide {count // given.slices} {whole}")
    if given.out and not given.out.parent.is_dir():
        stop(f"--out={given.out}: there is no folder {given.out.parent}")
    wheels = ("libtpu",) if DEVICES[kind].slices else ("jax_cuda13_plugin", "jax_cuda12_plugin")
    if DEVICES[kind].slices and model.attention == "cudnn":
        stop(f"--set attention=cudnn: {given.target} has no cuDNN; leave it out")
    if not any(importlib.util.find_spec(wheel) for wheel in wheels):
        what = "libtpu" if DEVICES[kind].slices else "jax's CUDA wheels"
        stop(
            f"{given.target} needs {what}: `make accelerators`, then .venv-accelerators/bin/python"
        )
    return kind, count, model


def analysed(
    compiled: Any, mesh: Any, kind: str, model: ModelConfig, given: argparse.Namespace
) -> dict[str, Any]:
    """Everything that is read from the compiled step."""
    from albef_jax.losses.masked_lm import capacity
    from albef_jax.observability import flops
    from benchmarks import overlap, roofline
    from benchmarks.collectives import sent_between_slices
    from benchmarks.hlo import parse

    device, text = DEVICES[kind], compiled.as_text()
    if given.out:
        given.out.write_text(text, "utf-8")
    program = parse(text)
    kernels = roofline.kernels(program, device)
    seconds = roofline.least_seconds(kernels, device)
    operations = sum(kernel.operations for kernel in kernels) / given.pairs
    group = min(given.group, given.pairs)
    slots = capacity(group * given.length, 0.15) / group
    needed = flops.PretrainingFlops(model, given.length, group, given.queue, slots).fused()
    peak = flops.peak(mesh.devices.flat[0])
    xla = compiled.memory_analysis()
    memory = xla.argument_size_in_bytes + xla.temp_size_in_bytes
    return {
        "arguments_gib": round(xla.argument_size_in_bytes / GiB, 3),
        "temporary_gib": round(xla.temp_size_in_bytes / GiB, 3),
        "device_gib": round(device.memory / GiB, 1),
        "fits": memory <= device.memory,
        "gflop_a_pair": round(operations / 1e9, 3),
        "gflop_a_pair_counted": round(needed / 1e9, 3),
        "gb_a_pair": round(sum(kernel.bytes for kernel in kernels) / 1e9 / given.pairs, 4),
        "kernels": sum(kernel.times for kernel in kernels),
        "loops_of_unknown_length": roofline.unknown_loops(program),
        "bound_step_ms": round(1e3 * seconds, 3),
        "bound_pairs_per_s": round(given.pairs * mesh.size / seconds, 1),
        "bound_mfu": round(needed * given.pairs / seconds / peak, 4) if peak else None,
        "bound_share_of_reachable": round(needed * given.pairs / seconds / device.products, 4),
        "speeds_measured": device.measured,
        "by_kind": roofline.by_kind(kernels),
        "by_part": roofline.by_part(kernels),
        "collectives": overlap.summary(overlap.messages(program, device)),
        "mb_between_slices": round(sent_between_slices(text) / 1e6, 3),
        "heaviest": roofline.heaviest(kernels),
    }


def rows(found: dict[str, Any]) -> list[str]:
    """The table."""
    head = f"{'kernels':>9}{'GFLOP':>10}{'GB':>9}{'ms':>9}"

    def line(title: str, one: dict[str, Any]) -> str:
        return f"{title}{one['kernels']:>9}{one['gflop']:>10.1f}{one['gb']:>9.2f}{one['ms']:>9.2f}"

    lines = []
    for title in ("by_part", "by_kind"):
        lines += [f"{title.replace('_', ' '):<36}{head}"]
        lines += [line(f"{name[:35]:<36}", one) for name, one in found[title].items()]
    lines.append(f"{'heaviest':<36}{head}")
    for one in found["heaviest"]:
        name = f"{one['kernel'][:35]:<36}"
        lines.append(f"{line(name, one)}  {one['part']}  {one['source']}")
    for one in found["collectives"]:
        lines.append(
            f"{one['times']} x {one['kind']} of {', '.join(one['dtypes'])}: {one['mb']:.1f} MB, of "
            f"which {one['mb_beside_kernels']:.1f} MB beside kernels"
        )
    if found["mb_between_slices"]:
        lines.append(f"sent to other slices: {found['mb_between_slices']:.1f} MB")
    fits = "fits" if found["fits"] else "DOES NOT FIT"
    return [
        *lines,
        f"memory: {found['arguments_gib']:.2f} GiB of arguments, {found['temporary_gib']:.2f} GiB "
        f"temporary: {fits} in {found['device_gib']} GiB",
        f"operations a pair, 10^9: {found['gflop_a_pair']} in the program, "
        f"{found['gflop_a_pair_counted']} needed",
        f"at most {found['bound_pairs_per_s']} pairs/s, {found['bound_share_of_reachable']:.1%} of "
        f"what products reach, in {found['kernels']} kernels a step",
    ]


def warnings(found: dict[str, Any], model: ModelConfig) -> list[str]:
    """What makes the figures doubtful."""
    said = []
    ratio = found["gflop_a_pair"] / found["gflop_a_pair_counted"]
    if ratio < 1 - _TOLERANCE or (ratio > 1 + _TOLERANCE and not recomputes(model)):
        said.append(f"the program has {ratio:.1%} of the operations that counting gives")
    if found["loops_of_unknown_length"]:
        said.append(f"{found['loops_of_unknown_length']} loops of unknown length count once")
    if not found["speeds_measured"]:
        said.append("the device's speeds are shares of its maker's, not measured")
    return said


def main() -> None:
    """Compile, read, print."""
    given = arguments()
    kind, count, model = prepare(given)
    # Read when jax starts: the devices are described to a compiler that runs on the CPU.
    os.environ["JAX_PLATFORMS"] = "cpu"
    import jax

    from benchmarks.described import compiled_step, described_mesh, step_config

    mesh = described_mesh(kind, count, given.fsdp, given.slices)
    config = step_config(model, min(given.group, given.pairs))
    print(f"compiling for {given.target} ...", file=sys.stderr, flush=True)
    began = time.perf_counter()
    compiled = compiled_step(config, mesh, given.pairs * count, given.length, given.queue)
    seconds = time.perf_counter() - began
    found = analysed(compiled, mesh, kind, model, given)
    print("\n".join(rows(found)))
    for warning in warnings(found, model):
        print(f"warning: {warning}", file=sys.stderr)
    settings = {name: value for name, value in vars(given).items() if name not in ("out", "target")}
    line = {
        "benchmark": "compile_for",
        "target": given.target,
        "device": mesh.devices.flat[0].device_kind,
        "devices": count,
        "jax": jax.__version__,
        **settings,
        "image_size": model.image_size,
        "compile_s": round(seconds, 1),
        **found,
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
