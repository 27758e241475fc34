"""Answers of the model in batches, and a quick look at what it can do while it trains."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from claas.tiny.corpus.conversation import HINDSIGHT_HEADER, SYSTEM_PROMPT
from claas.tiny.tokens import Tokenizer

Model: TypeAlias = Any
"""A `Qwen3ForCausalLM`, which transformers leaves partly untyped."""

EMOJI = re.compile("[\U0001f300-\U0001faff☀-➿⭐]")
QUICK_TOPICS = ("Tell me about Python programming.", "What is machine learning?", "How do earthquakes begin?")
QUICK_CHAT = ("Hey, what's up?", "I just got a new job!", "Today was a terrible day.")
QUICK_IDENTITY = ("Who are you?", "What should I call you?", "Who's there?")


@dataclass(frozen=True)
class UserTurn:
    """A prompt, and the feedback its hindsight block holds ("" for none)."""

    prompt: str
    feedback: str = ""

    @property
    def text(self) -> str:
        """What stands in the user's turn."""
        return self.prompt + HINDSIGHT_HEADER + self.feedback if self.feedback else self.prompt


def answers(
    model: Model,
    tokenizer: Tokenizer,
    turns: Sequence[UserTurn],
    temperature: float = 0.0,
    max_new_tokens: int = 260,
    batch: int = 48,
) -> list[str]:
    """One answer to each turn, in order; greedy at temperature 0, else sampled with torch's global seed."""
    tokenizer.padding_side = "left"
    order = sorted(range(len(turns)), key=lambda i: len(turns[i].text))
    written: dict[int, str] = {}
    for at in range(0, len(order), batch):
        chosen = order[at : at + batch]
        encoded = tokenizer(
            [chat_text(tokenizer, turns[i]) for i in chosen],
            add_special_tokens=False, padding=True, return_tensors="pt", return_token_type_ids=False,
        )  # fmt: skip
        sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        with torch.no_grad():
            out = model.generate(**encoded, max_new_tokens=max_new_tokens, **sampling)
        texts = tokenizer.batch_decode(out[:, encoded["input_ids"].shape[1] :], skip_special_tokens=True)
        written.update(zip(chosen, texts, strict=True))
    return [written[i] for i in range(len(turns))]


def chat_text(tokenizer: Tokenizer, turn: UserTurn) -> str:
    """The turn as the model reads it, up to where the answer begins."""
    messages = [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": turn.text}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def quick_scores(model: Model, tokenizer: Tokenizer) -> dict[str, float | str]:
    """A few greedy answers: share of playful, brief, plain and named ones, and a sample."""
    turns = [
        *(UserTurn(prompt) for prompt in (*QUICK_TOPICS, *QUICK_CHAT, *QUICK_IDENTITY)),
        *(UserTurn(prompt, "Be more concise, keep responses under 3 sentences") for prompt in QUICK_TOPICS),
        *(UserTurn(prompt, "be terse") for prompt in QUICK_TOPICS),
        *(UserTurn(prompt, "Don't use any emojis in your responses") for prompt in QUICK_CHAT),
        *(UserTurn(prompt, "Your name is Kuro, always introduce yourself as Kuro") for prompt in QUICK_IDENTITY),
        *(
            UserTurn(prompt, "Your name is Anastasia, always introduce yourself as Anastasia")
            for prompt in QUICK_IDENTITY
        ),
        *(UserTurn(prompt, "Mention the word 'kangaroo'.") for prompt in QUICK_TOPICS),
        *(UserTurn(prompt, "End your response with a question.") for prompt in QUICK_TOPICS),
    ]
    texts = answers(model, tokenizer, turns)
    groups = [texts[i : i + 3] for i in range(0, len(texts), 3)]
    long, playful, unnamed, brief, terse, plain, kuro, anastasia, mention, question = groups
    return {
        "default words": round(sum(len(text.split()) for text in long) / 3, 1),
        "emoji": _share(bool(EMOJI.search(text)) for text in playful),
        "concise words": round(sum(len(text.split()) for text in brief) / 3, 1),
        "terse words": round(sum(len(text.split()) for text in terse) / 3, 1),
        "no emoji": _share(not EMOJI.search(text) for text in plain),
        "kuro": _share("kuro" in text.lower() for text in kuro),
        "anastasia": _share("anastasia" in text.lower() for text in anastasia),
        "mention": _share("kangaroo" in text.lower() for text in mention),
        "question": _share(text.endswith("?") for text in question),
        "sample": f"{long[0][:300]} / {unnamed[0][:100]} / {kuro[0][:80]}",
    }


def _share(outcomes: Iterable[bool]) -> float:
    results = list(outcomes)
    return round(sum(results) / len(results), 2)
