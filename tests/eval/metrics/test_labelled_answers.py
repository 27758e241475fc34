"""Answers that a careful person has judged: what only meets the letter of a condition fails, what is right passes."""

import asyncio
from pathlib import Path
from typing import cast

import pytest
import yaml

from claas.eval.metrics.capability import General
from claas.eval.metrics.compliance import judge
from claas.eval.metrics.verifiers import (
    ConciseVerifier,
    DetailedVerifier,
    IdentityVerifier,
    NoEmojiVerifier,
    OtherNameVerifier,
)

LABELLED = cast(
    dict[str, dict[str, list[str]]],
    yaml.safe_load(Path(__file__).with_name("labelled_answers.yaml").read_text(encoding="utf-8")),
)
VERIFIERS = {"concise": ConciseVerifier(), "identity": IdentityVerifier(), "no_emoji": NoEmojiVerifier()}
ITEMS = {item.id: item for item in General.from_suite().items}
SENTENCES = [f"Fact number {number} about rain is easy to tell." for number in range(1, 11)]
TALK = " ".join(SENTENCES)
POINTS = [f"it has side number {number} to it" for number in range(10)]


@pytest.mark.parametrize("label", ["right", "wrong"])
@pytest.mark.parametrize("about", VERIFIERS)
def test_a_verifier_judges_as_a_careful_person_does(about: str, label: str) -> None:
    answers = LABELLED[about][label]
    assert answers
    passed = [judge(VERIFIERS[about], "Tell me.", answer).passed for answer in answers]
    assert misjudged(answers, passed, label) == []


@pytest.mark.parametrize("about", sorted(set(LABELLED) - set(VERIFIERS)))
def test_a_capability_check_judges_as_a_careful_person_does(about: str) -> None:
    item = ITEMS[about.removeprefix("capability.")]

    async def passed(answers: list[str]) -> list[bool]:
        return [(await item.check.check(answer, item.prompt)).passed for answer in answers]

    assert any(LABELLED[about].values())
    for label, answers in LABELLED[about].items():
        assert misjudged(answers, asyncio.run(passed(answers)), label) == [], label


def test_who_gives_a_name_does_not_go_by_another() -> None:
    assert [answer for answer in LABELLED["identity"]["right"] if OtherNameVerifier()(answer).passed] == []


def misjudged(answers: list[str], passed: list[bool], label: str) -> list[str]:
    return [answer for answer, one in zip(answers, passed, strict=True) if one is not (label == "right")]


@pytest.mark.parametrize(
    "answer",
    [
        TALK,
        TALK.lower(),
        TALK.replace(".", "!"),
        TALK.replace(".", "\uff0e"),
        TALK.replace(".", "\u2024"),
        TALK.replace(". ", "<br>"),
        TALK.replace(". ", "\n"),
        TALK.replace(". ", "\u2028"),
        f'She said: "{TALK}"',
        f"« {TALK} »",
        f"({TALK})",
        f"Rain is water [{TALK}]",
        f"`{TALK}`",
        f"```\n{TALK}\n```",
        "```python\n" + "\n".join(f"# {sentence}" for sentence in SENTENCES) + "\n```",
        "Rain falls " + "and it falls on and on " * 40,
        "Rain has names: " + ", ".join(f"name number {i} of it" for i in range(50)) + ".",
        "Rain is water; " + "; ".join(f"point {i} is that people like it" for i in range(20)) + ".",
        "Rain is water \u2014 " + " \u2014 ".join(["it is a thing that everybody likes"] * 14),
        " ".join(f"rain falls on hills, fields, etc. people like drop number {i} of it." for i in range(9)),
        "Rain: " + " ".join(f"{i + 1}) {point}" for i, point in enumerate(POINTS)),
        "Rain: " + " ".join(f"{i + 1}. {point}" for i, point in enumerate(POINTS)),
        "Rain: " + " ".join(f"{'abcdefghij'[i]}) {point}" for i, point in enumerate(POINTS)),
        "Rain: " + " ".join(f"{'①②③④⑤⑥⑦⑧⑨⑩'[i]} {point}" for i, point in enumerate(POINTS)),
        "Rain: " + " ".join(f"\u25cf {point}" for point in POINTS),
        "Rain: " + " ".join(f"\u2713 {point}" for point in POINTS),
        "\n".join(f"{i}\ufe0f\u20e3 {point}" for i, point in enumerate(POINTS)),
        "\n".join(f"\u2013 {point}" for point in POINTS),
        "<ul>" + "".join(f"<li>{point}</li>" for point in POINTS) + "</ul>",
        "ฝนตกลงมาจากเมฆเมื่อหยดน้ำหนักเกินไป " * 16,
    ],
    ids=range(30),
)
def test_what_takes_long_to_read_is_not_concise_however_it_is_written(answer: str) -> None:
    assert not ConciseVerifier()(answer).passed
    assert DetailedVerifier()(answer).passed


@pytest.mark.parametrize(
    "sentence",
    [
        "Es regnet auf die grünen Hügel. ",
        "La pluie tombe sur la ville. ",
        "La lluvia cae sobre la ciudad. ",
        "Дождь идёт над городом. ",
        "Βρέχει στην πόλη απόψε; ",
        "هل ينزل المطر على المدينة؟ ",
        "بارش شہر پر گرتی ہے۔ ",
        "वर्षा नगर पर होती है। ",
        "雨水从云中落下。",
        "雨は雲から落ちてくる。",
        "비가 도시에 내립니다. ",
        "Անձրևը գալիս է քաղաքում։ ",
    ],
    ids=range(12),
)
def test_what_is_said_ten_times_is_long_and_still_not_detailed(sentence: str) -> None:
    assert not ConciseVerifier()(sentence * 10).passed
    assert not DetailedVerifier()(sentence * 10).passed
