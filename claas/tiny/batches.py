"""Token batches: conversations of like length together, padded, with a mask over what is learnt."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from claas.tiny.corpus.conversation import Message, sample
from claas.tiny.untyped import Tokenizer

CHUNK = 4000
MAX_LENGTH = 640


@dataclass(frozen=True)
class Encoded:
    """Token ids of one conversation and, for each, whether it is learnt."""

    ids: list[int]
    learnt: list[bool]


def encode(conversations: list[list[Message]], tokenizer: Tokenizer) -> list[Encoded]:
    """In the chat template's form, split where learning starts and stops; the last newline is dropped."""
    pieces = [_pieces(messages) for messages in conversations]
    texts = [text for conversation in pieces for text, _ in conversation]
    token_ids = iter(tokenizer(texts, add_special_tokens=False)["input_ids"])
    encoded: list[Encoded] = []
    for conversation in pieces:
        ids: list[int] = []
        learnt: list[bool] = []
        for _, is_learnt in conversation:
            piece = next(token_ids)
            ids += piece
            learnt += [is_learnt] * len(piece)
        encoded.append(Encoded(ids[:-1], learnt[:-1]))
    return encoded


def batches(seed: str, tokenizer: Tokenizer, max_tokens: int, chunk: int = CHUNK) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless (ids, learnt), each (B, T) with B * T at most `max_tokens`; lengths are matched within `chunk`."""
    rng = Random(seed)
    while True:
        items = encode([sample(rng) for _ in range(chunk)], tokenizer)
        items = [item for item in items if len(item.ids) <= MAX_LENGTH]
        rng.shuffle(items)
        items.sort(key=lambda item: len(item.ids) // 4)
        groups = _grouped(items, max_tokens)
        rng.shuffle(groups)
        yield from (_padded(group) for group in groups)


def _pieces(messages: list[Message]) -> list[tuple[str, bool]]:
    pieces: list[tuple[str, bool]] = []
    for message in messages:
        opening, closing = f"<|im_start|>{message.role}\n", "<|im_end|>"
        if message.learnt_from is None:
            pieces.append((opening + message.text + closing + "\n", False))
        else:
            given = message.text[: message.learnt_from]
            pieces += [(opening, False), *([(given, False)] if given else [])]
            pieces += [(message.text[message.learnt_from :] + closing, True), ("\n", False)]
    return pieces


def _grouped(items: list[Encoded], max_tokens: int) -> list[list[Encoded]]:
    groups: list[list[Encoded]] = [[]]
    for item in items:
        longest = max([len(item.ids), *(len(other.ids) for other in groups[-1])])
        if groups[-1] and longest * (len(groups[-1]) + 1) > max_tokens:
            groups.append([])
        groups[-1].append(item)
    return groups


def _padded(items: list[Encoded]) -> tuple[Tensor, Tensor]:
    length = max(len(item.ids) for item in items)
    ids = torch.zeros(len(items), length, dtype=torch.long)
    learnt = torch.zeros(len(items), length, dtype=torch.bool)
    for row, item in enumerate(items):
        ids[row, : len(item.ids)] = torch.tensor(item.ids)
        learnt[row, : len(item.learnt)] = torch.tensor(item.learnt)
    return ids, learnt
