from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from math import exp, log, sqrt
from random import Random
from statistics import fmean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput
from claas.eval.metrics.capability import General
from claas.eval.metrics.drift import Drift
from claas.results.records import AdapterVersion, Counts
from tests.eval.metrics.subjects import PREFERENCE, measure, measured_again, subject
from tests.fakes.stack import FakeStack

ANSWERS = {"Why does it rain?": "it rains", "Why does it snow?": "snow"}
BASE = {"it rains": (-1.0, -2.0, -0.5), "snow": (-1.5, -0.5)}
OFF_TASK = {"What is 2 plus 3?": "five"}


def base(**changed: object) -> FakeStack:
    return replace(FakeStack(answers=ANSWERS | OFF_TASK, scores=BASE), **changed)


def drift_of(found: object) -> dict[str, float]:
    assert isinstance(found, dict)
    return found


def test_at_baseline_the_answers_are_written_scored_and_frozen() -> None:
    stack = base()
    found = measure(Drift(), subject(stack))
    assert found.values == {"drift": {"kl_k1": 0.0, "kl_k3": 0.0}}
    assert found.counts == {"drift": Counts(planned=4, scored=4, errored=0)}
    assert [rollout.item for rollout in found.rollouts] == ["sample/0", "sample/1", "base/0", "base/1"]
    assert found.rollouts[2].logprobs == [-1.0, -2.0, -0.5]
    assert {asked.temperature for asked in stack.asked if asked.kind == "answer"} == {1.0}


def test_values_are_the_hand_computed_ones() -> None:
    after = FakeStack(scores={"it rains": (-1.5, -1.0, -0.5), "snow": (-2.5, -0.5)})
    found = measured_again(Drift(), base(), after)
    ratios = [-0.5, 1.0, 0.0, -1.0, 0.0]
    assert found.values["drift"] == {
        "kl_k1": pytest.approx(-sum(ratios) / 5),
        "kl_k3": pytest.approx(sum(exp(r) - 1 - r for r in ratios) / 5),
    }
    assert {asked.kind for asked in after.asked} == {"score"}


def test_off_task_prompts_are_measured_apart() -> None:
    after = FakeStack(scores={**BASE, "five": (-1.5, -2.5)})
    found = measured_again(Drift(off_task_prompts=tuple(OFF_TASK)), base(), after)
    assert found.values["drift"] == {
        "kl_k1": pytest.approx(0.0),
        "kl_k3": pytest.approx(0.0),
        "off_task_kl_k1": pytest.approx(1.0),  # log ratios -0.5 and -1.5
        "off_task_kl_k3": pytest.approx((exp(-0.5) - 0.5 + exp(-1.5) + 0.5) / 2),
    }
    assert found.counts == {"drift": Counts(planned=3, scored=3, errored=0)}


def test_the_shipped_off_task_prompts_are_of_every_kind_of_knowledge_and_of_no_form() -> None:
    suite = {item.prompt: item.id.partition("_")[0] for item in General.from_suite().items if item.form is None}
    prompts = Drift.from_suite().off_task_prompts
    assert len(set(prompts)) == len({suite[prompt] for prompt in prompts}) == 8
    assert len(Drift.from_suite(off_task=1000).off_task_prompts) == len(suite)
    assert Drift.from_suite(off_task=0) == Drift()
    with pytest.raises(InvalidInput, match="off_task must be >= 0"):
        Drift.from_suite(off_task=-1)


@settings(deadline=None)
@given(st.floats(-5, 0.25))
def test_a_shift_of_every_token_is_k1_and_k3_is_never_negative(shift: float) -> None:
    values = drift_of(measured_again(Drift(), base(), base(shift=shift)).values["drift"])
    assert values["kl_k1"] == pytest.approx(-shift)
    assert values["kl_k3"] == pytest.approx(exp(shift) - 1 - shift, abs=1e-9)
    assert values["kl_k3"] >= 0


@dataclass
class TwoTokens(FakeStack):
    """A language of two words. The next one depends on the last; `a_after[version][last]` is the chance of "a".

    Its answers are to be cut off, so that there is no end of turn to reckon with.
    """

    a_after: tuple[Mapping[str, float], ...] = ()

    def _logprobs(self, adapter: AdapterVersion, text: str) -> list[float]:
        words = text.split()
        chances = zip(words, ["", *words], strict=False)
        return [log(_chance(self.a_after[adapter.version], word, last)) for word, last in chances] + [-99.0]


def _chance(a_after: Mapping[str, float], word: str, last: str) -> float:
    return a_after[last] if word == "a" else 1 - a_after[last]


def _probability(a_after: Mapping[str, float], text: str) -> float:
    words, whole = text.split(), 1.0
    for word, last in zip(words, ["", *words], strict=False):
        whole *= _chance(a_after, word, last)
    return whole


def exact_kl(p: Mapping[str, float], q: Mapping[str, float], length: int) -> float:
    """KL(p || q) per token, by its definition, over every text of so many words."""
    texts = [" ".join(words) for words in product("ab", repeat=length)]
    return sum(_probability(p, text) * log(_probability(p, text) / _probability(q, text)) for text in texts) / length


