"""`python -m claas.eval.aggregate RUNS ...`: what runs of several seeds show together, or two settings over them."""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claas.core.checks import one_of
from claas.core.output import Done, Parser, ended
from claas.core.terminal import plain_table, results_console
from claas.results.aggregate import (
    Aggregate,
    CriterionOverSeeds,
    DifferenceOverSeeds,
    MeanOverSeeds,
    PreferenceOverSeeds,
    SettingOverSeeds,
    write_aggregate,
)
from claas.results.aggregating import aggregate
from claas.results.numbers import common_decimals, figure, fixed, signed, signed_span, span
from claas.results.progress import printable
from claas.results.records import Record
from claas.results.run_index import run_folders
from claas.results.seed_runs import read_seed_run, settings_of
from claas.results.settings import PLOT_FORMATS, PNG, SCREEN
from claas.results.statistics import Interval
from claas.results.survival import Survival


def main(arguments: Sequence[str] | None = None) -> int:
    """The `ExitCode`; a mistake is said on one line."""
    return ended("claas.eval.aggregate", _run, arguments)


def _run(arguments: Sequence[str]) -> Done:
    asked = _parser().parsed(arguments)
    for kind in asked.formats:
        one_of("--formats", kind, PLOT_FORMATS)
    made = show_aggregate(asked.folders, asked.by, asked.output, asked.formats, asked.style)
    return Done(result=made)


class Aggregated(Record):
    """What runs show together, and the folder in which that is as aggregate.json, aggregate.html and plots."""

    folder: str
    aggregate: Aggregate


def show_aggregate(
    folders: Sequence[Path],
    by: str | None = None,
    output: Path | None = None,
    formats: Sequence[str] = (PNG,),
    style: str = SCREEN,
) -> Aggregated:
    """Print what the runs in these folders show together, and write it as JSON, page and plots into `output`.

    That is by default the folder that they are in. `formats` and `style` are of the plots.
    `InvalidInput` where they are no seeds of one configuration.
    """
    from claas.dashboard.report import write_aggregate_page  # only now: pages, and matplotlib
    from claas.results.aggregate_figure import aggregate_plots
    from claas.results.look import look_of, write_picture

    look_of(style)
    found = run_folders(folders)
    made = aggregate(*settings_of([read_seed_run(folder) for folder in found], by))
    into = output or _common(found)
    plots = aggregate_plots(made)
    for kind in formats:
        drawn = plots if (kind, style) == (PNG, SCREEN) else aggregate_plots(made, kind, style)
        for name, picture in drawn.items():
            write_picture(into / f"aggregate-{name.replace('/', '-')}.{kind}", picture)
    places = [write_aggregate(into, made), write_aggregate_page(into, made, plots)]
    console = results_console()
    console.print(aggregate_report(made))
    for place in places:
        console.print(Text(f"  {place}", no_wrap=True, overflow="fold"))
    return Aggregated(folder=str(into), aggregate=made)


def _common(runs: Sequence[Path]) -> Path:
    """The folder that all of them are in."""
    return Path(os.path.commonpath([run.resolve().parent for run in runs]))


def _parser() -> Parser:
    parser = Parser(
        "claas aggregate",
        "What runs that differ in their seed show together: curves with bands, every criterion over seeds "
        "and items, how long it took. Runs that differ in one setting of two values are compared, seed by seed.",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="RUN", help="folders of runs, or folders that they are in"
    )
    parser.add_argument("--by", metavar="SETTING", help="the setting to compare, such as training.learning_rate")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="where to write; the default is the folder that the runs are in"
    )
    parser.add_argument(
        "--formats", type=lambda given: given.split(","), default=[PNG], metavar="png,pdf,svg", help="of the plots"
    )
    parser.add_argument(
        "--style", default=SCREEN, help="of the plots: screen, paper or the path of a .mplstyle file; by default screen"
    )
    return parser


