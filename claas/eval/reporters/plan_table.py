"""The plan of a run on the screen."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from claas.core.terminal import plain_table
from claas.eval.run.plan import Detectable, RunPlan
from claas.results.numbers import duration
from claas.results.progress import printable


def plan_report(plan: RunPlan) -> Group:
    """What the run would ask, what it could show, and what it would cost."""
    total = sum(plan.requests.values())
    lines: list[RenderableType] = [
        Text(f"{plan.updates} updates, {plan.measurements} measurements, {total:,} requests:", style="bold"),
        Text("  " + ", ".join(f"{count:,} of {metric}" for metric, count in _most_first(plan.requests))),
        Text("  besides some for each measurement that check which weights answer", style="dim"),
        Text(_cost(plan)),
    ]
    for name, criteria in plan.detectable.items():
        lines += [Text(), Text(printable(name), style="bold"), _detectable_table(criteria)]
    lines += [Text(), *(Text(f"! {printable(warning)}", style="yellow") for warning in plan.warnings)]
    return Group(*lines)


def _most_first(requests: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(requests.items(), key=lambda each: -each[1])


def _cost(plan: RunPlan) -> str:
    if plan.tokens is None or plan.seconds is None:
        return "tokens and time: not known; plan=pilot measures the baseline and one step in output_dir to tell them"
    tokens = ", ".join(f"{amount:,} {kind}" for kind, amount in sorted(plan.tokens.items()))
    cost = "" if plan.cost is None else f"; {plan.cost:.2f} at the prices given"
    return f"about {duration(plan.seconds)}; tokens: {tokens}{cost}"


def _detectable_table(criteria: Mapping[str, Detectable]) -> Table:
    table = plain_table("criterion", "n", "what it can show", left=("what it can show",))
    for name, found in criteria.items():
        table.add_row(Text(name), str(found.n), Text(found.says))
    return table
