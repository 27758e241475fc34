"""The list of runs at a terminal, and as JSON for scripts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rich.console import Console
from rich.text import Text

from claas.core.checks import one_of
from claas.core.errors import InvalidInput
from claas.core.terminal import plain_table, results_console
from claas.results.numbers import duration, number
from claas.results.overview import Listed, PreferenceRow, RunRow, State, differing, listed, written_settings
from claas.results.progress import printable
from claas.results.run_index import find_runs
from claas.results.settings import EvalConfig
from claas.results.verdict import Verdict

STATES = tuple(state.value for state in State)
VERDICTS = tuple(verdict.value for verdict in Verdict)


@dataclass(frozen=True)
class ListQuery:
    """Which runs. All `words` must be found in one: `name=value` among its settings (`settings_of`), others in what it
    is called and was given (`text_of`). `state` and `verdict`: only those, "" for any; every one of `tags` must be
    there; `archived` ones, or those that are not.
    """

    words: str = ""
    state: str = ""
    verdict: str = ""
    tags: tuple[str, ...] = ()
    archived: bool = False

    def __post_init__(self) -> None:
        one_of("state", self.state, ("", *STATES))
        one_of("verdict", self.verdict, ("", *VERDICTS))

    def matches(self, run: Listed) -> bool:
        """Whether the list has this run."""
        text, settings = text_of(run), settings_of(run)
        return (
            all(word in (settings if "=" in word else text) for word in self.words.casefold().split())
            and self.state in ("", run.state.value)
            and (not self.verdict or (run.row is not None and run.row.verdict == self.verdict))
            and set(self.tags) <= set(run.labels.tags)
            and self.archived == run.labels.archived
        )


def text_of(run: Listed) -> str:
    """Where a search looks for a word: name, model, preferences, tags, note, and the values of settings that are not
    the defaults; the names of settings are the same in all runs, and tell none from another."""
    row = run.row
    given = () if row is None else (value for name, value in row.settings.items() if value != _defaults(row).get(name))
    about = () if row is None else (row.base_model, *(preference.name for preference in row.preferences), *given)
    return " ".join([run.name, *about, *run.labels.tags, run.labels.note]).casefold()


def settings_of(run: Listed) -> str:
    """Where a search looks for `name=value`: every setting that may change what is measured, as it is given."""
    settings = {} if run.row is None else run.row.settings
    return " ".join(f"{name}={value}" for name, value in settings.items()).casefold()


def _defaults(row: RunRow) -> Mapping[str, str]:
    return _defaults_of(row.mode, row.base_model)


@cache
def _defaults_of(mode: str, base_model: str) -> Mapping[str, str]:
    """The settings of a run of that model for which nothing else is given."""
    return written_settings(EvalConfig(mode=mode, base_model=base_model).resolved())


def print_list(folder: Path, query: ListQuery) -> dict[str, object]:
    """Print the runs below a folder that match, newest first, and give the same for a program.

    `InvalidInput` where there is no such folder.
    """
    if not folder.is_dir():
        raise InvalidInput(f"there is no folder {folder}; name one that runs are in")
    found = listed(find_runs(folder), new_rows_s=float("inf"))
    shown = sorted(filter(query.matches, found), key=_newest, reverse=True)
    console = results_console()
    if shown:
        _print_table(console, shown)
    hidden = sum(run.labels.archived for run in found)
    beside = f", {hidden} archived (--archived)" if hidden and not query.archived else ""
    console.print(Text(f"{len(shown)} of {len(found)} runs in {printable(str(folder))}{beside}", style="dim"))
    return {"folder": str(folder), "runs": [_as_json(run) for run in shown]}


def _print_table(console: Console, shown: Sequence[Listed]) -> None:
    names = differing([run.row for run in shown if run.row is not None])
    table = plain_table(
        "run", "verdict", "learned", "differs in", "tags", "time", left=("verdict", "learned", "differs in", "tags")
    )
    for run in shown:
        if run.row is None:
            table.add_row(printable(run.name), run.state.value, Text(printable(run.problem or ""), style="dim"))
            continue
        differs = [f"{name}={value}" for name in names if (value := run.row.settings.get(name)) is not None]
        note = Text(f"\n{printable(run.labels.note)}", style="dim") if run.labels.note else ""
        table.add_row(
            Text.assemble(printable(run.name), note),
            Text(run.row.verdict or run.state.value),
            Text("\n".join(map(_learned, run.row.preferences))),
            Text(printable(" ".join(differs))),
            Text(printable(" ".join(run.labels.tags))),
            duration(run.row.seconds),
        )
    console.print(table)


def _learned(preference: PreferenceRow) -> str:
    return f"{printable(preference.name)} {number(preference.last_value)}"


def _newest(run: Listed) -> tuple[str, str]:
    return run.row.created if run.row else "", run.name


def _as_json(run: Listed) -> dict[str, object]:
    row: RunRow | None = run.row
    return {
        "run": run.name,
        "state": run.state.value,
        "problem": run.problem,
        "tags": run.labels.tags,
        "note": run.labels.note,
        "archived": run.labels.archived,
        **(row.model_dump(mode="json", exclude={"state", "worked"}) if row else {}),
    }
