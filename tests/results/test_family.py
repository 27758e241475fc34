"""A fail is one claim of many: it stands only where it stands among all criteria of all preferences of the run."""

from dataclasses import replace

import pytest

from claas.results.settings import EvalConfig
from claas.results.summary import build_summary
from claas.results.verdict import Family, Judgement, Verdict, judge, judge_run
from tests.results.synthetic_runs import Collapsing, World, make_history


class Short(World):
    """44 of 64 held-out answers show the preference: not quite the 80 % asked for."""

    heldout = staticmethod(lambda t: 0.6875)


def heldout(judgement: Judgement) -> tuple[Verdict, float | None, float | None]:
    ruling = judgement.criteria["heldout_compliance"]
    return ruling.verdict, ruling.p, ruling.p_holm


def test_a_fail_that_would_stand_alone_does_not_stand_among_six() -> None:
    """P(at most 44 of 64) at 0.8 is 0.0222, within 2.5 %; six times that is not."""
    judgement = judge(make_history(Short()), {})
    ruling = judgement.criteria["heldout_compliance"]
    assert ruling.ci is not None
    assert ruling.ci[1] < ruling.threshold
    assert (ruling.p, ruling.p_holm) == (pytest.approx(0.0222, abs=1e-4), pytest.approx(6 * 0.0222, abs=6e-4))
    assert ruling.verdict is judgement.verdict is Verdict.INCONCLUSIVE
    assert "not as one of the run's 6 criteria (Holm)" in (ruling.note or "")
    assert "needs n ≥ " in (ruling.note or "")


def test_it_stands_where_it_is_the_only_question() -> None:
    history = make_history(Short())
    assert history.baseline is not None
    only = {"heldout_compliance": 0.6875}
    baseline = history.baseline.model_copy(update={"eval": only})
    steps = tuple(step.model_copy(update={"eval": only}) for step in history.steps)
    assert heldout(judge(replace(history, baseline=baseline, steps=steps), {}))[0] is Verdict.FAIL


def test_p_values_are_adjusted_over_every_criterion_of_every_preference() -> None:
    histories = [make_history(preference="a"), make_history(preference="b"), make_history(Short(), "c")]
    verdict, p, p_holm = heldout(judge_run(histories, {}, planned=3)[2])
    assert p is not None
    assert (verdict, p_holm) == (Verdict.INCONCLUSIVE, pytest.approx(18 * p))


def test_a_pass_is_not_corrected() -> None:
    """Every criterion has to pass, so that more of them make a false pass rarer."""
    alone = judge(make_history(), {})
    among = judge_run([make_history(preference=name) for name in "abcdefgh"], {}, planned=8)[0]
    assert alone.verdict is among.verdict is Verdict.PASS


def test_what_is_said_to_fail_while_a_run_goes_on_still_fails_at_its_end() -> None:
    config = EvalConfig(preferences=["a", "b", "c"], num_steps=6).resolved()
    histories = {"a": make_history(Collapsing(), "a")}
    early = build_summary("r", config, histories).preferences["a"]
    histories |= {"b": make_history(preference="b"), "c": make_history(Short(), "c")}
    late = build_summary("r", config, histories).preferences["a"]
    for name, ruling in early.criteria.items():
        assert (ruling.p_holm or 0.0) >= (late.criteria[name].p_holm or 0.0)
        assert ruling.verdict is not Verdict.FAIL or late.criteria[name].verdict is Verdict.FAIL
    assert early.verdict is late.verdict is Verdict.FAIL


def test_an_unfinished_preference_counts_in_the_family_but_rejects_nothing() -> None:
    running, short = make_history(Collapsing(), "a", done=3), make_history(Short(), "b")
    judged = judge_run([running, short], {}, planned=2)
    assert {ruling.p_holm for ruling in judged[0].criteria.values()} == {None}
    _, p, p_holm = heldout(judged[1])
    assert p is not None
    assert p_holm == pytest.approx(12 * p)


def test_where_there_is_no_interval_there_is_no_p_value() -> None:
    class OnePair(World):
        pairs = 1

    ruling = judge(make_history(OnePair()), {}).criteria["margin_gain"]
    assert (ruling.ci, ruling.p, ruling.p_holm) == (None, None, None)


def test_levels_by_hand() -> None:
    family = Family.of({("a", "x"): 0.004, ("a", "y"): 0.01}, 5, 0.95)
    assert family.adjusted == {("a", "x"): pytest.approx(0.02), ("a", "y"): pytest.approx(0.04)}
    assert family.level == pytest.approx(0.025)
    assert family.strictest == pytest.approx(0.99)
