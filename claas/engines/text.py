"""Converting between text and tokens: a model's chat format, stop strings, and the bytes of tokens."""

import json
import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from itertools import takewhile
from typing import Any, Protocol, TypeAlias, cast

from pydantic import JsonValue
from transformers import AutoTokenizer
from transformers.convert_slow_tokenizer import bytes_to_unicode

from claas.core.errors import BadRequest, InvalidInput
from claas.core.text import one_line
from claas.core.thinking import opens_thinking, thinking_tokens
from claas.engines.template import MARK, ChatTemplate, TemplatedTokenizer
from claas.engines.types import Message, Prompt, TokenIds, TokenLogprob, template_variables

_log = logging.getLogger(__name__)

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "▁"
_REMEMBERED_CHARACTERS = 4096
_OPENING_TOKENS = 32


class _Vocabulary(Protocol):
    """The part of a Hugging Face tokenizer that spells tokens."""

    added_tokens_decoder: Mapping[int, Any]

    def convert_ids_to_tokens(self, ids: int) -> str | None: ...


class _Tokenizer(_Vocabulary, TemplatedTokenizer, Protocol):
    """The part of a Hugging Face tokenizer that is used here; its own types are loose."""

    eos_token_id: int | None
    init_kwargs: Mapping[str, Any]

    def __len__(self) -> int: ...

    def get_vocab(self) -> Mapping[str, int]: ...

    def encode(self, text: str, *, add_special_tokens: bool) -> list[int]: ...


