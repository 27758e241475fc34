"""What a reader wants to know, in words and figures, from summaries made by hand."""

from typing import Any

import pytest

from claas.dashboard.answers import Conclusion, answers
from claas.results.items import ItemChanges
from claas.results.records import History, Status
from claas.results.summary import PreferenceSummary
from claas.results.verdict import Ruling, Verdict
from tests.dashboard.written_runs import few

PASS, FAIL, INCONCLUSIVE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE


def ruling(verdict: Verdict, value: float | None = 0.9, **changed: Any) -> Ruling:
    fields: dict[str, Any] = {
        "value": value, "ci": (0.85, 0.95), "relation": ">=", "threshold": 0.8, "n": 64, "p": 0.5, "p_holm": 1.0,
        "verdict": verdict, "formula": "f",
    }  # fmt: skip
    return Ruling(**fields | changed)


def found(**changed: Any) -> PreferenceSummary:
    fields: dict[str, Any] = {
        "verdict": PASS, "reason": "all 2 criteria measured pass", "not_measured": [], "changed_items": {},
        "criteria": {"heldout_compliance": ruling(PASS), "capability_retention": ruling(PASS, 0.97)},
        "status": Status.COMPLETE, "failure": None, "steps_done": 3, "steps_planned": 3, "adapter": None,
        "baseline": {"heldout_compliance": 0.05}, "finals_at": {}, "deltas": {}, "delta_ci": {}, "counts": {},
        "finals": {"heldout_compliance": 0.9, "preference_compliance": 0.95, "over_application_rate": 0.25},
        "tokens": {}, "timing_s": {},
    }  # fmt: skip
    return PreferenceSummary(**fields | changed)


def curve(*values: float | None) -> History:
    """A preference whose held-out compliance was measured so, the baseline first."""
    history = few(steps=max(1, len(values) - 1))
    assert history.baseline is not None
    records = [
        record.model_copy(update={"eval": {"heldout_compliance": value}})
        for record, value in zip((history.baseline, *history.steps), values, strict=False)
    ]
    return History("concise", 3, records[0], tuple(records[1:])) if records else History("concise", 3)


def asked(question: str, summary: PreferenceSummary | None = None, history: History | None = None) -> Conclusion:
    (answer,) = [
        each for each in answers(summary or found(), history or curve(0.05, 0.5, 0.9), {}) if each.question == question
    ]
    return answer


LEARNED, FAST, GENERALISES = "Was it learned?", "How fast?", "Does it generalise?"
COST, SURE = "What did it cost?", "How sure is that?"


def test_the_questions_come_in_the_order_of_a_readers_interest() -> None:
    questions = [each.question for each in answers(found(), curve(0.05, 0.9), {})]
    assert questions == [LEARNED, FAST, GENERALISES, COST, SURE]


@pytest.mark.parametrize(("verdict", "word"), [(PASS, "Yes"), (FAIL, "No"), (INCONCLUSIVE, "Cannot tell")])
def test_learned_is_what_the_criterion_says(verdict: Verdict, word: str) -> None:
    answer = asked(LEARNED, found(criteria={"heldout_compliance": ruling(verdict)}))
    assert (answer.answer, answer.verdict) == (word, verdict)
    assert answer.details == (
        "0.90 (0.85 to 0.95) of the held-out prompts, 0.80 wanted",
        "before any feedback: 0.050",
    )


def test_learned_is_not_known_while_it_is_being_learned() -> None:
    running = found(status=Status.RUNNING, criteria={"heldout_compliance": ruling(INCONCLUSIVE, ci=None)}, baseline={})
    answer = asked(LEARNED, running)
    assert (answer.answer, answer.details) == (
        "Not yet known",
        ("0.90 of the held-out prompts, 0.80 wanted",),
    )


