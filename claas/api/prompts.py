"""From requests to engines: messages become a prompt that fits the window, and stop strings are checked."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pydantic import JsonValue

from claas.core.errors import BadRequest, InvalidInput, PromptTooLong
from claas.engines.base import Engine
from claas.engines.types import Conversation, require_window
from claas.wire.chat import ChatMessage
from claas.wire.tokens import room_for_prompt


def conversation(messages: Sequence[ChatMessage], template_kwargs: Mapping[str, JsonValue] | None) -> Conversation:
    """The turns that the client sent, and no others, as plain text; `developer` reads as `system`."""
    turns = (
        {"role": "system" if message.role == "developer" else message.role, "content": message.text}
        for message in messages
    )
    return Conversation(tuple(turns), template_kwargs or {})


def prompt_digest(token_ids: Sequence[int]) -> str:
    """sha256 (hex) of a prompt's tokens: another one shows that the chat template, or what it is told, has changed."""
    return hashlib.sha256(" ".join(map(str, token_ids)).encode()).hexdigest()


def last_user_text(messages: Sequence[Mapping[str, str]]) -> str:
    """The user's last turn; empty if there is none."""
    return next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")


@dataclass(frozen=True)
class FittedPrompt:
    """A conversation that fits the window, and how many tokens of its prompt were dropped to make it fit.

    `opens_thinking`: the answer begins inside a block of thinking, which the chat template has opened.
    """

    messages: Conversation
    opens_thinking: bool
    dropped_tokens: int = 0


async def uncut(engine: Engine, messages: Conversation) -> FittedPrompt:
    """`messages` unchanged. Raises `PromptTooLong`, before anything is sampled, if they leave no room."""
    require_size(engine, sum(len(turn["content"]) for turn in messages))
    encoded = await engine.encode(messages)
    require_window(len(encoded.ids), 1, window=engine.window, base_model=engine.base_model)
    return FittedPrompt(messages, encoded.opens_thinking)


def require_size(engine: Engine, characters: int) -> None:
    """Raise `PromptTooLong` for a text that need not be tokenised to know that it does not fit."""
    if characters > engine.longest_prompt:
        raise PromptTooLong(
            f"the prompt has {characters} characters, which are more tokens than the window of {engine.window} tokens "
            f"of {engine.base_model} has; send a shorter one"
        )


GAP = "\n[...]\n"
"""Replaces the part of a turn that was cut."""

_FEWEST_CHARACTERS = 64


async def cut_to_fit(engine: Engine, messages: Conversation, max_tokens: int) -> FittedPrompt:
    """`messages` with as little dropped as leaves room for an answer of `max_tokens` and for feedback on it.

    Of a turn that is cut, beginning and end stay; turns shorter than the cut stay whole. Raises `PromptTooLong` where
    that is not enough.
    """
    window = engine.window
    budget = room_for_prompt(window, max_tokens)
    encoded = await engine.encode(messages)
    length = len(encoded.ids)
    if length <= budget:
        return FittedPrompt(messages, encoded.opens_thinking)
    if await _length(engine, _cut(messages, _FEWEST_CHARACTERS)) > budget:
        raise PromptTooLong(
            f"the prompt has {length} tokens and cannot be cut to {budget}, which leave room for an answer in "
            f"the window of {window} tokens: it has {len(messages)} turns; send fewer"
        )
    fits, beyond = _FEWEST_CHARACTERS, 2 * _FEWEST_CHARACTERS
    while await _length(engine, _cut(messages, beyond)) <= budget:
        fits, beyond = beyond, 2 * beyond
    while beyond - fits > 1:
        between = (fits + beyond) // 2
        if await _length(engine, _cut(messages, between)) <= budget:
            fits = between
        else:
            beyond = between
    cut = _cut(messages, fits)
    return FittedPrompt(cut, encoded.opens_thinking, length - await _length(engine, cut))


def _cut(messages: Conversation, characters: int) -> Conversation:
    """The turns, each cut to at most `characters`, half from its beginning and half from its end."""
    turns = tuple({**turn, "content": _middle_out(turn["content"], characters)} for turn in messages)
    return replace(messages, turns=turns)


def _middle_out(text: str, characters: int) -> str:
    if len(text) <= characters + len(GAP):
        return text
    head = characters // 2
    return text[:head] + GAP + text[len(text) - (characters - head) :]


async def _length(engine: Engine, messages: Conversation) -> int:
    return len((await engine.encode(messages)).ids)


_MOST_STOPS = 64
_LONGEST_STOP = 1000


def stop_strings(stop: str | list[str] | None) -> tuple[str, ...]:
    """The stop strings of a request; `InvalidInput` if one is empty or too long."""
    strings = (stop,) if isinstance(stop, str) else tuple(stop or ())
    if len(strings) > _MOST_STOPS:
        raise InvalidInput(f"stop must hold at most {_MOST_STOPS} strings, got {len(strings)}")
    if (longest := max(map(len, strings), default=0)) > _LONGEST_STOP:
        raise InvalidInput(f"a stop string must have at most {_LONGEST_STOP} characters, got one of {longest}")
    if "" in strings:
        raise InvalidInput("stop must not hold an empty string, got ''")
    return strings


_MOST_LISTED = 2**18


def require_listable(answers: int, logprobs: int) -> None:
    """Raise `BadRequest` where a reply of several answers might list more log probabilities than can be sent at once.

    What a single answer may take is always allowed.
    """
    if answers > 1 and logprobs > _MOST_LISTED:
        raise BadRequest(
            f"this may take {logprobs} log probabilities, and one reply has at most {_MOST_LISTED}; ask for fewer "
            "answers at once, shorter ones, or fewer alternatives"
        )