class ChatFormat:
    """The chat format of one model. `stop_ids` are the tokens that end an answer, `end_of_turn` the usual one.

    No token stands for more than `longest_token` bytes.
    """

    def __init__(
        self, tokenizer: _Tokenizer, template: ChatTemplate, stop_ids: frozenset[int], end_of_turn: int
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self.stop_ids = stop_ids
        self.end_of_turn = end_of_turn
        self._hidden = _hidden_tokens(tokenizer)
        self.token_text = lru_cache(maxsize=65536)(self._token_text)
        self.token_bytes = lru_cache(maxsize=65536)(TokenBytes(tokenizer).of)
        self.longest_token = max(len(token.encode()) for token in tokenizer.get_vocab())
        self._short_prompt_ids = lru_cache(maxsize=1024)(self._render)
        self._long_prompt_ids = lru_cache(maxsize=8)(self._render)

    @classmethod
    def load(cls, source: str, name: str, eos: int | Sequence[int] | None, today: date | None = None) -> "ChatFormat":
        """The tokenizer at `source`. `eos` is what the model's generation settings say ends an answer.

        `today` is the date that a chat template which asks for it is told for ever; None: the one it is now.
        Raises `InvalidInput` where there is no tokenizer, no chat template or no end-of-turn token.
        """
        tokenizer = _tokenizer(source, name)
        if not tokenizer.chat_template:
            raise InvalidInput(f"base model {name!r} has no chat template; use an instruction-tuned model")
        stops = {eos} if isinstance(eos, int) else set(eos or ())
        if tokenizer.eos_token_id is not None:
            stops.add(tokenizer.eos_token_id)
        template = ChatTemplate(tokenizer, today or datetime.now(UTC).date())
        end = _end_of_turn(tokenizer, template, stops)
        if end is None and not stops:
            raise InvalidInput(f"base model {name!r} names no end-of-turn token")
        if end is not None and end not in stops:
            closing = tokenizer.decode([end], skip_special_tokens=False)
            _log.warning("%s closes a turn with %s, which its settings do not name as an end: it is one", name, closing)
            stops.add(end)
        if end is None:
            end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else min(stops)
        return cls(tokenizer, template, frozenset(stops), end)

    @cached_property
    def opening(self) -> list[int]:
        """The tokens that begin every conversation whose first turn is the user's."""
        one, other = (self.prompt_ids(({"role": "user", "content": said},)) for said in ("hi", "What?"))
        return [token for token, _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))]

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that the answer to `messages` continues: remembered, as many are asked again."""
        turns = tuple(frozenset(message.items()) for message in messages)
        options = json.dumps(template_variables(messages), sort_keys=True)
        short = size_of(messages) + len(options) <= _REMEMBERED_CHARACTERS
        return list((self._short_prompt_ids if short else self._long_prompt_ids)(turns, options))

    def _render(self, turns: tuple[frozenset[tuple[str, str]], ...], options: str) -> list[int]:
        return self._template.ids([dict(turn) for turn in turns], json.loads(options))

    def ids_of(self, prompt: Prompt) -> list[int]:
        """The tokens of a conversation, or those given. Raises `BadRequest` where there are none to continue."""
        if not isinstance(prompt, TokenIds):
            return self.prompt_ids(prompt)
        if not prompt.ids:
            raise BadRequest("the prompt has no tokens, so there is nothing to continue")
        self.require_known(prompt.ids)
        return list(prompt.ids)

    def encode(self, prompt: Sequence[Message] | str, add_special_tokens: bool = True) -> TokenIds:
        """Tokenise a conversation with the chat template, or plain text as it is."""
        if isinstance(prompt, str):
            return TokenIds(tuple(self.text_ids(prompt, add_special_tokens)))
        ids = self.prompt_ids(prompt)
        return TokenIds(tuple(ids), opens_thinking(self.text(ids[-_OPENING_TOKENS:], special=True)))

    def decode(self, prompt: TokenIds) -> str:
        """The text of tokens, special ones included. Raises `InvalidInput` for an id outside the vocabulary."""
        self.require_known(prompt.ids)
        return self.text(prompt.ids, special=True)

    def text_ids(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """The tokens of plain text, after what the tokenizer puts in front of any text, or without."""
        return self._tokenizer.encode(text, add_special_tokens=add_special_tokens)

    def tokenizer_info(self) -> dict[str, JsonValue]:
        """The tokenizer's configuration, without local paths."""
        settings = {name: value for name, value in self._tokenizer.init_kwargs.items() if name not in _PLACES}
        told = cast(dict[str, JsonValue], _plain(settings))
        return {
            **{name: value for name, value in told.items() if value is not None},
            "tokenizer_class": type(self._tokenizer).__name__,
            "chat_template": cast(JsonValue, self._tokenizer.chat_template),
        }

    def require_known(self, token_ids: Sequence[int]) -> None:
        """Raise `InvalidInput` for an id outside the vocabulary."""
        for token in (min(token_ids, default=0), max(token_ids, default=0)):
            if not 0 <= token < len(self._tokenizer):
                raise InvalidInput(f"token id {token} is not in the vocabulary of {len(self._tokenizer)} tokens")

    def completion_ids(self, completion: str) -> list[int]:
        """The tokens of an answer, end-of-turn token included."""
        return [*self._tokenizer.encode(completion, add_special_tokens=False), self.end_of_turn]

    def text(self, token_ids: Sequence[int], *, special: bool = False) -> str:
        """What the tokens read as: without special ones but those that tell thinking from the answer, or with all."""
        if self._hidden is None or special:
            return self._tokenizer.decode(list(token_ids), skip_special_tokens=not special)
        shown = [token for token in token_ids if token not in self._hidden]
        return self._tokenizer.decode(shown, skip_special_tokens=False)

    def tokens(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Each token's own text; part of a character reads as U+FFFD."""
        return tuple(self.token_text(token) for token in token_ids)

    def scored(self, token_ids: Sequence[int], logprobs: Sequence[float]) -> tuple[TokenLogprob, ...]:
        """Tokens with their log probabilities and their own bytes."""
        return tuple(
            TokenLogprob(self.token_text(token), logprob, self.token_bytes(token))
            for token, logprob in zip(token_ids, logprobs, strict=True)
        )

    def _token_text(self, token: int) -> str:
        return self._tokenizer.decode([token], skip_special_tokens=False)


def _tokenizer(source: str, name: str) -> _Tokenizer:
    """The one at `source`. Where there is none, transformers has an error of its own, or one that knows no words."""
    try:
        tokenizer = cast(_Tokenizer, AutoTokenizer.from_pretrained(source, trust_remote_code=False))  # pyright: ignore[reportUnknownMemberType]  # untyped there
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise InvalidInput(f"base model {name!r} has no tokenizer that can be loaded: {one_line(error)}") from error
    if not tokenizer.encode("Hello", add_special_tokens=False):
        raise InvalidInput(f"base model {name!r} has no tokenizer: put tokenizer.json beside its config.json")
    return tokenizer


_PLACES = ("vocab_file", "merges_file", "tokenizer_file", "name_or_path", "is_local", "local_files_only")


def _plain(setting: object) -> JsonValue:
    """A setting as JSON has it, a special token as its text; None for what JSON, or some reader of it, cannot have."""
    if isinstance(setting, dict):
        return {str(name): _plain(value) for name, value in cast(dict[object, object], setting).items()}
    if isinstance(setting, list | tuple):
        return [_plain(value) for value in cast(Sequence[object], setting)]
    if isinstance(setting, int) and not -(2**63) <= setting < 2**63:
        return None
    if isinstance(setting, str | int) or (isinstance(setting, float) and math.isfinite(setting)):
        return setting
    return cast("str | None", getattr(setting, "content", None))


_CHARACTERS_PER_TURN = 16


def size_of(prompt: Prompt | str) -> int:
    """The work of tokenising a prompt, in characters or tokens; even an empty turn counts."""
    if isinstance(prompt, TokenIds):
        return len(prompt.ids)
    if isinstance(prompt, str):
        return len(prompt)
    return sum(len(message["content"]) + _CHARACTERS_PER_TURN for message in prompt)


def _hidden_tokens(tokenizer: _Vocabulary) -> frozenset[int] | None:
    """The special tokens that no text shows, where some are shown: the marks of thinking. None where none are."""
    special = {token: str(added) for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    marks = thinking_tokens(special.values())
    return frozenset(token for token, text in special.items() if text not in marks) if marks else None


def _end_of_turn(tokenizer: _Tokenizer, template: ChatTemplate, stops: set[int]) -> int | None:
    """The token with which the chat template closes an assistant's turn, else the last that may; None without any."""
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": MARK}]
    ids = template.ids(turns, add_generation_prompt=False)
    start = max(
        (at for at in range(len(ids)) if MARK in tokenizer.decode(ids[at:], skip_special_tokens=False)), default=0
    )
    added = {token: str(each) for token, each in tokenizer.added_tokens_decoder.items()}
    marks = thinking_tokens(added.values())
    closing = [token for token in ids[start:] if token in stops or (token in added and added[token] not in marks)]
    return next(iter(closing), next((token for token in reversed(ids) if token in stops), None))


def cut(text: str, stops: Sequence[str]) -> str:
    """The text before the first of the stop strings."""
    positions = [position for stop in stops if (position := text.find(stop)) >= 0]
    return text[: min(positions)] if positions else text


class TokenBytes:
    """Bytes by token id; None where the vocabulary's spelling is unknown.

    Two spellings are known: byte-level ones, which have a character for each byte (GPT-2, Qwen, Llama 3), and
    sentencepiece ones, which write a space as '▁' and spare bytes as `<0xE2>` (Llama 2, Mistral, Gemma).
    """

    def __init__(self, tokenizer: _Vocabulary) -> None:
        self._tokenizer = tokenizer
        self._added = {token: str(added) for token, added in tokenizer.added_tokens_decoder.items()}
        self._spelling = _spelling_of(tokenizer)

    def of(self, token: int) -> bytes | None:
        """The bytes of one token."""
        if token in self._added:
            return self._added[token].encode()
        spelled = self._tokenizer.convert_ids_to_tokens(token)
        return None if spelled is None or self._spelling is None else self._spelling(spelled)


Spelling: TypeAlias = Callable[[str], "bytes | None"]
"""Converts a token as the vocabulary spells it into its bytes; None if it cannot."""


def _spelling_of(tokenizer: object) -> Spelling | None:
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    kinds = {
        (part["type"], str(part.get("content", ""))) for part in _decoders(json.loads(backend.to_str())["decoder"])
    }
    if kinds == {("ByteLevel", "")}:
        return _byte_level
    spaced = ("Replace", " ") in kinds or ("Metaspace", "") in kinds
    return _sentencepiece if spaced else None


def _decoders(decoder: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The steps of a `tokenizers` decoder, which may be a sequence of them."""
    if decoder is None:
        return
    if decoder["type"] == "Sequence":
        for part in decoder["decoders"]:
            yield from _decoders(part)
    else:
        yield decoder


_BYTES: Mapping[str, int] = {character: byte for byte, character in bytes_to_unicode().items()}


def _byte_level(spelled: str) -> bytes | None:
    try:
        return bytes(_BYTES[character] for character in spelled)
    except KeyError:
        return None


def _sentencepiece(spelled: str) -> bytes:
    if byte := _BYTE_TOKEN.fullmatch(spelled):
        return bytes([int(byte[1], 16)])
    return spelled.replace(_SPACE, " ").encode()
