"""A judge that goes by a rule, behind the HTTP interface of an OpenAI endpoint."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.fakes.chat_endpoint import FakeEndpoint


def shorter(first: str, second: str) -> str:
    """Prefers the shorter answer."""
    return "A" if len(first) < len(second) else "B" if len(second) < len(first) else "tie"


def always_first(first: str, second: str) -> str:
    """Does not look."""
    return "A"


@dataclass
class RuleJudge(FakeEndpoint):
    """Rules by `rule`. With a chance of `noise` it says anything, and with `mute` nothing that is a verdict."""

    rule: Callable[[str, str], str] = shorter
    noise: float = 0.0
    mute: float = 0.0
    says: str = "Both answer."

    def said(self, body: dict[str, Any]) -> str:
        """The verdict, on a line of its own."""
        asked = body["messages"][0]["content"]
        chance = random.Random(f"{asked}{body['seed']}")
        verdict = self.rule(*answers_in(asked))
        if chance.random() < self.noise:
            verdict = chance.choice(["A", "B", "tie"])
        mute = chance.random() < self.mute
        return f"{self.says} I cannot say." if mute else f"{self.says}\n[[{verdict}]]"


def answers_in(asked: str) -> tuple[str, str]:
    """The two answers that a message quotes, turns joined."""
    mark = re.escape(re.findall(r"^(#\w{12}) the conversation with", asked, re.MULTILINE)[0])
    found = {
        name: re.findall(rf"^{mark} assistant {name} answers\n(.*?)\n{mark} ", asked, re.DOTALL | re.MULTILINE)
        for name in "AB"
    }
    return "\n".join(found["A"]), "\n".join(found["B"])
