"""Entries of a suite as lm-eval takes them: a task or group of its own, with our shots and somebody's data set.

Each becomes a group of one member with overrides, the only form in which lm-eval 0.4.13 changes tasks that it knows.
Imported only where lm-eval is installed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import lm_eval.tasks  # pyright: ignore[reportMissingTypeStubs]  # typed in place
import yaml
from datasets.config import HF_DATASETS_CACHE  # pyright: ignore[reportMissingTypeStubs]  # typed in place
from lm_eval.tasks import TaskManager  # pyright: ignore[reportMissingTypeStubs]  # typed in place

from claas.bench.catalogue import Entry, catalogue, nearest
from claas.bench.code_tasks import run_in_sandbox
from claas.bench.surroundings import hub_answers, import_checks, share_progress_lock
from claas.core.errors import BREAKDOWNS, InvalidInput
from claas.core.files import sha256_of
from claas.core.text import one_line
from claas.results.benchmarks import TaskData

_TASKS = Path(lm_eval.tasks.__file__).parent
_OURS = Path(__file__).parent


@dataclass(frozen=True)
class PreparedEntry:
    """An entry that lm-eval can load by the name `group`; its numbers are then found under `reported`.

    `source` is the digest of the folder that holds it, where that is the user's.
    """

    entry: Entry
    group: str
    reported: str
    data: TaskData
    source: str | None


@dataclass(frozen=True)
class Suite:
    """Entries, and the one who loads them."""

    entries: tuple[PreparedEntry, ...]
    manager: TaskManager


def prepare(entries: Sequence[Entry], datasets_dir: Path | None, include: Path | None = None) -> Suite:
    """Find the tasks of all entries, those in the user's folder `include`, too.

    `InvalidInput` on a name that is nowhere, with those like it, and where two entries have a task in common.

    Only the folders of the tasks are read, in half a second; for a name that the catalogue lacks all of lm-eval's,
    which takes ten or more.
    """
    own = {} if include is None else _index_of(include)
    source = None if include is None else _digest(include)
    manager = _manager(entries, own)
    prepared: list[PreparedEntry] = []
    inside: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        for entry in entries:
            leaves = [leaf for name in entry.only or (entry.task,) for leaf in _leaves(manager, name)]
            _require_apart(entry, [str(leaf.get("task")) for leaf in leaves], inside)
            if run_programs := [leaf for leaf in leaves if leaf.get("unsafe_code")]:
                run_in_sandbox(manager, run_programs)
            data, overrides = _data(entry, leaves, datasets_dir)
            if entry.num_fewshot is not None:
                overrides["num_fewshot"] = entry.num_fewshot
            group = _group(manager, entry, overrides)
            (Path(folder) / f"{entry.task}.yaml").write_text(yaml.safe_dump(group), encoding="utf-8")
            reported = group["group"] if entry.only else entry.task
            its_source = source if entry.task in own else None
            prepared.append(PreparedEntry(entry, group["group"], reported, data, its_source))
        import_checks(inside)
        share_progress_lock()
        if any(each.data.sha256 is None for each in prepared):
            hub_answers()
        manager.task_index.update(TaskManager(include_path=folder, include_defaults=False).task_index)
        for each in prepared:
            manager.task_index[each.group].yaml_path = None  # from here on what was read of the file is used
    return Suite(tuple(prepared), manager)


def _manager(entries: Sequence[Entry], own: Mapping[str, Any]) -> TaskManager:
    listed = catalogue().tasks
    if all(entry.task in listed or entry.task in own for entry in entries):
        tasks = [listed[entry.task] for entry in entries if entry.task in listed]
        folders = dict.fromkeys(str((_OURS if task.own else _TASKS) / task.folder) for task in tasks)
        manager = TaskManager(include_path=list(folders), include_defaults=False)
    else:
        manager = TaskManager()
    if odd := [entry.task for entry in entries if entry.task in own and Path(entry.task).name != entry.task]:
        raise InvalidInput(f"include_path: the task {odd[0]!r} has files named after it; give it a name without '/'")
    if taken := sorted(own.keys() & {*manager.task_index, *listed}):
        raise InvalidInput(f"include_path: {taken[0]} is a task of lm-eval's; give yours another name")
    manager.task_index.update(own)
    return manager


def _index_of(folder: Path) -> dict[str, Any]:
    """The tasks in a folder of the user's."""
    try:
        return dict(TaskManager(include_path=str(folder.resolve()), include_defaults=False).task_index)
    except BREAKDOWNS as error:
        raise InvalidInput(f"include_path: its task files cannot be read: {one_line(error)}") from error


