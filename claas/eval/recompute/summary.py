"""summary.json once more, from the records it is drawn from."""

from collections.abc import Mapping
from dataclasses import replace

from claas.core.errors import InvalidInput
from claas.core.files import read_text
from claas.eval.history import History
from claas.eval.recompute.agreement import Agreement
from claas.eval.run.files import RunFiles, parsed
from claas.eval.types import EvalConfig
from claas.eval.verdicts.summary import FILE_NAME, PreferenceSummary, Summary, build_summary


def check_summary(files: RunFiles, run_id: str, config: EvalConfig, histories: Mapping[str, History]) -> Agreement:
    """Rebuild what summary.json says.

    It is written when a preference ends, so a run that was killed later, or is under way, has records beyond it: it is
    held against the records that it was drawn from, and a note says that it is behind.
    """
    found, path = Agreement(FILE_NAME), files.root / FILE_NAME
    if not path.exists():
        found.notes.append("not written yet")
        return found
    try:
        recorded = parsed(path, read_text(path), Summary)
    except InvalidInput as error:
        found.note_unreadable(FILE_NAME, error)
        return found
    known = {name: histories.get(name, History(name, config.num_steps)) for name in recorded.preferences}
    as_of = {name: _as_of(recorded.preferences[name], history) for name, history in known.items()}
    behind = [name for name in known if len(as_of[name].steps) < len(known[name].steps)]
    if behind:
        found.notes.append(f"written before the last steps of {', '.join(behind)}; continuing the run renews it")
    try:
        again = build_summary(run_id, config, as_of)
    except InvalidInput as error:
        found.note_unreadable(FILE_NAME, error)
        return found
    found.compare(FILE_NAME, "summary", recorded.model_dump(mode="json"), again.model_dump(mode="json"))
    return found


def _as_of(recorded: PreferenceSummary, history: History) -> History:
    """The history as it was when it was summarised. Why a preference failed stands nowhere else."""
    return replace(
        history,
        planned_steps=recorded.steps_planned,
        failure=recorded.failure,
        baseline=history.baseline if recorded.adapter is not None else None,
        steps=history.steps[: recorded.steps_done],
    )