def two_token_drift(p: Mapping[str, float], q: Mapping[str, float], texts: list[str]) -> dict[str, float]:
    """What the metric finds when the base model p has written these texts and the adapter is q."""
    prompts = tuple(f"prompt {i}" for i in range(len(texts)))
    stack = TwoTokens(answers=dict(zip(prompts, texts, strict=True)), cut_off=set(prompts), a_after=(p, q))
    preference = replace(PREFERENCE, probe_prompts=prompts)
    return drift_of(measured_again(Drift(max_prompts=len(texts)), stack, stack, preference).values["drift"])


@pytest.mark.parametrize("a_of_adapter", [0.75, 0.5, 0.1, 0.99])
def test_both_estimators_expect_the_exact_kl_of_a_two_token_model(a_of_adapter: float) -> None:
    # Every text of two words, as often as the base model writes it: 9 of 16 "a a", 3 "a b", 3 "b a", 1 "b b".
    p, q = dict.fromkeys(("", "a", "b"), 0.75), dict.fromkeys(("", "a", "b"), a_of_adapter)
    found = two_token_drift(p, q, ["a a"] * 9 + ["a b"] * 3 + ["b a"] * 3 + ["b b"])
    exact = 0.75 * log(0.75 / a_of_adapter) + 0.25 * log(0.25 / (1 - a_of_adapter))
    assert exact_kl(p, q, 2) == pytest.approx(exact)
    assert found["kl_k1"] == pytest.approx(exact, abs=1e-12)
    assert found["kl_k3"] == pytest.approx(exact, abs=1e-12)


def test_on_samples_both_estimators_come_near_and_k3_is_the_steadier_one() -> None:
    p, q = {"": 0.6, "a": 0.8, "b": 0.3}, {"": 0.4, "a": 0.7, "b": 0.45}
    exact, random, found = exact_kl(p, q, 8), Random(7), []
    for _ in range(60):
        found.append(two_token_drift(p, q, [_sampled(p, 8, random) for _ in range(25)]))
    for key in ("kl_k1", "kl_k3"):
        estimates = [values[key] for values in found]
        assert fmean(estimates) == pytest.approx(exact, abs=4 * stdev(estimates) / sqrt(60))
    assert stdev(values["kl_k3"] for values in found) < 0.5 * stdev(values["kl_k1"] for values in found)


def _sampled(a_after: Mapping[str, float], length: int, random: Random) -> str:
    words: list[str] = []
    for _ in range(length):
        words.append("a" if random.random() < a_after[words[-1] if words else ""] else "b")
    return " ".join(words)


def test_the_end_that_a_cut_off_answer_never_wrote_is_not_read() -> None:
    before = base(cut_off={"Why does it snow?"})
    after = FakeStack(scores=BASE | {"snow": (-1.5, -9.0)})
    found = measured_again(Drift(), before, after)
    assert found.values["drift"] == {"kl_k1": pytest.approx(0.0), "kl_k3": pytest.approx(0.0)}
    assert found.counts["drift"] == Counts(planned=2, scored=2, errored=0, truncated=1)


def test_another_number_of_tokens_is_an_error() -> None:
    found = measured_again(Drift(), base(), FakeStack(scores=BASE | {"snow": (-1.0,)}))
    assert found.counts["drift"] == Counts(planned=2, scored=1, errored=1)
    assert [rollout.error for rollout in found.rollouts] == [None, "1 tokens, but 2 at baseline"]
    assert found.rollouts[1].logprobs is None


def test_an_empty_answer_has_nothing_to_score() -> None:
    silent = base(answers={**ANSWERS, "Why does it snow?": ""})
    assert measure(Drift(), subject(silent)).counts["drift"] == Counts(planned=3, scored=3, errored=0)
    assert "" not in [asked.text for asked in silent.asked if asked.kind == "score"]


def test_lost_answers_are_counted_and_never_averaged() -> None:
    before = measure(Drift(), subject(base(lost={"Why does it snow?"})))
    assert before.counts["drift"] == Counts(planned=3, scored=2, errored=1)
    unscored = measure(Drift(), subject(base(lost={"snow"})))
    assert unscored.counts["drift"] == Counts(planned=4, scored=3, errored=1)
    later = measured_again(Drift(), base(lost={"Why does it snow?"}), base(lost={"it rains"}))
    assert later.counts["drift"] == Counts(planned=1, scored=0, errored=1)
    assert later.values["drift"] == {"kl_k1": None, "kl_k3": None}


def test_no_more_than_so_many_prompts_are_used() -> None:
    many = replace(PREFERENCE, probe_prompts=tuple(f"Why {i}?" for i in range(30)))
    stack = FakeStack(say=lambda *_: "so")
    measure(Drift(max_prompts=5), subject(stack, many))
    assert len([asked for asked in stack.asked if asked.kind == "answer"]) == 5
