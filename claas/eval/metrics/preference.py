"""What a user wants, how to tell whether an answer shows it, and the prompts that ask."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class VerifierResult:
    """`score` in [0, 1]; `passed` is the strict reading (the preference holds); `metadata` says what was counted."""

    score: float
    passed: bool
    metadata: Mapping[str, float | str | bool] = field(default_factory=dict[str, float | str | bool])


class Verifier(Protocol):
    """Any callable of a response. It sees the visible text: thinking has been removed."""

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        ...


@runtime_checkable
class KnowsBadAnswers(Protocol):
    """A verifier that names answers which meet its condition in a degenerate way; the audit has it score them."""

    def known_bad(self) -> Mapping[str, str]:
        """Answers that must score 0, by what is wrong with them."""
        ...


class NonAnswer(StrEnum):
    """What answers nothing: no text, a full stop, the prompt said back, one word over and over."""

    EMPTY = "empty"
    DOT = "dot"
    ECHO = "echo"
    REPEATED = "repeated"


@dataclass(frozen=True)
class LogprobPair:
    """An answer with the preference and one without, to the same conversation.

    `told_apart`: the verifier must score the positive response higher. False where they differ in something that it
    is not meant to see, such as tone.
    """

    prompt_messages: tuple[Mapping[str, str], ...]
    positive_response: str
    negative_response: str
    told_apart: bool = True


@dataclass(frozen=True)
class OutOfScope:
    """Prompts whose user asks for the opposite of the preference, and a verifier of whether that user was served."""

    prompts: tuple[str, ...]
    verifier: Verifier


@dataclass(frozen=True)
class Preference:
    """One preference. Feedback is given on answers to `probe_prompts`; `heldout_prompts` are never trained on.

    Without `heldout_prompts` nothing shows whether what was learnt holds for prompts that were not trained on.
    `acceptable`: non-answers that show this preference after all, and that its verifier may therefore accept.
    """

    name: str
    feedback_string: str
    verifier: Verifier
    logprob_pairs: tuple[LogprobPair, ...]
    probe_prompts: tuple[str, ...]
    heldout_prompts: tuple[str, ...] = ()
    feedback_paraphrases: tuple[str, ...] = ()
    out_of_scope: OutOfScope | None = None
    acceptable: tuple[NonAnswer, ...] = ()
