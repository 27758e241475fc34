"""The bytes that each token of a vocabulary stands for, read from how the tokenizer itself spells its tokens."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")
_SPACE = "▁"

Spelling: TypeAlias = Callable[[str], "bytes | None"]
"""From a token as the vocabulary spells it to its bytes; None for what it cannot spell."""


class _Vocabulary(Protocol):
    """What is used of a Hugging Face tokenizer."""

    added_tokens_decoder: Mapping[int, Any]

    def convert_ids_to_tokens(self, ids: int) -> str | None: ...


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