def _require_apart(entry: Entry, tasks: Sequence[str], inside: dict[str, str]) -> None:
    """Require that no task is in an earlier entry, too, by what is `inside` of which; put these there."""
    if shared := [task for task in tasks if task in inside]:
        more = f" and {len(shared) - 1} more" if len(shared) > 1 else ""
        raise InvalidInput(
            f"{inside[shared[0]]} and {entry.task} both have {shared[0]}{more}: name one of them, or tasks one by one"
        )
    inside.update(dict.fromkeys(tasks, entry.task))


def _group(manager: TaskManager, entry: Entry, overrides: Mapping[str, Any]) -> dict[str, Any]:
    kind = manager.task_index[entry.task].kind.name
    if not entry.only:
        member = {"group" if kind == "GROUP" else "task": entry.task, **overrides}
        return {"group": f"suite_{entry.task}", "task": [member]}
    known: dict[str, Any] = manager.task_index[entry.task].cfg or {}
    return {
        "group": f"suite_{entry.task}",
        "task": [{"task": name, **overrides} for name in entry.only],
        "aggregate_metric_list": known["aggregate_metric_list"],
    }


def _leaves(manager: TaskManager, name: str) -> list[dict[str, Any]]:
    """The settings of a task, or of every task inside a group."""
    if name not in manager.task_index:
        raise InvalidInput(f"lm-eval has no task {name!r}{nearest(name, manager.task_index)}")
    found = manager.task_index[name]
    if _is_tag(manager, name):
        raise InvalidInput(f"{name} is lm-eval's tag of several tasks; name them: {', '.join(sorted(found.tags))}")
    settings: dict[str, Any] = found.cfg or {}
    if found.kind.name != "GROUP":
        return [settings]
    members = cast(list[str | dict[str, Any]], settings["task"])
    names = [str(member if isinstance(member, str) else member.get("task", member.get("group"))) for member in members]
    tags = {member: sorted(manager.task_index[member].tags) for member in names if _is_tag(manager, member)}
    return [leaf for member in names for each in tags.get(member, [member]) for leaf in _leaves(manager, each)]


def _is_tag(manager: TaskManager, name: str) -> bool:
    return name in manager.task_index and manager.task_index[name].kind.name == "TAG"


def _data(entry: Entry, leaves: list[dict[str, Any]], datasets_dir: Path | None) -> tuple[TaskData, dict[str, Any]]:
    """What the entry reads, and what has to be changed so that it reads it from `datasets_dir`."""
    paths = sorted({str(leaf.get("dataset_path")) for leaf in leaves})
    local = [path for path in paths if datasets_dir is not None and (datasets_dir / path).is_dir()]
    if datasets_dir is None or not local:
        return TaskData(path=", ".join(paths)), {}
    loaded_with: dict[str, Any] = leaves[0].get("dataset_kwargs") or {}
    if len(paths) > 1 or any((leaf.get("dataset_kwargs") or {}) != loaded_with for leaf in leaves):
        raise InvalidInput(
            f"{entry.task} reads several data sets ({', '.join(paths)}): with datasets_dir, name its tasks one by one"
        )
    folder = datasets_dir.resolve() / paths[0]
    card = _card(folder)
    part = card.get("part")
    data = TaskData(
        path=paths[0],
        sha256=_digest(folder),
        part=None if part is None else str(part),
        fixture=card.get("fixture") is True,
    )
    kept = Path(HF_DATASETS_CACHE) / "local" / str(data.sha256)[:32]  # in its own place rows are found by name alone
    return data, {"dataset_path": str(folder), "dataset_kwargs": {**loaded_with, "cache_dir": str(kept)}}


def _digest(folder: Path) -> str:
    """Of every file's name and content."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode())
        digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()


def _card(folder: Path) -> dict[str, Any]:
    """The settings in a data set's card; `part` and `fixture` are ours."""
    card = folder / "README.md"
    if not card.is_file():
        return {}
    _, _, rest = card.read_text(encoding="utf-8").partition("---\n")
    front = yaml.safe_load(rest.partition("---\n")[0])
    return cast(dict[str, Any], front) if isinstance(front, dict) else {}
