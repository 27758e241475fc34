"""What to do after a run, in two lines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from claas.results.keys import Key, judged
from claas.results.progress import printable
from claas.results.records import Status
from claas.results.summary import Summary
from claas.results.verdict import Verdict

_LEARNED = ("share", "gain")
"""Estimators of what is to be learned; the others are of what is to be kept."""


def next_steps(summary: Summary, run_dir: Path, keys: Mapping[str, Sequence[Key]]) -> list[str]:
    """Where to look, and what to try."""
    has_page = (run_dir / "report.html").exists()
    look = "open report.html" if has_page else f"python -m claas.api results_dir={printable(str(run_dir.parent))}"
    return [f"next: {_try(summary, keys)}", f"      {look}"]


def _try(summary: Summary, keys: Mapping[str, Sequence[Key]]) -> str:
    if summary.status is not Status.COMPLETE:
        return "the same command goes on where it ended"
    if summary.verdict is Verdict.PASS:
        seeds = ",".join(str(summary.seed + more) for more in range(3))
        return f"-m seed={seeds} in another output_dir: does it hold over seeds?"
    if summary.verdict is Verdict.INCONCLUSIVE:
        return "more held-out prompts, pairs or seeds narrow intervals"
    missed, lost = _failed(summary, keys)
    if lost and not missed:
        return "too much is lost: a lower training.learning_rate?"
    if missed and not lost:
        return "too little is learned: a larger num_steps goes on from here"
    if missed:
        return "learned little and lost much: another learning rate?"
    return "what was learned first did not last"


def _failed(summary: Summary, keys: Mapping[str, Sequence[Key]]) -> tuple[list[str], list[str]]:
    """The criteria that failed, of what was to be learned and of what was to be kept."""
    missed, lost = list[str](), list[str]()
    for name, preference in summary.preferences.items():
        estimators = {criterion.name: criterion.estimator for _, criterion in judged(keys.get(name, ()))}
        for criterion, ruling in preference.criteria.items():
            if ruling.verdict is Verdict.FAIL:
                (missed if estimators.get(criterion) in _LEARNED else lost).append(criterion)
    return missed, lost
