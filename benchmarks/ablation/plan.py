"""What is trained: the rows of the paper's Table 1 (section 5), the noise curves, cell by cell.

A cell is one run of `albef_jax.main` with a workdir of its own. Rows that differ downstream alone
share their pre-training. The same steps for all rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

Options = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Row:
    """A row of the table.

    Attributes:
        name: of its folder, for rows that share it the same.
        title: what it adds to the row before.
        pretraining: its options in `train`.
        distill: whether fine-tuning has a teacher.
    """

    name: str
    title: str
    pretraining: Options
    distill: bool = False


def _row(name: str, title: str, losses: str, negatives: str, distilled: str, **more: bool) -> Row:
    options: Options = {"losses": losses, "negatives": negatives, "distilled": distilled}
    return Row(name, title, options, **more)


_ALL = "itc,mlm,itm"
ROWS = {
    "mlm_itm": _row("mlm_itm", "MLM + ITM", "mlm,itm", "random", ""),
    "itc": _row("itc", "+ ITC", _ALL, "random", ""),
    "hard": _row("hard", "+ hard negatives", _ALL, "hard", ""),
    "distilled_itc": _row("distilled_itc", "+ distillation of ITC", _ALL, "hard", "itc"),
    "distilled": _row("distilled", "+ distillation of MLM", _ALL, "hard", "itc,mlm"),
    "downstream": _row(
        "distilled", "+ distillation downstream", _ALL, "hard", "itc,mlm", distill=True
    ),
}
CURVES = ("hard", "distilled")  # pre-training without and with distillation, at each noise


@dataclass(frozen=True)
class Stage:
    """A kind of run.

    Attributes:
        task: as in `configs/TASK.py`.
        after: the stage whose result it starts from.
    """

    task: str
    after: str | None = None


STAGES = {
    "pretrain": Stage("pretrain"),
    "retrieval": Stage("retrieval", "pretrain"),
    "entailment": Stage("entailment", "pretrain"),
    "assignment": Stage("nlvr_pretrain", "pretrain"),
    "nlvr": Stage("nlvr", "assignment"),
    "vqa": Stage("vqa", "pretrain"),
}
_TAUGHT = ("retrieval", "entailment", "nlvr", "vqa")  # stages that have `train.distill`


@dataclass(frozen=True)
class Size:
    """How much is spent.

    Attributes:
        noise: share of web-like captions behind the table.
        curve: the shares of the noise curves.
        seeds: runs of each cell, at least three for a spread.
        options: of each stage, beside those of the row.
    """

    noise: float
    curve: tuple[float, ...]
    seeds: int
    options: dict[str, Options] = field(hash=False)


def _size(batch: int, steps: dict[str, int], seeds: int = 3, **shared: str | int | float) -> Size:
    """The demo recipes with these numbers of steps, and nothing else changed but the batch."""
    group: Options = {"train.contrast_group": min(batch, 64)}
    queue: Options = {"train.queue_size": max(256, batch)}
    of_task: dict[str, Options] = {
        # Few images, several times: noisy captions are then met again, as on the web's.
        "pretrain": {**group, **queue, "data.scenes.train_size": steps["pretrain"] * batch // 4},
        "retrieval": {**group, **queue, "data.scenes.captions": 1, "evaluation.limit": 500},
        "assignment": group,
    }
    options = {
        stage: {
            "train.steps": number,
            "train.batch_size": batch,
            "data.scenes.objects": 3,  # as questions and pairs of scenes have
            **shared,
            **of_task.get(stage, {}),
        }
        for stage, number in steps.items()
    }
    return Size(0.4, (0.0, 0.2, 0.4, 0.6), seeds, options)


_CPU_STEPS = {
    "pretrain": 800,
    "retrieval": 200,
    "entailment": 600,
    "assignment": 200,
    "nlvr": 800,
    "vqa": 800,
}
SIZES = {
    # two cores, a night; --jobs=2
    "cpu": _size(32, _CPU_STEPS, **{"data.threads": 1}),
    # one card, under ten minutes a row
    "device": _size(
        256, {stage: 2 * steps for stage, steps in _CPU_STEPS.items()}, **{"data.threads": 8}
    ),
}


@dataclass(frozen=True)
class Cell:
    """One run.

    Attributes:
        name: of its workdir, from the root of all.
        folder: its workdir.
        needs: the workdir that it starts from.
        command: arguments of `albef_jax.main`.
        described: its options and those of the runs it comes from, without paths.
    """

    name: str
    stage: str
    row: Row
    noise: float
    seed: int
    folder: Path
    needs: Path | None
    command: tuple[str, ...]
    described: list[str] = field(compare=False)

    @property
    def finished(self) -> bool:
        """Whether its workdir holds results."""
        return (self.folder / "results.json").is_file()

    def __str__(self) -> str:
        return f"noise {self.noise:g}, {self.row.title}, seed {self.seed}: {self.stage}"


def cells(
    root: Path,
    size: Size,
    rows: tuple[str, ...],
    curves: bool,
    seeds: int | None = None,
    stages: tuple[str, ...] = tuple(STAGES),
) -> list[Cell]:
    """Every run behind the table, and with `curves` behind the noise curves; parents first.

    Args:
        root: what the workdirs lie in.
        size: how much is spent.
        rows: names of `ROWS`.
        curves: whether the noise curves belong to it.
        seeds: the first so many; None for all.
        stages: names of `STAGES`; those that others need are added.
    """
    count = size.seeds if seeds is None else seeds
    wanted = _with_parents(stages)
    found: dict[Path, Cell] = {}
    for seed in range(count):  # a whole table early, its spread later
        for name in rows:
            for stage in wanted:
                cell = cell_of(root, size, stage, ROWS[name], size.noise, seed)
                found.setdefault(cell.folder, cell)
    for seed in range(count if curves else 0):
        for noise in size.curve:
            for name in CURVES:
                cell = cell_of(root, size, "pretrain", ROWS[name], noise, seed)
                found.setdefault(cell.folder, cell)
    return list(found.values())


def cell_of(root: Path, size: Size, stage: str, row: Row, noise: float, seed: int) -> Cell:
    """The run of one stage, row, noise and seed."""
    kind, above = STAGES[stage], f"noise{noise:g}/{row.name}/seed{seed}"
    taught = stage in _TAUGHT
    name = f"{above}/{stage}_taught" if taught and row.distill else f"{above}/{stage}"
    behind = cell_of(root, size, kind.after, row, noise, seed) if kind.after else None
    options: Options = {"seed": seed, "checkpoint.keep": 1, **size.options[stage]}
    if stage == "pretrain":
        options |= {f"train.{name}": value for name, value in row.pretraining.items()}
        options |= {"data.scenes.noise": noise}
    if taught:
        options |= {"train.distill": row.distill}
    described = [f"configs/{kind.task}.py", *(f"{key}={value}" for key, value in options.items())]
    if behind:
        options |= {"init.checkpoint": str(behind.folder)}
    command = (
        *("--config", f"configs/{kind.task}.py", "--workdir", str(root / name)),
        *(f"--config.{key}={value}" for key, value in options.items()),
    )
    return Cell(
        name=name,
        stage=stage,
        row=row,
        noise=noise,
        seed=seed,
        folder=root / name,
        needs=behind.folder if behind else None,
        command=command,
        described=[*(behind.described if behind else ()), *described],
    )


def _with_parents(stages: tuple[str, ...]) -> list[str]:
    """The stages and those they come after, in order."""
    wanted = set(stages)
    for name in reversed(STAGES):
        if name in wanted and (parent := STAGES[name].after):
            wanted.add(parent)
    return [name for name in STAGES if name in wanted]


def ready(waiting: list[Cell]) -> Iterator[Cell]:
    """Those of the cells whose parent has its results."""
    yield from (
        cell for cell in waiting if cell.needs is None or (cell.needs / "results.json").is_file()
    )
