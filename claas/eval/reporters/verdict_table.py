"""The end of a run on the screen: every criterion with its interval, what was lost, and what to do next."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claas.core.terminal import plain_table
from claas.eval.reporters.drawn import ASCII, Glyphs, interval_drawn
from claas.eval.reporters.next_steps import next_steps
from claas.results.effects import ArmEffect, Contrast
from claas.results.efficiency import in_user_units
from claas.results.items import ItemChanges
from claas.results.keys import Criterion, Key, Role, judged, kept, with_role
from claas.results.numbers import common_decimals, fixed, signed, signed_span, span
from claas.results.progress import cut_off, lost, measured, printable
from claas.results.records import Status
from claas.results.statistics import Interval
from claas.results.summary import FILE_NAME, PreferenceSummary, Summary
from claas.results.transfer import Transfer
from claas.results.user_agreement import in_words
from claas.results.verdict import Verdict

_STYLES = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}

_HOW_TO_READ = (
    "inconclusive: the threshold lies inside the interval or too near, or it could not be measured, so these data "
    "cannot tell; fail: the whole interval is on the bad side, also as one of all the run's criteria (Holm)."
)

_MOST_ITEMS = 3

Keys = Mapping[str, Sequence[Key]]


def verdict_report(summary: Summary, run_dir: Path, keys: Keys | None = None) -> Group:
    """Everything a person wants to know when a run has ended; model text in it is shown as it is, never obeyed.

    `keys` are what was declared of each preference's numbers; without them nothing is said of before training.
    """
    declared = keys or {}
    parts: list[RenderableType] = []
    run = {name: each for name, each in summary.preferences.items() if each.control_of is None}
    for name, preference in run.items():
        parts += [Text(), *_preference(name, preference, summary.confidence, declared.get(name, ()))]
    if summary.arms:
        parts += [Text(), *_arms(summary.arms, summary.confidence)]
    if summary.transfer is not None:
        parts += [Text(), *_transfer(summary.transfer, summary.confidence)]
    if any(preference.verdict is not Verdict.PASS for preference in run.values()):
        parts += [Text(), Text(_HOW_TO_READ, style="dim")]
    if len(run) > 1:
        parts += [Text(), *_side_by_side(run, declared)]
    if summary.cost is not None:
        parts += [Text(), Text(f"estimated cost: {summary.cost:.2f}, at the prices given")]
    parts += [Text(), _labelled("verdict", summary.verdict)]
    return Group(*parts, *_places(run_dir), *(Text(line) for line in next_steps(summary, run_dir, declared)))


def _preference(
    name: str, preference: PreferenceSummary, confidence: float, keys: Sequence[Key]
) -> Iterable[RenderableType]:
    yield _labelled(name, preference.verdict, f"({preference.reason})")
    if preference.criteria:
        declared = {criterion.name: (key, criterion) for key, criterion in judged(keys)}
        yield _Fitted(lambda width, glyphs: _criteria(preference, confidence, declared, width)(glyphs))
    for remark in _remarks(preference, confidence):
        yield Padding(remark, (0, 0, 0, 2), expand=False)


def _remarks(preference: PreferenceSummary, confidence: float) -> Iterable[Text]:
    for criterion, ruling in preference.criteria.items():
        if ruling.note and preference.status is Status.COMPLETE:  # otherwise the reason says it once
            yield Text(f"{criterion}: {printable(ruling.note)}")
    for note in preference.notes:
        yield Text(printable(note), style="yellow")
    if preference.not_measured:
        yield Text(f"not judged: {', '.join(preference.not_measured)}", style="dim")
    if preference.efficiency is not None:
        yield Text(in_user_units(preference.efficiency))
    if preference.user is not None:
        yield Text(in_words(preference.user, confidence))
    if preference.counts:
        yield Text(measured(preference.counts), style="dim")
    if words := lost(preference.counts):
        yield Text(printable(words), style="yellow")
    if words := cut_off(preference.counts):
        yield Text(printable(words))
    for kind, items in preference.changed_items.items():
        if items.lost or items.gained:
            yield _changes(kind, items)


def _changes(kind: str, items: ItemChanges) -> Text:
    """How many items a preference lost and gained, and which it lost where they have names."""
    names = [printable(item).rpartition("/")[2] for item in items.lost]
    named = [name for name in names if not name.isdigit()][:_MOST_ITEMS]
    more = ", ..." if len(named) < len(names) else ""
    which = f" ({', '.join(named)}{more})" if named else ""
    said = (
        f"{kind} items: {_count(items.lost, items.n)} lost{which}, {_count(items.gained, items.n)} gained, McNemar "
        f"exact p = {items.mcnemar_p:.2g}"
    )
    return Text(printable(said), style="red" if items.lost else "")


def _count(items: Sequence[str], n: int) -> str:
    return f"{len(items)} of {n}" if items else "none"


@dataclass(frozen=True)
class _Fitted:
    """What is made for the width and the characters of the terminal that it is printed to."""

    made: Callable[[int, Glyphs], RenderableType]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self.made(options.max_width, ASCII if options.ascii_only else Glyphs())


_VALUE, _VERDICT, _BETWEEN, _NARROWEST, _WIDEST = 6, 12, 3, 11, 25
_LEFT_OUT_LAST = {"before": 6, "threshold": 9, "ci": 16, "n": 4}
"""Columns that a narrow terminal has no room for, and their widths: the last of them go first."""


def _criteria(
    preference: PreferenceSummary, confidence: float, declared: Mapping[str, tuple[Key, Criterion]], width: int
) -> Callable[[Glyphs], Table]:
    """The criteria of a preference as a table that fits any width from 60."""
    name = max(cell_len(printable(each)) for each in (*preference.criteria, "criterion"))
    left = width - (name + _VALUE + _NARROWEST + _VERDICT + 3 * _BETWEEN + 2)
    shown = list[str]()
    for column, takes in _LEFT_OUT_LAST.items():
        if left >= takes + _BETWEEN:
            shown.append(column)
            left -= takes + _BETWEEN
    drawn = min(_WIDEST, _NARROWEST + max(0, left) // 2 * 2)
    heads = {
        "before": "before",
        "value": "value",
        "ci": f"{100 * confidence:g} % CI",
        "threshold": "threshold",
        "n": "n",
    }
    in_order = [each for each in heads if each == "value" or each in shown]

    def table(glyphs: Glyphs) -> Table:
        scale = f"{'bad '.rjust(drawn // 2)}{glyphs.threshold}{' good'.ljust(drawn // 2)}"
        made = plain_table("criterion", *(heads[each] for each in in_order), scale, "verdict", left=("verdict", scale))
        for criterion, ruling in preference.criteria.items():
            decimals = common_decimals(filter(None, (ruling.value, *(ruling.ci or ()))))
            cells = {
                "before": _before(preference, declared.get(criterion), decimals),
                "value": fixed(ruling.value, decimals),
                "ci": span(ruling.interval, decimals),
                "threshold": f"{ruling.relation} {ruling.threshold:g}",
                "n": str(ruling.n),
            }
            interval = interval_drawn(ruling.value, ruling.ci, ruling.threshold, ruling.relation != "<", drawn, glyphs)
            made.add_row(
                Text(printable(criterion)),
                *(cells[each] for each in in_order),
                Text(interval, style=_STYLES[ruling.verdict]),
                Text(ruling.verdict.value, style=_STYLES[ruling.verdict]),
            )
        return _unwrapped(made)

    return table


def _before(preference: PreferenceSummary, declared: tuple[Key, Criterion] | None, decimals: int) -> str:
    """The value at baseline, of a criterion that is not about a change since then."""
    if declared is None or declared[1].estimator not in ("share", "mean"):
        return ""
    return fixed(preference.baseline.get(declared[0].key), decimals)


def _unwrapped(table: Table, but: int = 0) -> Table:
    """A table whose cells stay on one line, but for those of the last columns."""
    for column in table.columns[: len(table.columns) - but]:
        column.no_wrap = True
    return table


def _side_by_side(run: Mapping[str, PreferenceSummary], keys: Keys) -> Iterable[RenderableType]:
    """All preferences of the run, a line for each."""
    table = plain_table("preference", "verdict", "held-out", "lost", "why", left=("verdict", "lost", "why"))
    for name, preference in run.items():
        key = with_role(keys.get(name, ()), Role.LEARNED)
        values = [None, None] if key is None else [preference.baseline.get(key.key), preference.finals.get(key.key)]
        changed = [f"{len(items.lost)} {kind}" for kind, items in preference.changed_items.items() if items.lost]
        table.add_row(
            Text(printable(name), overflow="ellipsis"),
            Text(preference.verdict.value, style=_STYLES[preference.verdict]),
            " → ".join(fixed(value, 2) for value in values),
            Text(", ".join(changed) or "none"),
            Text(printable(preference.reason)),
        )
    yield _unwrapped(table, but=2)


def _arms(arms: Mapping[str, Mapping[str, ArmEffect]], confidence: float) -> Iterable[RenderableType]:
    """What the feedback did beyond each control: a line for compliance, and one for each criterion of what is kept."""

    def table(width: int, _: Glyphs) -> Table:
        last = ["the control itself"] if width >= _WITH_CONTROL else []
        heads = ("more than the control", "in", "difference", f"{100 * confidence:g} % CI", *last)
        made = plain_table(*heads, left=("in",))
        for name, effects in arms.items():
            for arm, effect in effects.items():
                gain = ["" if effect.control_gain is None else signed(effect.control_gain, 2)][: len(last)]
                made.add_row(Text(printable(f"{name}, {arm}")), "compliance", *_signed(effect.compliance), *gain)
                for criterion, contrast in effect.retained.items():
                    made.add_row("", Text(printable(kept(criterion))), *_signed(contrast), *[""][: len(last)])
        for column in made.columns[1:]:
            column.no_wrap = True
        return made

    yield _Fitted(table)


_WITH_CONTROL = 90
"""Columns of a terminal that have room for what the controls themselves gained."""


def _signed(contrast: Contrast) -> tuple[str, str]:
    value = "" if contrast.value is None else signed(contrast.value, 2)
    return value, "" if contrast.ci is None else signed_span(Interval(*contrast.ci), 2)


def _transfer(transfer: Transfer, confidence: float) -> Iterable[RenderableType]:
    """The matrix, a row for each stage, and what follows from it."""
    bwt = transfer.ruling
    yield _labelled("one after the other", bwt.verdict, f"(bwt {bwt.relation} {bwt.threshold:g})")
    kinds = (printable(kept(name)) for name in transfer.retained)
    table = plain_table("held-out compliance after", *map(printable, transfer.preferences), *kinds)
    names = ["the base model", *(f"{stage.preference}, update {stage.last_update}" for stage in transfer.stages)]
    retained: list[dict[str, float | None]] = [{}, *(stage.retained for stage in transfer.stages)]
    for name, row, changes in zip(names, transfer.matrix, retained, strict=True):
        cells = [f"{fixed(cell.value, 2)} {span(cell.ci and Interval(*cell.ci), 2)}".rstrip() for cell in row]
        found = (changes.get(criterion) for criterion in transfer.retained)
        changed = ("" if change is None else signed(change, 3) for change in found)
        table.add_row(Text(printable(name)), *cells, *changed)
    yield table
    for name, number in transfer.numbers.items():
        if number.value is not None:
            ci = f"  {100 * confidence:g} % CI {signed_span(Interval(*number.ci), 3)}" if number.ci else ""
            yield Text(
                f"  {name} {signed(number.value, 3)}{ci}  {number.formula}", style="dim" if number.ci is None else ""
            )
        elif number.note:
            yield Text(f"  {name}: {number.note}", style="dim")
    if bwt.note:
        yield Text(f"  bwt: {bwt.note}")


def _labelled(name: str, verdict: Verdict, remark: str = "") -> Text:
    return Text.assemble(
        (printable(name), "bold"), ": ", (verdict.value.upper(), _STYLES[verdict]), f" {printable(remark)}".rstrip()
    )


def _places(run_dir: Path) -> Iterable[RenderableType]:
    for name in (FILE_NAME, "report.html", "plots"):
        if (run_dir / name).exists():
            yield Text(f"  {run_dir / name}", no_wrap=True, overflow="fold")
