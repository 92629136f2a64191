"""Which processes work together, from flags, environment variables, or Slurm. Needs no jax."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from albef_jax.errors import ConfigError

AUTO = "auto"
# Each flag with the variables that stand for it; the last is set in Kubernetes indexed jobs.
VARIABLES = {
    "coordinator": ("JAX_COORDINATOR_ADDRESS",),
    "processes": ("JAX_NUM_PROCESSES",),
    "process": ("JAX_PROCESS_ID", "JOB_COMPLETION_INDEX"),
}
_SLURM = ("SLURM_JOB_ID", "SLURM_STEP_NODELIST", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID")
_FIRST_PORT, _PORTS = 61440, 4096  # jobs that share a node get different ones, mostly


@dataclass(frozen=True)
class Group:
    """The processes of a job, and which of them this is.

    Attributes:
        coordinator: `HOST:PORT` of process 0; or `auto`, if jax finds it by itself.
        processes, process: how many, and this one's number; both 0 for `auto`.
        devices: numbers of this process's devices on its host; None for all that it sees.
    """

    coordinator: str
    processes: int = 0
    process: int = 0
    devices: tuple[int, ...] | None = None


def find(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str],
) -> Group | None:
    """The group that this process belongs to; None if it works alone.

    A flag takes precedence over its variable, and that over Slurm's.

    Raises:
        ConfigError: something is missing or impossible.
    """
    given = _given({"coordinator": coordinator, "processes": processes, "process": process})
    if given.get("coordinator") == AUTO:
        return _auto(given)
    named = given | _from_variables(given, environment)
    slurm = _slurm(environment)
    if not named.keys() & {"coordinator", "processes"} and "process" not in given:
        named = {}  # an index alone belongs to independent jobs
    if not named and not slurm:
        return None
    return _checked({**slurm, **named}, named)


def _given(values: dict) -> dict[str, str]:
    return {name: str(value) for name, value in values.items() if value is not None}


def _auto(given: dict[str, str]) -> Group:
    if others := given.keys() - {"coordinator"}:
        raise ConfigError(
            f"--coordinator={AUTO} finds the group by itself; leave out "
            + " and ".join(f"--{name}" for name in sorted(others))
        )
    return Group(AUTO)


def _from_variables(given: dict[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, variables in VARIABLES.items():
        value = next((environment[key] for key in variables if environment.get(key)), None)
        if value is not None and name not in given:
            found[name] = value
    return found


def _slurm(environment: Mapping[str, str]) -> dict[str, str]:
    """The tasks of a step that `srun` started; nothing if there is only one."""
    if not all(environment.get(key) for key in _SLURM) or environment["SLURM_NTASKS"] == "1":
        return {}
    port = _FIRST_PORT + int(environment["SLURM_JOB_ID"]) % _PORTS
    found = {
        "coordinator": f"{_first_host(environment['SLURM_STEP_NODELIST'])}:{port}",
        "processes": environment["SLURM_NTASKS"],
        "process": environment["SLURM_PROCID"],
    }
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE", "1")
    several = "," in environment.get("CUDA_VISIBLE_DEVICES", "")
    several = several and not environment.get("JAX_LOCAL_DEVICE_IDS")
    if several and not re.match(r"1\b", tasks):
        found["device"] = environment["SLURM_LOCALID"]  # each task sees all, and takes its own
    return found


def _first_host(nodes: str) -> str:
    """The first host of a list in Slurm's notation: `a[003-007,9]-s[1-2],b` gives `a003-s1`."""
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])*", nodes)[0]  # type: ignore[index]
    return re.sub(r"\[(\w+)[^\]]*\]", r"\1", first)


def _checked(found: dict[str, str], named: dict[str, str]) -> Group | None:
    missing = [name for name in VARIABLES if name not in found]
    if missing:
        raise ConfigError(
            f"{_list(named)} given, but not {_list(missing)}: a process of a group needs all of "
            f"--coordinator=HOST:PORT --processes=N --process=I (or {_variables()})"
        )
    numbers = {name: _number(name, found[name]) for name in ("processes", "process")}
    processes, process = numbers["processes"], numbers["process"]
    if not 0 <= process < processes:
        raise ConfigError(
            f"--process={process} --processes={processes}: processes are numbered 0 to N - 1"
        )
    if not re.fullmatch(r".+:\d+", found["coordinator"]):
        raise ConfigError(
            f"--coordinator={found['coordinator']}: give HOST:PORT, a host that all reach and a "
            f"free port on it; or {AUTO}"
        )
    if processes == 1:
        return None
    devices = (int(found["device"]),) if "device" in found else None
    return Group(found["coordinator"], processes, process, devices)


def _list(names) -> str:
    return " and ".join(f"--{name}" for name in names)


def _variables() -> str:
    return ", ".join(names[0] for names in VARIABLES.values())


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"-?\d+", text):
        raise ConfigError(f"--{name}={text}: not a number")
    return int(text)
