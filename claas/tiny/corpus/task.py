"""A task: one prompt a user may send, and how to write sentences that answer it."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from claas.tiny.corpus.banks import Emoji

Writer = Callable[[Random, int, str], list[str]]
"""(rng, how many sentences, the assistant's name or "") -> sentences. A task may have fewer to give."""


@dataclass(frozen=True)
class Task:
    """One prompt of a known kind and its writer."""

    kind: str
    prompt: str
    write: Writer
    lengths: tuple[int, ...] = (1,)
    """How many sentences an answer has when nobody asked for any length; one is drawn."""
    emoji: Emoji = ()
    """What a playful answer is decorated with; empty for a sober one."""
    fixed: bool = False
    """The length and the layout belong to the task (code, lists, quizzes): styles only add around it."""


def scuffed(prompt: str, rng: Random, share: float = 0.1) -> str:
    """People type in a hurry: a share of prompts loses its punctuation or its capitals."""
    draw = rng.random() / share
    if draw < 0.6:
        return prompt.rstrip(".?!")
    return prompt.lower() if draw < 1.0 else prompt


def capitalized(text: str) -> str:
    """The text with its first letter in upper case."""
    return text[:1].upper() + text[1:]