def test_learned_with_everything_lost_says_that_nothing_was_measured() -> None:
    answer = asked(LEARNED, found(criteria={"heldout_compliance": ruling(INCONCLUSIVE, None, ci=None, n=0)}))
    assert answer.answer == "Cannot tell"
    assert answer.details[0].startswith("nothing measured of the held-out prompts")


@pytest.mark.parametrize(
    ("values", "answer", "detail"),
    [
        ((0.05, 0.5, 0.9), "2 updates", "from then on 0.80 or more of the held-out prompts"),
        ((0.05, 0.8, 0.9), "1 update", "from then on 0.80 or more of the held-out prompts"),
        ((0.05, 0.9, 0.7, 0.9), "3 updates", "from then on 0.80 or more of the held-out prompts"),
        ((0.05, 0.9, None, 0.9), "1 update", "from then on 0.80 or more of the held-out prompts"),
        ((0.05, None, 0.9), "2 updates", "from then on 0.80 or more of the held-out prompts"),
        ((0.9, 0.9), "From the start", "0.90 before any feedback"),
        ((0.05, 0.9, 0.7), "Not in 2 updates", "never stayed at 0.80 or above"),
        ((0.05, 0.5), "Not in 1 update", "never stayed at 0.80 or above"),
        ((None, None), "Not measured", "its metric was not part of this run"),
    ],
)
def test_how_fast_is_from_where_it_stayed(values: tuple[float | None, ...], answer: str, detail: str) -> None:
    told = asked(FAST, history=curve(*values))
    assert (told.answer, told.details, told.verdict) == (answer, (detail,), None)


@pytest.mark.parametrize(("verdict", "word"), [(PASS, "Yes"), (FAIL, "No"), (INCONCLUSIVE, "Cannot tell")])
def test_generalising_is_what_held_out_prompts_say_beside_those_trained_on(verdict: Verdict, word: str) -> None:
    told = asked(GENERALISES, found(criteria={"heldout_compliance": ruling(verdict)}))
    assert told.answer == word
    assert told.details == (
        "0.95 on probe prompts, 0.90 on held-out ones, which were never trained on",
        "gap 0.050",
    )
    finals = {"heldout_compliance": 0.1, "preference_compliance": 0.9}
    assert asked(GENERALISES, found(finals=finals)).details[1] == "gap 0.80"
    better = {"heldout_compliance": 0.9, "preference_compliance": 0.7}
    assert asked(GENERALISES, found(finals=better)).details[1] == "gap -0.20"


def test_there_is_nothing_to_generalise_where_nothing_was_learned() -> None:
    told = asked(GENERALISES, found(finals={"heldout_compliance": 0.1, "preference_compliance": 0.2}))
    assert (told.answer, told.details) == (
        "Nothing to",
        ("0.20 on probe prompts and 0.10 on held-out ones: not learned",),
    )


@pytest.mark.parametrize(
    "finals", [{}, {"heldout_compliance": 0.9}, {"heldout_compliance": 0.9, "preference_compliance": None}]
)
def test_generalising_needs_both(finals: dict[str, float | None]) -> None:
    assert asked(GENERALISES, found(finals=finals)).answer == "Not measured"


def cost(*verdicts: Verdict, widely: tuple[float, float] | None = None, over: float | None = 0.25) -> Conclusion:
    names = ("capability_retention", "entropy_ratio", "self_rouge_l", "mean_logprob_drift")
    rulings = {name: ruling(verdict) for name, verdict in zip(names, verdicts, strict=False)}
    finals = {} if over is None else {"over_application_rate": over}
    return asked(COST, found(criteria=rulings, finals=finals, delta_ci={"over_application_rate": widely}))


def test_the_cost_is_the_worst_of_what_was_looked_at() -> None:
    assert (cost(PASS, PASS, PASS, PASS).answer, cost(PASS).verdict) == ("No damage seen", PASS)
    assert (cost(PASS, INCONCLUSIVE).answer, cost(PASS, INCONCLUSIVE).verdict) == ("Cannot tell", INCONCLUSIVE)
    assert (cost(INCONCLUSIVE, FAIL, PASS).answer, cost(FAIL).verdict) == ("Damage", FAIL)


