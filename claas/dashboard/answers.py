"""What a reader wants to know of a preference, in words: learned, how fast, generalising, at what cost, how sure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.dashboard.pages import title
from claas.results.numbers import number, percent
from claas.results.records import History, Status
from claas.results.settings import Criteria
from claas.results.summary import PreferenceSummary
from claas.results.verdict import Ruling, Verdict

HELD_OUT, PROBE, OVER_APPLICATION = "heldout_compliance", "preference_compliance", "over_application_rate"
_COST = ("capability_retention", "entropy_ratio", "self_rouge_l", "mean_logprob_drift")
"""The criteria about what learning has done to the rest of the model."""

GENERAL = "general.general_score"

_QUESTIONS = (
    _LEARNED := "Was it learned?",
    _FAST := "How fast?",
    _GENERALISES := "Does it generalise?",
    _COSTS := "What did it cost?",
    _SURE := "How sure is that?",
)

_WORDS = {Verdict.PASS: "Yes", Verdict.FAIL: "No", Verdict.INCONCLUSIVE: "Cannot tell"}


@dataclass(frozen=True)
class Answer:
    """A question, its answer in a word or two, and the figures that say so; `verdict` is None where none was due, and
    `curve` where there is nothing to draw."""

    question: str
    answer: str
    details: tuple[str, ...]
    verdict: Verdict | None = None
    curve: Mapping[int, float | None] | None = None


def answers(found: PreferenceSummary, history: History, criteria: Criteria) -> list[Answer]:
    """The five answers; a question whose metric was not part of the run says so."""
    if not history.steps and history.status is Status.RUNNING:
        return [Answer(question, "Not yet known", ()) for question in _QUESTIONS]
    return [
        _learned(found),
        _how_fast(history, criteria.heldout_compliance),
        _generalises(found, criteria.heldout_compliance),
        _cost(found),
        _how_sure(found),
    ]


def _learned(found: PreferenceSummary) -> Answer:
    question, ruling = _LEARNED, found.criteria.get(HELD_OUT)
    if ruling is None:
        return _not_measured(question)
    before = found.baseline.get(HELD_OUT)
    details = [f"{_with_interval(ruling)} of the held-out prompts, {number(ruling.threshold)} wanted"]
    if before is not None:
        details.append(f"before any feedback: {number(before)}")
    return Answer(question, _word(ruling, found), tuple(details), ruling.verdict)


def _how_fast(history: History, wanted: float) -> Answer:
    """From the first update after which no measurement was below what is wanted."""
    question, curve = _FAST, history.curve(HELD_OUT)
    measured = [(updates, value) for updates, value in sorted(curve.items()) if value is not None]
    if not measured:
        return _not_measured(question)
    below = [updates for updates, value in measured if value < wanted]
    since = [updates for updates, _ in measured if not below or updates > below[-1]]
    if not since:
        word, detail = f"Not in {_counted(measured[-1][0])}", f"never stayed at {number(wanted)} or above"
    elif since[0] == 0:
        word, detail = "From the start", f"{number(measured[0][1])} before any feedback"
    else:
        word = _counted(since[0])
        detail = f"from then on {number(wanted)} or more of the held-out prompts"
    return Answer(question, word, (detail,), curve=curve)


def _counted(updates: int) -> str:
    return "1 update" if updates == 1 else f"{updates} updates"


def _generalises(found: PreferenceSummary, wanted: float) -> Answer:
    question = _GENERALISES
    probe, held_out = found.finals.get(PROBE), found.finals.get(HELD_OUT)
    if probe is None or held_out is None:
        return _not_measured(question)
    seen, unseen = number(probe), number(held_out)
    if probe < wanted and held_out < wanted:
        return Answer(question, "Nothing to", (f"{seen} on probe prompts and {unseen} on held-out ones: not learned",))
    ruling = found.criteria.get(HELD_OUT)
    word = _word(ruling, found) if ruling is not None else "Cannot tell"
    details = (f"{seen} on probe prompts, {unseen} on held-out ones, which were never trained on",)
    return Answer(question, word, (*details, f"gap {number(probe - held_out)}"))


def _cost(found: PreferenceSummary) -> Answer:
    question, rulings = _COSTS, [found.criteria[name] for name in _COST if name in found.criteria]
    over = found.finals.get(OVER_APPLICATION)
    if not rulings and over is None:
        return _not_measured(question)
    verdict, details = _worst(rulings), tuple(_losses(found, over))
    if verdict is not Verdict.FAIL and _over_applied(found):  # what is certain goes before what cannot be told
        return Answer(question, "Applied too widely", details, Verdict.INCONCLUSIVE)
    if found.status is Status.RUNNING:
        return Answer(question, "Not yet known", details)
    if not rulings:
        return Answer(question, "Damage not measured", details)
    word = {Verdict.PASS: "No damage seen", Verdict.FAIL: "Damage", Verdict.INCONCLUSIVE: "Cannot tell"}
    return Answer(question, word[verdict], details, verdict)


def _over_applied(found: PreferenceSummary) -> bool:
    """Whether more users than before did not get the opposite of the preference when they asked for it."""
    change = found.delta_ci.get(OVER_APPLICATION)
    return change is not None and change[0] > 0


def _losses(found: PreferenceSummary, over: float | None) -> Iterable[str]:
    if over is not None:
        yield f"applied to {percent(over)} of prompts that ask for the opposite{_before(found, OVER_APPLICATION)}"
    retention = found.criteria.get("capability_retention")
    if retention is not None and retention.value is not None:
        changed = found.changed_items.get("capability")
        lost = f"; {len(changed.lost)} of {changed.n} items lost" if changed else ""
        yield f"capability kept: {_with_interval(retention)} of baseline{lost}"
    general, before = found.finals.get(GENERAL), found.baseline.get(GENERAL)
    if general is not None and before is not None and general < before:
        yield f"general score, over a few checks: {number(before)} before, {number(general)} now"
    collapse = [name for name in _COST[1:] if name in found.criteria]
    if collapse and found.status is not Status.RUNNING:
        bad = [title(name) for name in collapse if found.criteria[name].verdict is not Verdict.PASS]
        yield f"collapse: {', '.join(bad)} not shown to be well" if bad else "no sign of collapse"


def _before(found: PreferenceSummary, key: str) -> str:
    start = found.baseline.get(key)
    return "" if start is None else f", {percent(start)} before"


def _how_sure(found: PreferenceSummary) -> Answer:
    undecided = {name: ruling.note for name, ruling in found.criteria.items() if ruling.verdict is Verdict.INCONCLUSIVE}
    details = [f"{title(name)}: {note}" for name, note in undecided.items() if note]
    if found.status is Status.RUNNING:
        return Answer(_SURE, "Not yet known", ("a verdict comes with the last step",))
    word = {
        Verdict.PASS: "All criteria pass",
        Verdict.FAIL: "A criterion fails",
        Verdict.INCONCLUSIVE: "Undecided",
    }[found.verdict]
    return Answer(_SURE, word, (found.reason, *details), found.verdict)


def _word(ruling: Ruling, found: PreferenceSummary) -> str:
    return "Not yet known" if found.status is Status.RUNNING else _WORDS[ruling.verdict]


def _worst(rulings: Sequence[Ruling]) -> Verdict:
    found = {ruling.verdict for ruling in rulings}
    return next((each for each in (Verdict.FAIL, Verdict.INCONCLUSIVE) if each in found), Verdict.PASS)


def _with_interval(ruling: Ruling) -> str:
    value = "nothing measured" if ruling.value is None else number(ruling.value)
    return f"{value} ({number(ruling.ci[0])} to {number(ruling.ci[1])})" if ruling.ci else value


def _not_measured(question: str) -> Answer:
    return Answer(question, "Not measured", ("its metric was not part of this run",))
