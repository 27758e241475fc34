"""The audit of preferences as a table for the terminal."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from claas.eval.audit.soundness import Finding
from claas.eval.preference import NonAnswer, Preference


def audit_table(audited: Mapping[str, tuple[Preference, Sequence[Finding]]]) -> Table:
    """A row per verifier: its score of each kind of non-answer, and of each pair's positive and negative response."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("preference", "verifier", *NonAnswer, "pairs", "sound"):
        table.add_column(heading, overflow="fold")
    for name, (preference, findings) in audited.items():
        rows = {"verifier": preference.verifier}
        if preference.out_of_scope is not None:
            rows["out_of_scope_verifier"] = preference.out_of_scope.verifier
        for key, verifier in rows.items():
            about = {found.about: found for found in findings if found.key == key}
            non_answers = [about.pop(kind) for kind in NonAnswer]
            sound = all(found.problem is None for found in (*non_answers, *about.values()))
            table.add_row(
                Text(name),
                Text(type(verifier).__name__),
                *(_cell([found]) for found in non_answers),
                _cell(list(about.values())),
                Text("yes" if sound else "NO", style="" if sound else "bold red"),
            )
    return table


def _cell(findings: Sequence[Finding]) -> Text:
    lines = [Text(found.said, style="red" if found.problem else "") for found in findings]
    return Text("\n").join(lines)