def test_what_it_cost_is_said_in_figures() -> None:
    assert cost(PASS, PASS, PASS).details == (
        "applied where the user asks for the opposite: 25 %",
        "capability kept: 0.90 (0.85 to 0.95) of baseline",
        "no sign of collapse",
    )
    assert cost(PASS, FAIL, PASS, INCONCLUSIVE, over=None).details[1:] == (
        "collapse: entropy ratio, mean logprob drift not shown to be well",
    )
    items = ItemChanges(n=64, lost=["a", "b"], gained=[], unmeasured=[], mcnemar_p=0.5, mcnemar_p_holm=1.0, answers={})
    told = asked(COST, found(changed_items={"capability": items}))
    assert told.details[1] == "capability kept: 0.97 (0.85 to 0.95) of baseline; 2 of 64 items lost"


def test_over_application_is_told_where_it_has_grown_for_certain() -> None:
    widely = cost(PASS, widely=(0.1, 0.5))
    assert (widely.answer, widely.verdict) == ("Applied too widely", INCONCLUSIVE)
    assert cost(PASS, widely=(0.0, 0.5)).answer == cost(PASS, widely=None).answer == "No damage seen"
    assert cost(FAIL, widely=(0.1, 0.5)).answer == "Damage", "what is worse is said first"
    assert cost(INCONCLUSIVE, widely=(0.1, 0.5)).answer == "Applied too widely", "certain before uncertain"


def test_costs_are_said_beside_what_was_before() -> None:
    key, general = "over_application_rate", "general.general_score"
    numbers = {"finals": {key: 1.0, general: 0.6}, "baseline": {key: 0.08, general: 1.0}}
    told = asked(COST, found(**numbers))
    assert told.details[0] == "applied where the user asks for the opposite: 100 %, 8 % before"
    assert not any("general score" in detail for detail in told.details), "what was kept says more"
    unjudged = asked(COST, found(**numbers, criteria={})).details
    assert "general score, over a few checks: 1.00 before, 0.60 now" in unjudged


def test_before_the_first_step_nothing_is_known_and_nothing_is_called_unmeasured() -> None:
    begun = History("concise", 5, None, ())
    running = found(status=Status.RUNNING, criteria={}, finals={}, baseline={})
    assert {each.answer for each in answers(running, begun, {})} == {"Not yet known"}


def test_nothing_is_called_whole_that_was_not_looked_at() -> None:
    assert cost(over=None).answer == "Not measured"
    alone = cost(widely=(0.0, 0.5))
    assert (alone.answer, alone.verdict) == ("Damage not measured", None), (
        "over-application alone says nothing of damage"
    )
    assert alone.details == ("applied where the user asks for the opposite: 25 %",)
    assert cost(widely=(0.1, 0.5)).answer == "Applied too widely"


@pytest.mark.parametrize(
    ("verdict", "word"), [(PASS, "All criteria pass"), (FAIL, "A criterion fails"), (INCONCLUSIVE, "Undecided")]
)
def test_how_sure_is_the_verdict_with_its_reasons(verdict: Verdict, word: str) -> None:
    rulings = {
        "heldout_compliance": ruling(INCONCLUSIVE, note="needs n ≥ 134"),
        "margin_gain": ruling(INCONCLUSIVE),
        "entropy_ratio": ruling(PASS, note="3 lost and left out"),
    }
    told = asked(SURE, found(verdict=verdict, reason="the reason", criteria=rulings))
    assert (told.answer, told.details, told.verdict) == (
        word,
        ("the reason", "held-out compliance: needs n ≥ 134"),
        verdict,
    )


def test_a_question_without_its_metric_says_so() -> None:
    assert asked(LEARNED, found(criteria={})).answer == "Not measured"
    assert asked(LEARNED, found(criteria={})).verdict is None
