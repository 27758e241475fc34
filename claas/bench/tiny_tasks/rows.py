"""What the tasks ask, from the facts and forms that the embedded model was trained on, and how answers are scored.

None of it is held out but the text: like the capability suite, they measure forgetting and not knowledge.
"""

from collections.abc import Iterator, Mapping, Sequence
from random import Random
from typing import Any, cast

import datasets  # pyright: ignore[reportMissingTypeStubs]  # typed in place

from claas.bench.loss.documents import SHIPPED, documents_of
from claas.eval.metrics.stated import number_in_words, states, states_number
from claas.eval.metrics.text import numbered_items, sentences
from claas.tiny.corpus import banks
from claas.tiny.corpus.wording import fill

Rows = Mapping[str, Any]

_CHOICES = 4


def facts(**_: object) -> Rows:
    """Each fact of the quiz bank among three wrong ones of its kind."""
    return _split(_facts())


def forms(**_: object) -> Rows:
    """Three sentences about each topic, and lists of the topics that have benefits."""
    three = [
        {"question": f"Write exactly three sentences about {topic.name}.", "form": "sentences", "count": 3}
        for topic in banks.topics()
    ]
    listed = [
        {"question": f"List 5 benefits of {topic.name}. Use a numbered list.", "form": "numbered", "count": 5}
        for topic in banks.topics()
        if topic.benefits
    ]
    mixed = [row for pair in zip(listed, three, strict=False) for row in pair]
    return _split([*mixed, *three[len(listed) :]])


def text(**_: object) -> Rows:
    """Conversations that were drawn for `claas.bench.loss`, and never trained on."""
    return _split([{"text": document.text} for document in documents_of(SHIPPED)])


def states_the_fact(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the answer says what is right."""
    wanted, answer = str(doc["right"]), results[0]
    number = number_in_words(wanted)
    said = states(answer, wanted, doc["question"]) if number is None else states_number(answer, number, doc["question"])
    return {"acc": float(said)}


def has_the_form(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the answer has as many sentences, or at least as many numbered items, as it should."""
    if doc["form"] == "sentences":
        return {"acc": float(len(sentences(results[0])) == doc["count"])}
    return {"acc": float(len(numbered_items(results[0])) >= doc["count"])}


def _facts() -> list[dict[str, Any]]:
    """Of each kind in turn, so that the first few have some of all."""
    kinds = [list(_facts_of(kind, bank)) for kind, bank in banks.quizzes().items()]
    longest = max(map(len, kinds))
    return [kind[place] for place in range(longest) for kind in kinds if place < len(kind)]


def _facts_of(kind: str, bank: banks.Quiz) -> Iterator[dict[str, Any]]:
    chance = Random(kind)
    for number, (asked, right) in enumerate(bank.pairs.items()):
        others = sorted({other for other in bank.pairs.values() if other != right})
        choices = [right, *chance.sample(others, _CHOICES - 1)]
        chance.shuffle(choices)
        yield {
            "question": fill(bank.prompts[number % len(bank.prompts)], a=asked),
            "choices": [fill(bank.answers[0], a=asked, b=choice) for choice in choices],
            "answer": choices.index(right),
            "right": right,
        }


def _split(rows: list[dict[str, Any]]) -> Rows:
    return {"test": cast(Any, datasets.Dataset).from_list(rows)}
