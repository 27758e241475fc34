import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import yaml

from claas.core.text import mentions
from claas.eval.metrics.text import count_sentences
from claas.eval.metrics.verifiers import ConciseVerifier, IdentityVerifier, NoEmojiVerifier
from claas.tiny.corpus import banks, styles, tasks
from claas.tiny.corpus.conversation import HINDSIGHT_HEADER, TASKS, Message, sample
from claas.tiny.corpus.styles import answer, soft_answer
from claas.tiny.corpus.tasks import Task

CONFIGS = Path(__file__).parents[2] / "configs"
PREFERENCES = ("concise", "no_emoji", "identity")
Draw = Callable[[Random], Task]


def conversations(count: int, seed: int = 7) -> list[list[Message]]:
    rng = Random(seed)
    return [sample(rng) for _ in range(count)]


def preference(name: str) -> dict[str, Any]:
    return yaml.safe_load((CONFIGS / "preference" / f"{name}.yaml").read_text(encoding="utf-8"))


def prompts_and_wishes(messages: list[Message]) -> tuple[list[str], list[str]]:
    """The prompts of a conversation, and the feedback in its hindsight blocks."""
    turns = [message.text.split(HINDSIGHT_HEADER) for message in messages if message.role == "user"]
    return [turn[0] for turn in turns], [turn[1] for turn in turns if len(turn) > 1]


def test_the_same_seed_gives_the_same_conversations() -> None:
    assert conversations(50, seed=3) == conversations(50, seed=3)
    assert conversations(50, seed=3) != conversations(50, seed=4)


def test_nothing_held_out_is_in_the_corpus() -> None:
    held = banks.held_out()
    names = re.compile("|".join(rf"\b{name}\b" for name in held.names), re.IGNORECASE)
    phrases = [phrase for phrase in held.feedback if len(phrase.split()) > 2 and "kuro" not in phrase]
    for messages in conversations(3000):
        prompts, wishes = prompts_and_wishes(messages)
        assert not held.prompts & {banks.normalize(prompt) for prompt in prompts}
        assert not any(banks.normalize(wish) in held.feedback for wish in wishes)
        for message in messages:
            assert "kuro" not in message.text.lower()
            assert not names.search(message.text)
            assert not any(f" {phrase} " in f" {banks.normalize(message.text)} " for phrase in phrases)


@pytest.mark.parametrize("name", PREFERENCES)
def test_what_a_preference_holds_out_the_corpus_holds_out(name: str) -> None:
    entry, held = preference(name), banks.held_out()
    assert {banks.normalize(prompt) for prompt in entry["heldout_prompts"]} <= held.prompts
    assert {banks.normalize(phrase) for phrase in entry["feedback_paraphrases"]} <= set(held.feedback)


@pytest.mark.parametrize("name", PREFERENCES)
def test_held_out_prompts_are_64_and_no_probes(name: str) -> None:
    entry = preference(name)
    held_out = {banks.normalize(prompt) for prompt in entry["heldout_prompts"]}
    assert len(held_out) == 64
    assert len(entry["probe_prompts"]) == 10
    assert not held_out & {banks.normalize(prompt) for prompt in entry["probe_prompts"]}


@pytest.mark.parametrize(("style", "name"), [("concise", "concise"), ("no_emoji", "no_emoji"), ("name", "identity")])
def test_the_shipped_feedback_is_in_the_corpus_as_the_model_card_says(style: str, name: str) -> None:
    wanted = preference(name)["feedback_string"].replace("Kuro", "<name>")
    assert wanted in banks.styles()[style].phrasings


def test_concise_wishes_have_more_than_a_thousand_wordings() -> None:
    rng = Random(0)
    assert len({styles.feedback({"concise": ""}, rng) for _ in range(3000)}) > 1000


@pytest.mark.parametrize("draw", [tasks.overview, tasks.small_talk, tasks.who_are_you])
def test_concise_answers_pass_and_long_defaults_fail(draw: Draw) -> None:
    rng, verifier = Random(1), ConciseVerifier()
    assert all(verifier(answer(draw(rng), {"concise": ""}, rng)).score == 1.0 for _ in range(200))
    if draw is tasks.overview:
        assert sum(verifier(soft_answer(draw(rng), rng)).score for _ in range(200)) / 200 < 0.15


