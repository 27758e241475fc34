"""What a reader wants to know of a preference, in words: learned, how fast, generalising, at what cost, how sure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from claas.dashboard.pages import title
from claas.results.criteria import threshold_of
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


def answers(found: PreferenceSummary, history: History, criteria: Mapping[str, float]) -> list[Conclusion]:
    """The five answers; a question whose metric was not part of the run says so.

    Which numbers they are made of is what the metrics declare: the role of a key, and the question that it is about.
    """
    if not history.steps and history.status is Status.RUNNING:
        return [Conclusion(question, "Not yet known", ()) for question in _QUESTIONS]
    learned = with_role(history.keys, Role.LEARNED)
    wanted = threshold_of(learned.criterion, criteria) if learned and learned.criterion else None
    return [
        _learned(found, learned),
        _how_fast(history, learned, wanted),
        _generalises(found, learned, with_role(history.keys, Role.TRAINED_ON), wanted),
        _cost(found, history.keys),
        _how_sure(found, titles(history.keys)),
    ]


def _learned(found: PreferenceSummary, key: Key | None) -> Conclusion:
    ruling = _ruling(found, key)
    if key is None or ruling is None:
        return _not_measured(_LEARNED)
    before = found.baseline.get(key.key)
    details = [f"{_with_interval(ruling)} of the {_in_a_sentence(key.title)}, {number(ruling.threshold)} wanted"]
    if before is not None:
        details.append(f"before any feedback: {number(before)}")
    return Conclusion(_LEARNED, _word(ruling, found), tuple(details), ruling.verdict)


def _how_fast(history: History, key: Key | None, wanted: float | None) -> Conclusion:
    """From the first update after which no measurement was below what is wanted."""
    curve = {} if key is None else history.curve(key.key)
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


def _counted(updates: int) -> str:
    return "1 update" if updates == 1 else f"{updates} updates"


def _generalises(
    found: PreferenceSummary, learned: Key | None, trained_on: Key | None, wanted: float | None
) -> Conclusion:
    probe, held_out = _final(found, trained_on), _final(found, learned)
    if probe is None or held_out is None or wanted is None:
        return _not_measured(_GENERALISES)
    seen, unseen = number(probe), number(held_out)
    if probe < wanted and held_out < wanted:
        details = (f"{seen} on probe prompts and {unseen} on held-out ones: not learned",)
        return Conclusion(_GENERALISES, "Nothing to", details)
    ruling = _ruling(found, learned)
    word = _word(ruling, found) if ruling is not None else "Cannot tell"
    details = (f"{seen} on probe prompts, {unseen} on held-out ones, which were never trained on",)
    return Conclusion(_GENERALISES, word, (*details, f"gap {number(probe - held_out)}"))


def _cost(found: PreferenceSummary, keys: Sequence[Key]) -> Conclusion:
    """What learning has done to the rest of the model, by the criteria that are about that."""
    about = [(key, each) for key, each in judged(keys) if key.question in (Question.FORGETTING, Question.COLLAPSE)]
    costs = [(key, criterion, found.criteria[criterion.name]) for key, criterion in about if _has(found, criterion)]
    over = with_role(keys, Role.OVER_APPLIED)
    if not costs and _final(found, over) is None:
        return _not_measured(_COSTS)
    verdict = _worst([ruling for _, _, ruling in costs])
    details = (*_over_application(found, over), *_losses(found, costs, with_role(keys, Role.GENERAL), titles(keys)))
    if verdict is not Verdict.FAIL and _over_applied(found, over):  # what is certain goes before what cannot be told
        return Conclusion(_COSTS, "Applied too widely", details, Verdict.INCONCLUSIVE)
    if found.status is Status.RUNNING:
        return Conclusion(_COSTS, "Not yet known", details)
    if not costs:
        return Conclusion(_COSTS, "Damage not measured", details)
    word = {Verdict.PASS: "No damage seen", Verdict.FAIL: "Damage", Verdict.INCONCLUSIVE: "Cannot tell"}
    return Conclusion(_COSTS, word[verdict], details, verdict)


def _over_applied(found: PreferenceSummary, key: Key | None) -> bool:
    """Whether more users than before did not get the opposite of the preference when they asked for it."""
    change = found.delta_ci.get(key.key) if key else None
    return change is not None and change[0] > 0


def _over_application(found: PreferenceSummary, key: Key | None) -> Iterable[str]:
    over = _final(found, key)
    if key is not None and over is not None:
        yield f"applied to {percent(over)} of prompts that ask for the opposite{_before(found, key.key)}"


def _losses(
    found: PreferenceSummary,
    costs: Sequence[tuple[Key, Criterion, Ruling]],
    general: Key | None,
    names: Mapping[str, str],
) -> Iterable[str]:
    for key, criterion, ruling in costs:
        if criterion.estimator == "retention" and ruling.value is not None:
            changed = found.changed_items.get(key.items.flips or "") if key.items else None
            lost = f"; {len(changed.lost)} of {changed.n} items lost" if changed else ""
            yield f"{key.heading or _in_a_sentence(key.title)} kept: {_with_interval(ruling)} of baseline{lost}"
        elif key.question is Question.FORGETTING and ruling.value is not None:
            yield f"{title(criterion.name, names)}: {_with_interval(ruling)}"
    now = _final(found, general)
    before = found.baseline.get(general.key) if general else None
    if now is not None and before is not None and now < before:
        yield f"general score, over a few checks: {number(before)} before, {number(now)} now"
    collapse = [(criterion.name, ruling) for key, criterion, ruling in costs if key.question is Question.COLLAPSE]
    if collapse and found.status is not Status.RUNNING:
        bad = [title(name, names) for name, ruling in collapse if ruling.verdict is not Verdict.PASS]
        yield f"collapse: {', '.join(bad)} not shown to be well" if bad else "no sign of collapse"


def _has(found: PreferenceSummary, criterion: Criterion) -> bool:
    return criterion.name in found.criteria


def _ruling(found: PreferenceSummary, key: Key | None) -> Ruling | None:
    return found.criteria.get(key.criterion.name) if key and key.criterion else None


def _final(found: PreferenceSummary, key: Key | None) -> float | None:
    return found.finals.get(key.key) if key else None


def _in_a_sentence(words: str) -> str:
    """`held-out prompts` of the title `Held-out prompts`."""
    return words[:1].lower() + words[1:]


def _before(found: PreferenceSummary, key: str) -> str:
    start = found.baseline.get(key)
    return "" if start is None else f", {percent(start)} before"


def _how_sure(found: PreferenceSummary, names: Mapping[str, str]) -> Conclusion:
    undecided = {name: ruling.note for name, ruling in found.criteria.items() if ruling.verdict is Verdict.INCONCLUSIVE}
    details = [f"{title(name, names)}: {note}" for name, note in undecided.items() if note]
    if found.status is Status.RUNNING:
        return Conclusion(_SURE, "Not yet known", ("a verdict comes with the last step",))
    word = {
        Verdict.PASS: "All criteria pass",
        Verdict.FAIL: "A criterion fails",
        Verdict.INCONCLUSIVE: "Undecided",
    }[found.verdict]
    return Conclusion(_SURE, word, (found.reason, *details), found.verdict)


def _word(ruling: Ruling, found: PreferenceSummary) -> str:
    return "Not yet known" if found.status is Status.RUNNING else _WORDS[ruling.verdict]


def _worst(rulings: Sequence[Ruling]) -> Verdict:
    found = {ruling.verdict for ruling in rulings}
    return next((each for each in (Verdict.FAIL, Verdict.INCONCLUSIVE) if each in found), Verdict.PASS)


def _with_interval(ruling: Ruling) -> str:
    value = "nothing measured" if ruling.value is None else number(ruling.value)
    return f"{value} ({number(ruling.ci[0])} to {number(ruling.ci[1])})" if ruling.ci else value


def _not_measured(question: str) -> Conclusion:
    return Conclusion(question, "Not measured", ("its metric was not part of this run",))
