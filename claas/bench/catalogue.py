"""What can be run by name: suites with fixed shots and limits, groups of tasks, and lm-eval's own names."""

import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache

from claas.core.errors import InvalidInput
from claas.core.settings import config_root
from claas.core.yaml_files import checked, read
from claas.results.records import Record

STANDARD, SMOKE = "standard", "smoke"


class Entry(Record):
    """One task, or group of tasks, of a suite. None leaves a number to lm-eval, as does `only` where it is empty."""

    task: str
    num_fewshot: int | None = None
    limit: int | None = None
    only: tuple[str, ...] = ()


class ListedTask(Record):
    """Where lm-eval keeps a task, or, of our `own`, this package; and the metric reported first (`acc,none`)."""

    folder: str
    metric: str
    own: bool = False


class Catalogue(Record):
    """`configs/bench/catalogue.yaml`."""

    tasks: dict[str, ListedTask]
    suites: dict[str, tuple[Entry, ...]]
    groups: dict[str, tuple[str, ...]]
    aliases: dict[str, str]
    not_run: dict[str, str]

    def metric(self, task: str) -> str | None:
        """The metric that is reported first; None of a task that is not listed."""
        listed = self.tasks.get(task)
        return None if listed is None else listed.metric

    def lines(self) -> list[str]:
        """What can be named, for a person."""
        suites = [f"  {name}: {', '.join(map(_described, entries))}" for name, entries in self.suites.items()]
        groups = [f"  {name}: {', '.join(members)}" for name, members in self.groups.items()]
        not_run = [f"  {name}: {reason}" for name, reason in self.not_run.items()]
        return [
            *("suite=..., with fixed shots and limits:", *suites, "suite=... or tasks=[...], groups:", *groups),
            *("tasks=[...], besides any other of lm-eval's names:", f"  {', '.join([*self.tasks, *self.aliases])}"),
            *("not run:", *not_run),
        ]


@dataclass(frozen=True)
class Chosen:
    """What is run under a suite's name; `left_out` says what of a group is not, and why."""

    suite: str
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()


@cache
def catalogue() -> Catalogue:
    """What is shipped."""
    path = config_root() / "bench" / "catalogue.yaml"
    return checked(Catalogue, read(path), path)


def chosen(suite: str | None, tasks: Sequence[str], *, limit: int | None, num_fewshot: int | None) -> Chosen:
    """The entries of a suite, or of groups and tasks, each once. A name that is not listed here is lm-eval's, or none.

    `InvalidInput` where both are given, where a suite is to be changed, where a name is among those that are not run,
    and where none is left.
    """
    require_suite_or_tasks(suite, tasks)
    suite = suite or (None if tasks else STANDARD)
    if suite in catalogue().suites:
        if limit is not None or num_fewshot is not None:
            raise InvalidInput(
                f"suite={suite} has shots and limits of its own, so that its rows can be compared; for others name its "
                f"tasks: 'tasks=[{','.join(entry.task for entry in catalogue().suites[suite])}]'"
            )
        return Chosen(suite, catalogue().suites[suite])
    if suite is not None and suite not in catalogue().groups:
        known = [*catalogue().suites, *catalogue().groups]
        raise InvalidInput(f"unknown suite {suite!r}{nearest(suite, known)}; known: {', '.join(known)}")
    names = [suite] if suite is not None else tasks
    members, left_out = _members(names)
    entries = tuple(Entry(task=name, limit=limit, num_fewshot=num_fewshot) for name in members)
    return Chosen(suite or ",".join(names), entries, left_out)


def require_suite_or_tasks(suite: str | None, tasks: Sequence[str]) -> None:
    """Raise `InvalidInput` where both are given."""
    if suite is not None and tasks:
        raise InvalidInput(f"give suite={suite} or tasks, not both: name the suite's tasks among tasks")


def nearest(name: str, known: Collection[str]) -> str:
    """`; did you mean ...?` where there are names like this one."""
    close = difflib.get_close_matches(name, known, n=3)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _members(names: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    known, members, left_out = catalogue(), dict[str, None](), list[str]()
    for name in names:
        if name in known.suites:
            raise InvalidInput(f"{name} is a suite, not a task: give suite={name}, and no tasks")
        inside = known.groups.get(name, (name,))
        reasons = [f"{member} is not run: {known.not_run[member]}" for member in inside if member in known.not_run]
        runnable = [known.aliases.get(member, member) for member in inside if member not in known.not_run]
        if not runnable:
            raise InvalidInput("; ".join(reasons))
        members |= dict.fromkeys(runnable)
        left_out += reasons
    return list(members), tuple(left_out)


def _described(entry: Entry) -> str:
    shots = "" if entry.num_fewshot is None else f" {entry.num_fewshot}-shot"
    limit = "" if entry.limit is None else f" limit {entry.limit}"
    only = f" ({' and '.join(entry.only)} only)" if entry.only else ""
    return f"{entry.task}{shots}{limit}{only}"
