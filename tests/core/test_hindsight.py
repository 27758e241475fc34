import pytest

from claas.core.errors import InvalidInput
from claas.core.hindsight import with_hindsight

HEADER = (
    "\n\n=== HINDSIGHT CONTEXT ===\n"
    "[The following is a future user message. Use this to guide your answer to the user prompt.]\n"
)


def test_the_feedback_follows_the_prompt_word_for_word() -> None:
    messages = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Hi {you}"}]
    assert with_hindsight(messages, "Shorter, {please}.", 1) == [
        {"role": "system", "content": "Help."},
        {"role": "user", "content": f"Hi {{you}}{HEADER}Shorter, {{please}}."},
    ]


def test_repeated_feedback_is_one_line_each() -> None:
    [turn] = with_hindsight([{"role": "user", "content": "Hi"}], "Shorter.", 3)
    assert turn["content"] == f"Hi{HEADER}Shorter.\nShorter.\nShorter."


def test_only_the_last_user_turn_changes() -> None:
    messages = [
        {"role": "user", "content": "One"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two"},
        {"role": "assistant", "content": "2"},
    ]
    turns = with_hindsight(messages, "Longer.", 1)
    assert [turn["content"] for turn in turns] == ["One", "1", f"Two{HEADER}Longer.", "2"]


def test_the_messages_given_stay_as_they_were() -> None:
    messages = [{"role": "user", "content": "Hi"}]
    with_hindsight(messages, "Shorter.", 1)
    assert messages == [{"role": "user", "content": "Hi"}]


def test_without_a_user_turn_there_is_nothing_to_append_to() -> None:
    with pytest.raises(InvalidInput, match="no user turn"):
        with_hindsight([{"role": "system", "content": "Help."}], "Shorter.", 1)
