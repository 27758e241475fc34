"""What a user wants, how to tell whether an answer shows it, and the prompts that ask."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from itertools import chain, zip_longest
from typing import Protocol, Self, runtime_checkable


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


class Form(StrEnum):
    """What a prompt, or a preference, can ask of an answer's form: how long it is, or how many of something it has; its
    layout; its emojis; words to use or to avoid; the very wording."""

    LENGTH = "length"
    LAYOUT = "layout"
    EMOJI = "emoji"
    WORDS = "words"
    WORDING = "wording"


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
class Opposite:
    """What a user says who wants the contrary from now on, and a verifier of whether an answer shows that."""

    feedback_string: str
    verifier: Verifier


@dataclass(frozen=True)
class Probe:
    """A prompt that measures, by the name of its item, and who judges the answer.

    `opposite` judges it, too, where the user changes their mind.
    """

    item: str
    prompt: str
    verifier: Verifier
    acceptable: Collection[NonAnswer] = ()
    opposite: Verifier | None = None


@dataclass(frozen=True)
class Preference:
    """One preference. Feedback is given on answers to `probe_prompts`; `heldout_prompts` are never trained on.

    Without `heldout_prompts` nothing shows whether what was learnt holds for prompts that were not trained on.
    `acceptable`: non-answers that show this preference after all, and that its verifier may therefore accept.
    `opposite` is for the protocol in which the user changes their mind. `touches` are the forms that it is about: where
    a prompt asks for one of them, keeping to the preference is no lost ability, but applying it where it is not wanted.
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
    opposite: Opposite | None = field(default=None, repr=False)
    touches: tuple[Form, ...] = field(default=(), repr=False)

    def probes(self) -> list[Probe]:
        """The probe prompts."""
        return self._asked("probe", self.probe_prompts)

    def held_out(self) -> list[Probe]:
        """The held-out prompts."""
        return self._asked("heldout", self.heldout_prompts)

    def beyond_scope(self) -> list[Probe]:
        """The prompts of users who ask for the opposite of the preference, and should get it."""
        asked = self.out_of_scope
        return [] if asked is None else _numbered("out_of_scope", asked.prompts, asked.verifier)

    def _asked(self, kind: str, prompts: Sequence[str]) -> list[Probe]:
        return _numbered(kind, prompts, self.verifier, self.acceptable)


def _numbered(
    kind: str,
    prompts: Sequence[str],
    verifier: Verifier,
    acceptable: Collection[NonAnswer] = (),
    opposite: Verifier | None = None,
) -> list[Probe]:
    return [Probe(f"{kind}/{i}", prompt, verifier, acceptable, opposite) for i, prompt in enumerate(prompts)]


@dataclass(frozen=True)
class Flipped(Preference):
    """A preference whose user changes their mind: from the step `flips_at` on they ask for `turned_to`."""

    flips_at: int = 0
    turned_to: Opposite | None = None

    @classmethod
    def of(cls, preference: Preference, flips_at: int) -> Self:
        """The preference, turned into its opposite at a step."""
        same = {each.name: getattr(preference, each.name) for each in fields(preference)}
        return cls(**same, flips_at=flips_at, turned_to=preference.opposite)

    def _asked(self, kind: str, prompts: Sequence[str]) -> list[Probe]:
        opposite = None if self.turned_to is None else self.turned_to.verifier
        return _numbered(kind, prompts, self.verifier, self.acceptable, opposite)


@dataclass(frozen=True)
class Mixture(Preference):
    """Several preferences that one adapter is to have at the same time: each prompt is judged by its own of `parts`.

    Its items are called `heldout/<preference>/<i>`. It has no verifier of its own.
    """

    parts: tuple[Preference, ...] = ()

    @classmethod
    def of(cls, preferences: Sequence[Preference], name: str = "mixed") -> Self:
        """Those preferences together."""
        return cls(
            name=name,
            feedback_string="",
            verifier=_by_its_own,
            logprob_pairs=tuple(chain.from_iterable(each.logprob_pairs for each in preferences)),
            probe_prompts=_in_turn([each.probe_prompts for each in preferences]),
            heldout_prompts=_in_turn([each.heldout_prompts for each in preferences]),
            touches=tuple(dict.fromkeys(form for each in preferences for form in each.touches)),
            parts=tuple(preferences),
        )

    def probes(self) -> list[Probe]:
        """The probe prompts of all parts."""
        return [_of_part(part, asked) for part in self.parts for asked in part.probes()]

    def held_out(self) -> list[Probe]:
        """The held-out prompts of all parts."""
        return [_of_part(part, asked) for part in self.parts for asked in part.held_out()]

    def beyond_scope(self) -> list[Probe]:
        """Those of all parts."""
        return [_of_part(part, asked) for part in self.parts for asked in part.beyond_scope()]


def _in_turn(prompts: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """One of each, then the next of each: any beginning has some of all."""
    return tuple(each for row in zip_longest(*prompts) for each in row if each is not None)


def _of_part(part: Preference, asked: Probe) -> Probe:
    kind, _, number = asked.item.partition("/")
    return Probe(f"{kind}/{part.name}/{number}", asked.prompt, asked.verifier, asked.acceptable)


def _by_its_own(response: str) -> VerifierResult:
    raise NotImplementedError("an answer is judged by the preference that its prompt belongs to")
