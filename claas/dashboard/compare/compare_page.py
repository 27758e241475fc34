"""Two or more recorded runs beside each other, as a page."""

from collections.abc import Sequence

from claas.core.errors import InvalidInput
from claas.dashboard.addresses import Addresses
from claas.dashboard.charts.charts import Charts, charts_of
from claas.dashboard.compare.compare_view import ComparedRun, compare_view, letter_of, require_different
from claas.dashboard.index.last_measured import last_measured
from claas.dashboard.index.run_index import RunIndex, readable
from claas.dashboard.pages import render
from claas.eval.history import History, Status
from claas.eval.verdicts.comparison import finals_of
from claas.eval.verdicts.statistics import Interval

MOST_RUNS = 12


def compare_page(runs: Sequence[RunIndex], addresses: Addresses) -> str:
    """HTML of the comparison with the first run; `InvalidInput` unless there are two or more different runs."""
    with readable(", ".join(run.name for run in runs)):
        return comparison([_compared(run) for run in runs], _overlaid(runs), addresses)


def require_comparable(names: Sequence[str]) -> None:
    """Raise `InvalidInput` unless these are two to twelve different runs; nothing is read for it."""
    if len(names) > MOST_RUNS:
        raise InvalidInput(f"at most {MOST_RUNS} runs can be compared at once, got {len(names)}")
    require_different(names)


def comparison(runs: Sequence[ComparedRun], shown: Charts, addresses: Addresses) -> str:
    """HTML of a comparison, from what there is to compare and its charts."""
    return render("compare.html", view=compare_view(runs), shown=shown, addresses=addresses)


def _compared(run: RunIndex) -> ComparedRun:
    """Settings, the verdicts that stand, and the last measurements with their transcripts."""
    judged = {name: found for name in run.points if (found := run.preference_summary(name)) is not None}
    complete = {name: found for name, found in judged.items() if found.status is Status.COMPLETE}
    return ComparedRun(
        name=run.name,
        manifest=run.manifest,
        confidence=run.config.criteria.confidence,
        summary=run.summary and run.summary.model_copy(update={"preferences": complete}),
        metadata={name: found for name, found in run.metadata.items() if found is not None},
        finals={name: finals_of(last_measured(run, name), run.name) for name in run.points},
    )


def _overlaid(runs: Sequence[RunIndex]) -> Charts:
    """All runs' preferences in the same charts, each curve under its run's letter; criteria are the first run's."""
    owners = {id(history): run for run in runs for history in run.histories.values()}
    curves = {
        f"{letter_of(place)} {name}": history
        for place, run in enumerate(runs)
        for name, history in run.histories.items()
    }

    def interval(history: History, updates: int, criterion: str) -> Interval | None:
        return owners[id(history)].interval(history, updates, criterion)

    return charts_of(curves, runs[0].config.criteria, interval)
