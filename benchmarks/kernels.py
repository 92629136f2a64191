"""Which kernels of a device a profile shows, by time: from the Perfetto trace that jax writes."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

_NAME = 90  # characters of a kernel's


def find_trace(folder: Path) -> Path:
    """The trace below a folder that `jax.profiler` wrote into.

    Raises:
        FileNotFoundError: there is none.
    """
    for path in folder.rglob("perfetto_trace.json.gz"):
        return path
    raise FileNotFoundError(f"{folder}: has no perfetto_trace.json.gz")


def heaviest(trace: Path, steps: int, rows: int = 10) -> dict[str, Any]:
    """What a device did in a profile of some steps.

    Returns:
        `busy_ms_a_step`, `kernels_a_step`, and the heaviest kernels, each with its time and calls
        a step.
    """
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    devices = {
        event["pid"]
        for event in events
        if event.get("name") == "process_name" and "/device:" in event["args"]["name"]
    }
    spent: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for event in events:
        if event.get("ph") == "X" and event["pid"] in devices:
            spent[event["name"]] += event["dur"]  # microseconds
            calls[event["name"]] += 1
    return {
        "busy_ms_a_step": round(sum(spent.values()) / 1e3 / steps, 2),
        "kernels_a_step": round(sum(calls.values()) / steps),
        "heaviest": [
            {
                "kernel": name[:_NAME],
                "ms_a_step": round(time / 1e3 / steps, 2),
                "calls_a_step": round(calls[name] / steps, 1),
            }
            for name, time in spent.most_common(rows)
        ],
    }
