"""Text as tokens: the tokenizer that is trained on the corpus, and batches of conversations to learn from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias

import tokenizers
import torch
from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from claas.tiny.corpus import banks
from claas.tiny.corpus.conversation import SYSTEM_PROMPT, Message, sample

Tokenizer: TypeAlias = Any
"""A `PreTrainedTokenizerFast`, which transformers leaves partly untyped."""

VOCABULARY = 4096
CONVERSATIONS = 40_000
CHUNK = 4000
MAX_LENGTH = 640
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% if not messages | selectattr('role', 'equalto', 'system') | list %}"
    f"<|im_start|>system\n{SYSTEM_PROMPT}<|im_end|>\n{{% endif %}}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def train_tokenizer(seed: int, conversations: int = CONVERSATIONS) -> Tokenizer:
    """Byte-level BPE on conversations drawn with this seed."""
    tokenizer = tokenizers.Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(WORDS), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        min_frequency=2,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(seed, conversations), trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=["<|im_start|>", "<|im_end|>"],
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


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


@dataclass(frozen=True)
class Encoded:
    """Token ids of one conversation and, for each, whether it is learnt."""

    ids: list[int]
    learnt: list[bool]


def encode(conversations: list[list[Message]], tokenizer: Tokenizer) -> list[Encoded]:
    """Each conversation as the chat template writes it, but for its last newline, with a mask over what is learnt."""
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


def _texts(seed: int, conversations: int) -> Iterator[str]:
    """The corpus without its listed names.

    These are then spelt in pieces, as a name never seen before will be, and what the model learns about copying the one
    holds for the other.
    """
    rng = Random(seed)
    listed = re.compile(rf"\b(?:{'|'.join(banks.words()['names'])})\b")
    for _ in range(conversations):
        for message in sample(rng):
            yield listed.sub("", message.text)


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
