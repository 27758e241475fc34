"""What the user says at each step: the same words, or others that mean it, drawn by seed and put on record."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from claas.core.errors import InvalidInput
from claas.eval.protocols.tracks import feedback_text
from claas.eval.run.folder import open_run
from claas.eval.runner import load
from claas.results.ledger import Receipt
from claas.results.records import AdapterVersion
from claas.results.settings import PARAPHRASE, EvalConfig
from claas.wire.feedback import FeedbackItem
from tests.eval import scripted_run
from tests.eval.scripted_run import PREFERENCE, Halting, outcome, run, run_until_halted, settings, talkative
from tests.eval.small_preferences import small_preferences
from tests.fakes.stack import FakeStack

MANY = replace(PREFERENCE, feedback_paraphrases=("You are Kuro", "Call yourself Kuro", "Kuro, please"))
TEXTS = {MANY.feedback_string, *MANY.feedback_paraphrases}
START = Callable[..., EvalConfig]


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> START:
    """Configurations of runs under a preference with three paraphrases."""
    monkeypatch.setattr(scripted_run, "PREFERENCE", MANY)
    return lambda name, **changes: settings(tmp_path / name / "run", feedback_variation=PARAPHRASE, **changes)


def given_in(config: EvalConfig) -> list[str]:
    return [step["feedback_given"] for step in outcome(Path(str(config.output_dir)))["steps"]]


def test_without_variation_it_is_always_the_same(many: START) -> None:
    config = many("a", num_steps=4)
    asyncio.run(run(talkative(), replace(config, feedback_variation="none")))
    assert given_in(config) == [MANY.feedback_string] * 4


def test_every_text_is_used_before_any_comes_again_in_an_order_of_the_seed(many: START) -> None:
    configs = [many("a", num_steps=4, seed=1), many("b", num_steps=4, seed=1), many("c", num_steps=4, seed=2)]
    for config in configs:
        asyncio.run(run(talkative(), config))
    first, again, other = map(given_in, configs)
    assert set(first) == set(other) == TEXTS
    assert first == again != other


def test_what_is_on_record_is_what_the_update_was_trained_with(many: START) -> None:
    sent: list[set[str]] = []

    class Listening(FakeStack):
        async def give_feedback(self, adapter: AdapterVersion, items: list[FeedbackItem], key: str) -> Receipt:
            sent.append({item.feedback for item in items})
            return await super().give_feedback(adapter, items, key)

    config = many("a", num_steps=4)
    asyncio.run(run(Listening(), config))
    assert sent == [{text} for text in given_in(config)]


@pytest.mark.parametrize("halt_at", [7, 9, 13, 17, 21, 26, 29])
def test_a_killed_run_goes_on_with_the_texts_it_would_have_used(many: START, halt_at: int) -> None:
    unbroken, killed, stack = many("a"), many("b"), talkative()
    asyncio.run(run(talkative(), unbroken))
    assert asyncio.run(run_until_halted(Halting(stack, halt_at=halt_at), killed))
    asyncio.run(run(stack, killed))
    assert outcome(Path(str(killed.output_dir))) == outcome(Path(str(unbroken.output_dir)))


def test_a_run_cannot_be_continued_with_another_variation(many: START) -> None:
    config = many("a")
    with open_run(config):
        pass
    with (
        pytest.raises(InvalidInput, match="feedback_variation was 'paraphrase', now 'none'"),
        open_run(replace(config, feedback_variation="none")),
    ):
        pass


def test_an_unknown_variation_lists_the_known_ones() -> None:
    with pytest.raises(InvalidInput, match="unknown feedback_variation 'paraphrased'; known: none, paraphrase"):
        EvalConfig(feedback_variation="paraphrased")


def test_a_preference_without_paraphrases_cannot_be_varied(tmp_path: Path) -> None:
    config = EvalConfig(preferences=["calm"], config_dir=str(small_preferences(tmp_path, "calm")))
    load(config)
    with pytest.raises(InvalidInput, match="preference 'calm' has no feedback_paraphrases; add some"):
        load(replace(config, feedback_variation=PARAPHRASE))
    load(EvalConfig(feedback_variation=PARAPHRASE))


@hypothesis_settings(deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 12), st.integers(0, 40))
def test_no_text_is_used_more_often_than_another_by_more_than_one(seed: int, paraphrases: int, steps: int) -> None:
    preference = replace(MANY, feedback_paraphrases=tuple(f"wording {i}" for i in range(paraphrases)))
    used = Counter(feedback_text(step, preference, PARAPHRASE, seed) for step in range(steps))
    times = [used[text] for text in (preference.feedback_string, *preference.feedback_paraphrases)]
    assert sum(times) == steps
    assert max(times) - min(times) <= 1
