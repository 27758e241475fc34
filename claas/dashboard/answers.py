"""What a reader wants to know of a preference, in words: learned, how fast, generalising, at what cost, how sure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.dashboard.pages import title, worded
from claas.results.efficiency import Reached
from claas.results.estimates import threshold_of
from claas.results.keys import Criterion, Key, Question, Role, judged, titles, with_role
from claas.results.numbers import number, percent
from claas.results.records import History, Status
from claas.results.summary import PreferenceSummary
from claas.results.verdict import Ruling, Verdict

_QUESTIONS = (
    _LEARNED := "Was it learned?",
    _FAST := "How fast?",
    _GENERALISES := "Does it generalise?",
    _COSTS := "What did it cost?",
    _SURE := "How sure is that?",
)

_WORDS = {Verdict.PASS: "Yes", Verdict.FAIL: "No", Verdict.INCONCLUSIVE: "Cannot tell"}


@dataclass(frozen=True)
class Conclusion:
    """A question, its answer in a word or two, and the figures that say so; `verdict` is None where none was due, and
    `curve` where there is nothing to draw."""

    question: str
    answer: str
    details: tuple[str, ...]
    verdict: Verdict | None = None
    curve: Mapping[int, float | None] | None = None


def answers(summary: PreferenceSummary, history: History, criteria: Mapping[str, float]) -> list[Conclusion]:
    """The five answers; a question whose metric was not part of the run says so.

    Which numbers they are made of is what the metrics declare: the role of a key, and the question that it is about.
    """
    if not history.steps and history.status is Status.RUNNING:
        return [Conclusion(question, "Not yet known", ()) for question in _QUESTIONS]
    unseen, trained_on = with_role(history.keys, Role.LEARNED), with_role(history.keys, Role.TRAINED_ON)
    learned = unseen or trained_on
    wanted = threshold_of(learned.criterion, criteria) if learned and learned.criterion else None
    return [
        _learned(summary, learned),
        _how_fast(summary, history, learned, wanted),
        _generalises(summary, unseen, trained_on, wanted),
        _cost(summary, history.keys),
        _how_sure(summary, titles(history.keys)),
    ]


def _learned(summary: PreferenceSummary, key: Key | None) -> Conclusion:
    ruling = _ruling(summary, key)
    if key is None or ruling is None:
        return _not_measured(_LEARNED)
    before = summary.baseline.get(key.key)
    details = [f"{_with_interval(ruling)} of the {_in_a_sentence(key.title)}, {number(ruling.threshold)} wanted"]
    if before is not None:
        details.append(f"before any feedback: {number(before)}")
    return Conclusion(_LEARNED, _word(ruling, summary), tuple(details), ruling.verdict)


def _how_fast(summary: PreferenceSummary, history: History, key: Key | None, wanted: float | None) -> Conclusion:
    """How many updates it took until no later measurement was below what is wanted; of a changed mind its half-life."""
    curve = {} if key is None else history.curve(key.key)
    if with_role(history.keys, Role.FIRST_WISH) is not None:
        return _how_fast_turned(summary.efficiency and summary.efficiency.flip_half_life, curve)
    measured = [(updates, value) for updates, value in sorted(curve.items()) if value is not None]
    if key is None or wanted is None or not measured:
        return _not_measured(_FAST)
    below = [updates for updates, value in measured if value < wanted]
    since = [updates for updates, _ in measured if not below or updates > below[-1]]
    if not since:
        word, detail = f"Not in {_counted(measured[-1][0])}", f"never stayed at {number(wanted)} or above"
    elif since[0] == 0:
        word, detail = "From the start", f"{number(measured[0][1])} before any feedback"
    else:
        word = _counted(since[0])
        detail = f"from then on {number(wanted)} or more of the {_in_a_sentence(key.title)}"
    return Conclusion(_FAST, word, (detail,), curve=curve)


def _how_fast_turned(half_life: Reached | None, curve: Mapping[int, float | None]) -> Conclusion:
    if half_life is None:
        return Conclusion(
            _FAST, "Cannot tell", ("nothing was learned before the flip, or it is not known",), curve=curve
        )
    if half_life.updates is None:
        still = f"half or more of it is left after {half_life.made} interactions, or comes back"
        return Conclusion(_FAST, "Not in this run", (still,), curve=curve)
    gone = "after the flip until compliance with the first wish stays below half of what it was"
    return Conclusion(_FAST, f"{number(half_life.updates)} updates", (gone,), curve=curve)


def _counted(updates: int) -> str:
    return "1 update" if updates == 1 else f"{updates} updates"


def _generalises(
    summary: PreferenceSummary, learned: Key | None, trained_on: Key | None, wanted: float | None
) -> Conclusion:
    probe, held_out = _final(summary, trained_on), _final(summary, learned)
    if learned is None and trained_on and trained_on.criterion and trained_on.criterion.note:
        return Conclusion(_GENERALISES, "Not measured", (trained_on.criterion.note,))
    if probe is None or held_out is None or wanted is None:
        return _not_measured(_GENERALISES)
    seen, unseen = number(probe), number(held_out)
    if probe < wanted and held_out < wanted:
        details = (f"{seen} on probe prompts and {unseen} on held-out ones: not learned",)
        return Conclusion(_GENERALISES, "Nothing to", details)
    ruling = _ruling(summary, learned)
    word = _word(ruling, summary) if ruling is not None else "Cannot tell"
    details = (f"{seen} on probe prompts, {unseen} on held-out ones, which were never trained on",)
    return Conclusion(_GENERALISES, word, (*details, f"gap {number(probe - held_out)}"))


def _cost(summary: PreferenceSummary, keys: Sequence[Key]) -> Conclusion:
    """What learning has done to the rest of the model, by the criteria that are about that."""
    costs = [
        (key, criterion, summary.criteria[criterion.name])
        for key, criterion in judged(keys)
        if key.question in (Question.FORGETTING, Question.COLLAPSE) and criterion.name in summary.criteria
    ]
    over = [key for key in keys if key.role is Role.OVER_APPLIED and _final(summary, key) is not None]
    if not costs and not over:
        return _not_measured(_COSTS)
    verdicts = {ruling.verdict for _, _, ruling in costs}
    verdict = next((one for one in (Verdict.FAIL, Verdict.INCONCLUSIVE) if one in verdicts), Verdict.PASS)
    details = (
        *(_over_application(summary, key) for key in over),
        *_losses(summary, costs, with_role(keys, Role.GENERAL), titles(keys)),
    )
    if verdict is not Verdict.FAIL and any(
        _over_applied(summary, key) for key in over
    ):  # what is certain goes before what cannot be told
        return Conclusion(_COSTS, "Applied too widely", details, Verdict.INCONCLUSIVE)
    if summary.status is Status.RUNNING:
        return Conclusion(_COSTS, "Not yet known", details)
    if not costs:
        return Conclusion(_COSTS, "Damage not measured", details)
    word = {Verdict.PASS: "No damage seen", Verdict.FAIL: "Damage", Verdict.INCONCLUSIVE: "Cannot tell"}
    return Conclusion(_COSTS, word[verdict], details, verdict)


def _over_applied(summary: PreferenceSummary, key: Key) -> bool:
    """Whether more users than before did not get what the preference is not wanted in."""
    change = summary.delta_ci.get(key.key)
    return change is not None and change[0] > 0


def _over_application(summary: PreferenceSummary, key: Key) -> str:
    return f"applied {_in_a_sentence(key.title)}: {percent(summary.finals[key.key])}{_before(summary, key.key)}"


def _losses(
    summary: PreferenceSummary,
    costs: Sequence[tuple[Key, Criterion, Ruling]],
    general: Key | None,
    names: Mapping[str, str],
) -> Iterable[str]:
    for key, criterion, ruling in costs:
        if criterion.estimator == "retention" and ruling.value is not None:
            changed = summary.changed_items.get(key.items.flips or "") if key.items else None
            lost = f"; {len(changed.lost)} of {changed.n} items lost" if changed else ""
            yield f"{key.heading or _in_a_sentence(key.title)} kept: {_with_interval(ruling)} of baseline{lost}"
        elif key.question is Question.FORGETTING and ruling.value is not None:
            yield f"{title(criterion.name, names)}: {_with_interval(ruling)}"
    now = _final(summary, general)
    before = summary.baseline.get(general.key) if general else None
    kept = any(criterion.estimator == "retention" and ruling.value is not None for _, criterion, ruling in costs)
    if not kept and now is not None and before is not None and now < before:  # its forms may be the preference's own
        yield f"general score, over a few checks: {number(before)} before, {number(now)} now"
    collapse = [(criterion.name, ruling) for key, criterion, ruling in costs if key.question is Question.COLLAPSE]
    if collapse and summary.status is not Status.RUNNING:
        bad = [title(name, names) for name, ruling in collapse if ruling.verdict is not Verdict.PASS]
        yield f"collapse: {', '.join(bad)} not shown to be well" if bad else "no sign of collapse"


def _ruling(summary: PreferenceSummary, key: Key | None) -> Ruling | None:
    return summary.criteria.get(key.criterion.name) if key and key.criterion else None


def _final(summary: PreferenceSummary, key: Key | None) -> float | None:
    return summary.finals.get(key.key) if key else None


def _in_a_sentence(words: str) -> str:
    """`held-out prompts` of the title `Held-out prompts`."""
    return words[:1].lower() + words[1:]


def _before(summary: PreferenceSummary, key: str) -> str:
    start = summary.baseline.get(key)
    return "" if start is None else f", {percent(start)} before"


def _how_sure(summary: PreferenceSummary, names: Mapping[str, str]) -> Conclusion:
    undecided = {
        name: ruling.note for name, ruling in summary.criteria.items() if ruling.verdict is Verdict.INCONCLUSIVE
    }
    details = [f"{title(name, names)}: {note}" for name, note in undecided.items() if note]
    if summary.status is Status.RUNNING:
        return Conclusion(_SURE, "Not yet known", ("a verdict comes with the last step",))
    word = {
        Verdict.PASS: "All criteria pass",
        Verdict.FAIL: "A criterion fails",
        Verdict.INCONCLUSIVE: "Undecided",
    }[summary.verdict]
    told = summary.verdict is Verdict.INCONCLUSIVE and 0 < len(undecided) == len(details)
    reason = () if told else (worded(summary.reason, names),)
    return Conclusion(_SURE, word, (*reason, *details), summary.verdict)


def _word(ruling: Ruling, summary: PreferenceSummary) -> str:
    return "Not yet known" if summary.status is Status.RUNNING else _WORDS[ruling.verdict]


def _with_interval(ruling: Ruling) -> str:
    value = "nothing measured" if ruling.value is None else number(ruling.value)
    return f"{value} ({number(ruling.ci[0])} to {number(ruling.ci[1])})" if ruling.ci else value


def _not_measured(question: str) -> Conclusion:
    return Conclusion(question, "Not measured", ("its metric was not part of this run",))
