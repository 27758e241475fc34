"""The end of a run on the screen: every criterion with its interval, what was lost, and where everything is."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from claas.core.terminal import plain_table
from claas.results.effects import ArmEffect, Contrast
from claas.results.efficiency import in_user_units
from claas.results.keys import kept
from claas.results.numbers import common_decimals, fixed, signed, signed_span, span
from claas.results.progress import cut_off, lost, measured, printable
from claas.results.records import Status
from claas.results.statistics import Interval
from claas.results.summary import FILE_NAME, PreferenceSummary, Summary
from claas.results.transfer import Transfer
from claas.results.user_agreement import in_words
from claas.results.verdict import Ruling, Verdict

_STYLES = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}

_HOW_TO_READ = (
    "pass: the whole interval is on the good side of the threshold; fail: on the bad side, also as one of all the "
    "run's criteria (Holm); inconclusive: the threshold lies inside it or too near, or it could not be measured, so "
    "these data cannot tell."
)

_MOST_ITEMS = 12


def verdict_report(summary: Summary, run_dir: Path) -> Group:
    """Everything a person wants to know when a run has ended; model text in it is shown as it is, never obeyed."""
    parts: list[RenderableType] = []
    judged = {name: each for name, each in summary.preferences.items() if each.control_of is None}
    for name, preference in judged.items():
        parts += [Text(), *_preference(name, preference, summary.confidence)]
    if summary.arms:
        parts += [Text(), *_arms(summary.arms, summary.confidence)]
    if summary.transfer is not None:
        parts += [Text(), *_transfer(summary.transfer, summary.confidence)]
    if any(preference.verdict is Verdict.INCONCLUSIVE for preference in judged.values()):
        parts += [Text(), Text(_HOW_TO_READ, style="dim")]
    if summary.cost is not None:
        parts += [Text(), Text(f"estimated cost: {summary.cost:.2f}, at the prices given")]
    parts += [Text(), _labelled("verdict", summary.verdict)]
    return Group(*parts, *_places(run_dir))


def _preference(name: str, preference: PreferenceSummary, confidence: float) -> Iterable[RenderableType]:
    yield _labelled(name, preference.verdict, f"({preference.reason})")
    if preference.criteria:
        yield _table(preference.criteria, confidence)
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
        p = f"  (McNemar exact p = {items.mcnemar_p:.2g})"
        if items.lost:
            yield Text(f"{kind} items lost: {_listed(items.lost)}{p}", style="red")
        if items.gained:
            yield Text(f"{kind} items gained: {_counted(items.gained, items.n)}{'' if items.lost else p}")


def _table(criteria: dict[str, Ruling], confidence: float) -> Table:
    ci = f"{100 * confidence:g} % CI"
    table = plain_table("criterion", "value", ci, "threshold", "n", "verdict", left=("verdict",))
    for name, ruling in criteria.items():
        decimals = common_decimals(filter(None, (ruling.value, *(ruling.ci or ()))))
        table.add_row(
            Text(name),
            fixed(ruling.value, decimals),
            span(ruling.interval, decimals),
            f"{ruling.relation} {ruling.threshold:g}",
            str(ruling.n),
            Text(ruling.verdict.value, style=_STYLES[ruling.verdict]),
        )
    return table


def _arms(arms: Mapping[str, Mapping[str, ArmEffect]], confidence: float) -> Iterable[RenderableType]:
    """What the feedback did beyond each control: a line for compliance, and one for each criterion of what is kept."""
    table = plain_table(
        "more than the control", "in", "difference", f"{100 * confidence:g} % CI", "the control itself", left=("in",)
    )
    for name, effects in arms.items():
        for arm, effect in effects.items():
            gain = "" if effect.control_gain is None else signed(effect.control_gain, 2)
            table.add_row(Text(printable(f"{name}, {arm}")), "compliance", *_signed(effect.compliance), gain)
            for criterion, contrast in effect.retained.items():
                table.add_row("", Text(printable(kept(criterion))), *_signed(contrast), "")
    yield table


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


def _listed(items: list[str]) -> str:
    shown = ", ".join(printable(item) for item in items[:_MOST_ITEMS]) or "none"
    return shown if len(items) <= _MOST_ITEMS else f"{shown} and {len(items) - _MOST_ITEMS} more"


def _counted(items: list[str], n: int) -> str:
    return _listed(items) if len(items) <= _MOST_ITEMS else f"{len(items)} of {n}"
