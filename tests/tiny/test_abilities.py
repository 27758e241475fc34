"""The shipped weights can do what the harness relies on; `benchmarks/tiny_model.py` measures the same in full."""

from collections.abc import Iterable
from dataclasses import replace

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
from claas.tiny import WEIGHTS_DIR

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def subject() -> Subject:
    torch.set_num_threads(1)
    return Subject(WEIGHTS_DIR)


def unmet(rows: Iterable[Row]) -> list[Row]:
    return [row for row in rows if not row.met]


@pytest.mark.parametrize("name", PREFERENCES)
def test_answers_change_with_the_hindsight_feedback_and_only_then(subject: Subject, name: str) -> None:
    preference = load_preference(name)
    assert unmet(obedience(subject, replace(preference, heldout_prompts=preference.heldout_prompts[::8]))) == []


@pytest.mark.parametrize("name", PREFERENCES)
def test_feedback_in_words_never_seen_is_followed(subject: Subject, name: str) -> None:
    preference = load_preference(name)
    assert unmet(paraphrases(subject, replace(preference, probe_prompts=preference.probe_prompts[::6]))) == []


def test_answers_to_one_prompt_differ(subject: Subject) -> None:
    for name in PREFERENCES:
        preference = load_preference(name)
        assert unmet(diversity(subject, replace(preference, probe_prompts=preference.probe_prompts[::3]))) == []


def test_most_names_never_seen_are_taken_on(subject: Subject) -> None:
    assert unmet(unseen_names(subject)) == []


def test_at_least_eight_other_styles_are_followed(subject: Subject) -> None:
    assert unmet(styles(subject, STYLE_PROMPTS[::4])) == []


def test_all_knowledge_and_most_forms_of_the_suite_are_there_before_any_training(subject: Subject) -> None:
    items = General.from_suite().items
    assert unmet(capability(subject, items[:4] + items[4::3])) == []
