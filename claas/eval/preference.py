"""What a user wants, how to tell whether an answer shows it, and the prompts that ask."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from claas.eval.verifier import Verifier


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

    `acceptable`: non-answers that show this preference after all, and that its verifier may therefore accept.
    """

    name: str
    feedback_string: str
    verifier: Verifier
    logprob_pairs: tuple[LogprobPair, ...]
    probe_prompts: tuple[str, ...]
    heldout_prompts: tuple[str, ...]
    feedback_paraphrases: tuple[str, ...] = ()
    out_of_scope: OutOfScope | None = None
    acceptable: tuple[NonAnswer, ...] = ()
