"""The shipped weights can do what the harness relies on; `benchmarks/tiny_model.py` measures the same in full."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pytest
import torch

from benchmarks.tiny_model import (
    PREFERENCES,
    STYLE_PROMPTS,
    Row,
    Subject,
    capability,
    diversity,
    obedience,
    paraphrases,
    styles,
    unseen_names,
)
from claas.eval.config.catalog import load_preference
from claas.eval.metrics.capability import General
from claas.eval.metrics.preference import Preference
from claas.tiny import WEIGHTS_DIR
from claas.tiny.abilities import UserTurn, answers

pytestmark = pytest.mark.slow


class Together(Subject):
    """Answers all that it will be asked greedily at once: what answers cost is steps, whatever their number."""

    def __init__(self) -> None:
        super().__init__(WEIGHTS_DIR)
        self._written: dict[UserTurn, str] = {}

    def write(self, measured: Iterable[Iterator[Row]]) -> None:
        """Ask for all of it without an answer, to learn what is asked; then answer."""
        for rows in measured:
            list(rows)
        turns = list(self._written)
        texts = answers(self.model, self.tokenizer, turns, batch=len(turns) // 2 + 1)
        self._written = dict(zip(turns, texts, strict=True))

    def greedy(self, prompts: Sequence[str], feedback: str = "") -> list[str]:
        return self.greedy_to([UserTurn(prompt, feedback) for prompt in prompts])

    def greedy_to(self, requests: Sequence[UserTurn]) -> list[str]:
        return [self._written.setdefault(turn, "") for turn in requests]


def followed(subject: Subject, name: str) -> Iterator[Row]:
    preference = load_preference(name)
    few = {"probe_prompts": preference.probe_prompts[::2], "heldout_prompts": preference.heldout_prompts[::12]}
    return obedience(subject, replace(preference, **few))


def followed_in_other_words(subject: Subject, name: str) -> Iterator[Row]:
    return paraphrases(subject, with_probes(load_preference(name), 6))


def known(subject: Subject) -> Iterator[Row]:
    items = General.from_suite().items
    return capability(subject, items[:4] + items[4::6])


few_styles = partial(styles, prompts=STYLE_PROMPTS[::4])


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.set_num_threads(1)
    made = Together()
    by_preference = [measured(made, name) for measured in (followed, followed_in_other_words) for name in PREFERENCES]
    made.write([*by_preference, unseen_names(made), few_styles(made), known(made)])
    return made


def with_probes(preference: Preference, every: int) -> Preference:
    return replace(preference, probe_prompts=preference.probe_prompts[::every])


def unmet(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if not row.met]


@pytest.mark.parametrize("name", PREFERENCES)
def test_answers_change_with_the_hindsight_feedback_and_only_then(subject: Subject, name: str) -> None:
    assert unmet(followed(subject, name)) == []


@pytest.mark.parametrize("name", PREFERENCES)
def test_feedback_in_words_never_seen_is_followed(subject: Subject, name: str) -> None:
    assert unmet(followed_in_other_words(subject, name)) == []


@pytest.mark.parametrize("name", PREFERENCES)
def test_answers_to_one_prompt_differ(subject: Subject, name: str) -> None:
    assert unmet(diversity(subject, with_probes(load_preference(name), 5))) == []


def test_most_names_never_seen_are_taken_on(subject: Subject) -> None:
    assert unmet(unseen_names(subject)) == []


def test_at_least_eight_other_styles_are_followed(subject: Subject) -> None:
    assert unmet(few_styles(subject)) == []


def test_all_knowledge_and_most_forms_of_the_suite_are_there_before_any_training(subject: Subject) -> None:
    assert unmet(known(subject)) == []
