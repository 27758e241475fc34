"""What a user wants, how to tell whether an answer shows it, and the prompts that ask."""

from collections.abc import Mapping
from dataclasses import dataclass

from claas.eval.verifier import Verifier


@dataclass(frozen=True)
class LogprobPair:
    """An answer with the preference and one without, to the same conversation."""

    prompt_messages: tuple[Mapping[str, str], ...]
    positive_response: str
    negative_response: str


@dataclass(frozen=True)
class Preference:
    """One preference. Feedback is given on answers to `probe_prompts`; `heldout_prompts` are never trained on."""

    name: str
    feedback_string: str
    verifier: Verifier
    logprob_pairs: tuple[LogprobPair, ...]
    probe_prompts: tuple[str, ...]
    heldout_prompts: tuple[str, ...]
    feedback_paraphrases: tuple[str, ...] = ()