def test_small_talk_is_playful_unless_asked_not_to_be() -> None:
    rng, plain = Random(2), NoEmojiVerifier()
    playful = [soft_answer(tasks.small_talk(rng), rng) for _ in range(200)]
    sober = [answer(tasks.small_talk(rng), {"no_emoji": ""}, rng) for _ in range(200)]
    assert sum(plain(text).score for text in playful) / 200 < 0.15
    assert all(plain(text).passed for text in sober)


def test_a_name_is_said_wherever_it_is_asked_for() -> None:
    rng, verifier = Random(3), IdentityVerifier("Zorba")
    for draw in TASKS:
        for _ in range(20):
            task = draw(rng)
            if not task.fixed:
                assert verifier(answer(task, {"name": "Zorba"}, rng)).passed


def test_a_small_share_of_introductions_names_somebody_unasked() -> None:
    rng = Random(4)
    texts = [soft_answer(tasks.who_are_you(rng), rng) for _ in range(1500)]
    unnamed = re.compile(r"assistant|Assistant|AI model")
    named = [text for text in texts if not unnamed.search(text.split(". ")[0])]
    assert 0.01 < len(named) / len(texts) < 0.12


@pytest.mark.parametrize(
    ("wish", "followed"),
    [
        ({"one": ""}, lambda text: count_sentences(text) == 1),
        ({"three": ""}, lambda text: count_sentences(text) == 3),
        ({"bullets": ""}, lambda text: all(line.startswith("- ") for line in text.splitlines())),
        ({"numbered": ""}, lambda text: re.match(r"1\. .+\n2\. ", text) is not None),
        ({"endq": ""}, lambda text: text.endswith("?")),
        ({"start": "Plum"}, lambda text: text.startswith("Plum")),
        ({"include": "plum"}, lambda text: mentions(text, "plum") > 0),
        ({"end": "So long!"}, lambda text: text.endswith("So long!")),
        ({"addr": "Zorba"}, lambda text: mentions(text, "Zorba") > 0),
        ({"noexcl": ""}, lambda text: "!" not in text),
        ({"lower": ""}, lambda text: text == text.lower()),
        ({"thank": ""}, lambda text: text.startswith("Thank")),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_styled_answer_shows_its_style(wish: dict[str, str], followed: Callable[[str], bool]) -> None:
    rng = Random(5)
    for _ in range(100):
        text = answer(tasks.overview(rng), wish, rng)
        assert followed(text), text


def test_recovery_learns_only_what_follows_an_unwanted_beginning() -> None:
    """Every partly learnt answer is cut between two sentences and comes after a hindsight block."""
    cut = [
        (messages[-2], messages[-1])
        for messages in conversations(3000)
        if messages[-1].learnt_from is not None and messages[-1].learnt_from > 0
    ]
    assert len(cut) > 150
    for request, reply in cut:
        assert HINDSIGHT_HEADER in request.text
        rest = reply.text[reply.learnt_from :]
        assert rest == "" or rest.startswith(" ")


def test_every_function_in_the_bank_runs() -> None:
    """Against the cases of the capability suite, where it has the function."""
    items = yaml.safe_load((CONFIGS / "capability" / "default.yaml").read_text(encoding="utf-8"))
    checks = {item["check"]["entry"]: item["check"] for item in items if item["check"]["kind"] == "python"}
    assert checks.keys() <= {snippet.name for snippet in banks.snippets()}
    for snippet in banks.snippets():
        body = "\n".join("    " + line for line in snippet.body.split("\n"))
        scope: dict[str, Any] = {}
        exec(f"def {snippet.name}({snippet.args}):\n{body}", scope)
        for arguments, returns in checks.get(snippet.name, {"cases": []})["cases"]:
            assert scope[snippet.name](*arguments) == returns