def aggregate_report(made: Aggregate) -> Group:
    """Everything on one screen."""
    parts: list[RenderableType] = []
    for setting in made.settings:
        parts += [Text(), *_setting(made, setting)]
    for name, keys in made.differences.items():
        one, other = (setting.value for setting in made.settings)
        parts += [Text(), Text(printable(f"{name}: {made.by}={other} less {one}, paired by seed and item"), "bold")]
        parts.append(_differences(keys, made.confidence))
    return Group(*parts, *(Text(printable(note), style="yellow") for note in made.notes), Text())


def _setting(made: Aggregate, setting: SettingOverSeeds) -> Iterable[RenderableType]:
    seeds = f"{len(setting.runs)} {'seed' if len(setting.runs) == 1 else 'seeds'}"
    of = "" if made.by is None else f"{made.by}={setting.value}, "
    for name, preference in setting.preferences.items():
        yield Text.assemble((printable(name), "bold"), printable(f": {of}{seeds}"))
        if preference.criteria:
            yield _criteria(preference.criteria, made.confidence)
        for line in _remarks(preference):
            yield Padding(Text(printable(line)), (0, 0, 0, 2), expand=False)
    for name, number in setting.transfer.items():
        yield Text(f"  {name} {_over_seeds(number)}")


def _criteria(criteria: dict[str, CriterionOverSeeds], confidence: float) -> Table:
    ci = f"{100 * confidence:g} % CI"
    table = plain_table("criterion", "value", ci, "threshold", "seeds × items", "verdict", "seeds", left=("verdict",))
    for name, it in criteria.items():
        known = [value for value in it.by_seed.values() if value is not None]
        decimals = common_decimals([*known, *(it.ci or ())])
        ends = f"{fixed(min(known), decimals)} to {fixed(max(known), decimals)}" if known else ""
        table.add_row(
            name,
            fixed(it.value, decimals),
            span(it.ci and Interval(*it.ci), decimals),
            f"{it.relation} {it.threshold:g}",
            f"{it.seeds} × {it.items}",
            it.verdict.value,
            ends,
        )
    return table


def _differences(keys: dict[str, DifferenceOverSeeds], confidence: float) -> Table:
    table = plain_table("key", "difference", f"{100 * confidence:g} % CI", "p (Holm)", "seeds × items")
    for name, it in keys.items():
        decimals = common_decimals([it.value, *(it.ci or ())])
        table.add_row(
            name,
            signed(it.value, decimals),
            signed_span(it.ci and Interval(*it.ci), decimals),
            "" if it.p_holm is None else f"{it.p_holm:.2g}",
            f"{it.seeds} × {it.items}",
        )
    return table


def _remarks(preference: PreferenceOverSeeds) -> Iterable[str]:
    for name, it in preference.criteria.items():
        if it.note:
            yield f"{name}: {it.note}"
    for arm, number in preference.beyond_controls.items():
        yield f"held-out compliance beyond {arm}: {_over_seeds(number)}"
    if preference.to_criterion is not None:
        yield f"learned after {_waited(preference.to_criterion)}"
    if preference.flip_half_life is not None:
        yield f"half of it is gone after the flip after {_waited(preference.flip_half_life)}"


def _over_seeds(number: MeanOverSeeds) -> str:
    return f"{signed(number.value, 3)} (over seeds {signed_span(number.ci and Interval(*number.ci), 3)})"


def _waited(survival: Survival) -> str:
    """The median with its interval, the restricted mean, and how many seeds never came to it."""
    median = f"more than {figure(survival.restricted_to)}" if survival.median is None else figure(survival.median)
    interval = ""
    if survival.median_ci is not None:
        low, high = survival.median_ci
        interval = f" ({figure(low)} to {'beyond' if high is None else figure(high)})"
    mean = f"restricted mean {figure(survival.restricted_mean)} of {figure(survival.restricted_to)}"
    never = f"; never in {survival.censored} of {len(survival.by_seed)} seeds" if survival.censored else ""
    return f"a median of {median} interactions{interval}, {mean}{never}"


if __name__ == "__main__":
    sys.exit(main())
