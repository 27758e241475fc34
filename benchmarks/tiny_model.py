"""What the embedded model can do: every ability the harness relies on, measured. Exits 1 when one is missed.

`python benchmarks/tiny_model.py [--weights DIR] [--json FILE]`, about two minutes on one core.
"""

import argparse
import asyncio
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import mean

import torch
from transformers import AutoTokenizer, Qwen3ForCausalLM

from claas.core.text import mentions
from claas.eval.config.catalog import load_preference
from claas.eval.metrics.capability import CapabilityItem, General
from claas.eval.metrics.preference import Preference
from claas.eval.metrics.text import count_sentences, numbered_items
from claas.eval.metrics.verifiers import IdentityVerifier, NoEmojiVerifier
from claas.results.evidence import self_rouge_l
from claas.tiny import WEIGHTS_DIR
from claas.tiny.abilities import UserTurn, answers, chat_text

PREFERENCES = ("concise", "no_emoji", "identity")
TEMPERATURE = 0.7
UNSEEN_NAMES = (
    "Bob", "Sofia", "Anastasia", "Mistral", "Aurora", "Talia", "Miko", "Nimbus", "Kestrel", "Rintaro",
    "Zephyr", "Hannah", "Dmitri", "Priya", "Carlos", "Ophelia", "Bianca", "Ferdinand", "Marigold", "Kuro",
)  # fmt: skip
STYLE_PROMPTS = (
    "Tell me about Python programming.", "What is machine learning?", "Explain how the internet works.",
    "How does photosynthesis work?", "What causes earthquakes?", "Hey, what's up?", "I just got a new job!",
    "Good morning!", "Who are you?", "Introduce yourself.",
)  # fmt: skip
PIRATE = re.compile(r"\b(arr|ahoy|yo ho|matey|timbers)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Style:
    """Feedback, and whether an answer follows it."""

    name: str
    feedback: str
    followed: Callable[[str], bool]


STYLES = (
    Style("bullet list", "Please use bullet points.", lambda text: text.count("\n- ") >= 1),
    Style("numbered list", "Use a numbered list.", lambda text: len(numbered_items(text)) >= 2),
    Style("ends with a question", "Always end your reply with a question.", lambda text: text.rstrip().endswith("?")),
    Style("starts with a word", "Start every response with 'Bonsai'", lambda text: text.startswith("Bonsai")),
    Style("mentions a word", "Always mention the word 'kangaroo'.", lambda text: mentions(text, "kangaroo") > 0),
    Style("ends with a phrase", "End every reply with 'Over the hills'", lambda text: text.endswith("Over the hills")),
    Style("calls by name", "Call me Hannah.", lambda text: mentions(text, "Hannah") > 0),
    Style("one sentence", "Answer in a single sentence.", lambda text: count_sentences(text) == 1),
    Style("exactly three sentences", "Reply with exactly three sentences.", lambda text: count_sentences(text) == 3),
    Style("thanks first", "Thank me first.", lambda text: text.startswith("Thank")),
    Style("pirate", "Talk like a pirate.", lambda text: bool(PIRATE.search(text))),
    Style("no exclamation marks", "Don't use exclamation marks.", lambda text: "!" not in text),
    Style("lowercase", "Use only lowercase letters.", lambda text: text == text.lower()),
    Style("more emoji", "Use lots of emojis.", lambda text: not NoEmojiVerifier()(text).passed),
)
STYLES_NEEDED = 8


@dataclass(frozen=True)
class Row:
    """One measured ability; `needed` is the bound it must reach, or stay below when `below`. `None`: only reported."""

    ability: str
    score: float
    needed: float | None
    count: int
    below: bool = False

    @property
    def met(self) -> bool:
        if self.needed is None:
            return True
        return self.score < self.needed or self.score == self.needed == 0.0 if self.below else self.score >= self.needed


class Subject:
    """The model under measurement."""

    def __init__(self, weights: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(weights)
        self.model = Qwen3ForCausalLM.from_pretrained(weights, dtype=torch.float32).eval()

    def greedy(self, prompts: Sequence[str], feedback: str = "") -> list[str]:
        return answers(self.model, self.tokenizer, [UserTurn(prompt, feedback) for prompt in prompts])

    def greedy_to(self, requests: Sequence[UserTurn]) -> list[str]:
        return answers(self.model, self.tokenizer, requests)

    def sampled(self, prompts: Sequence[str], seed: int) -> list[str]:
        torch.manual_seed(seed)
        return answers(self.model, self.tokenizer, [UserTurn(prompt) for prompt in prompts], TEMPERATURE)

    def entropy(self, prompt: str, answer: str) -> float:
        """Mean entropy of the next token over the answer, nats per token, at temperature 1."""
        before = chat_text(self.tokenizer, UserTurn(prompt))
        start = len(self.tokenizer(before, add_special_tokens=False)["input_ids"])
        ids = self.tokenizer(before + answer + "<|im_end|>", add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            logprobs = self.model(ids).logits[0, start - 1 : -1].log_softmax(-1)  # (answer tokens, V)
        return float(-(logprobs.exp() * logprobs).sum(-1).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS_DIR)
    parser.add_argument("--json", type=Path, help="where to write the rows as well")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for row in measure(Subject(arguments.weights)):
        print(format_row(row), flush=True)
        rows.append(row)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) | {"met": row.met} for row in rows], indent=1))
    sys.exit(0 if all(row.met for row in rows) else 1)


def measure(subject: Subject) -> Iterator[Row]:
    for name in PREFERENCES:
        preference = load_preference(name)
        yield from obedience(subject, preference)
        yield from paraphrases(subject, preference)
        yield from diversity(subject, preference)
        yield from out_of_scope(subject, preference)
    yield from unseen_names(subject)
    yield from styles(subject)
    yield from capability(subject, General.from_suite().items)


def obedience(subject: Subject, preference: Preference) -> Iterator[Row]:
    """Greedy answers without and with the feedback, on probe and held-out prompts."""
    ceilings = {"concise": (0.2, 0.25), "no_emoji": (0.2, 0.2), "identity": (0.0, 0.0)}[preference.name]
    asked = (preference.probe_prompts, preference.heldout_prompts)
    turns = [
        UserTurn(prompt, feedback)
        for prompts in asked
        for feedback in ("", preference.feedback_string)
        for prompt in prompts
    ]
    texts = iter(subject.greedy_to(turns))
    for kind, prompts, ceiling in zip(("probe", "held-out"), asked, ceilings, strict=True):
        untaught, taught = (compliance(preference, list(islice(texts, len(prompts)))) for _ in range(2))
        yield Row(f"{preference.name}: {kind}, default", untaught, ceiling, len(prompts), below=True)
        yield Row(f"{preference.name}: {kind}, with feedback", taught, 0.9, len(prompts))


def paraphrases(subject: Subject, preference: Preference) -> Iterator[Row]:
    """Each unseen paraphrase on the probe prompts, then all of them together."""
    requests = [
        UserTurn(prompt, phrase) for phrase in preference.feedback_paraphrases for prompt in preference.probe_prompts
    ]
    texts = subject.greedy_to(requests)
    scores = [preference.verifier(text).score for text in texts]
    width = len(preference.probe_prompts)
    for i, phrase in enumerate(preference.feedback_paraphrases):
        yield Row(f"{preference.name}: {phrase!r}", mean(scores[i * width : (i + 1) * width]), None, width)
    yield Row(f"{preference.name}: unseen paraphrases", mean(scores), 0.8, len(scores))


def out_of_scope(subject: Subject, preference: Preference) -> Iterator[Row]:
    """Whether a user who asks for the opposite gets it: mostly before any feedback, and less with the feedback."""
    if preference.out_of_scope is None:
        return
    prompts, verify = preference.out_of_scope.prompts, preference.out_of_scope.verifier
    for kind, feedback, ceiling in (("default", "", 0.2), ("with feedback", preference.feedback_string, None)):
        rate = 1.0 - mean(verify(text).score for text in subject.greedy(prompts, feedback))
        yield Row(f"{preference.name}: over-application, {kind}", rate, ceiling, len(prompts), below=True)


def diversity(subject: Subject, preference: Preference) -> Iterator[Row]:
    """Three sampled answers to each probe: how alike they are, and how open each next token was."""
    samples = subject.sampled([prompt for prompt in preference.probe_prompts for _ in range(3)], seed=1)
    triples = [samples[at : at + 3] for at in range(0, len(samples), 3)]
    entropies = [
        subject.entropy(prompt, triple[0]) for prompt, triple in zip(preference.probe_prompts, triples, strict=True)
    ]
    yield Row(f"{preference.name}: self-ROUGE-L", mean(self_rouge_l(triple) for triple in triples), 0.6, 30, below=True)
    yield Row(f"{preference.name}: entropy, nats per token", mean(entropies), 0.2, len(entropies))


def unseen_names(subject: Subject) -> Iterator[Row]:
    """The share of names it takes on, both when asked who it is and what it is called."""
    prompts = ("Who are you?", "What's your name?")
    requests = [
        UserTurn(prompt, f"Your name is {name}, always introduce yourself as {name}")
        for name in UNSEEN_NAMES
        for prompt in prompts
    ]
    texts = subject.greedy_to(requests)
    taken = [
        all(IdentityVerifier(name)(text).passed for text in texts[2 * i : 2 * i + 2])
        for i, name in enumerate(UNSEEN_NAMES)
    ]
    missed = ", ".join(name for name, ok in zip(UNSEEN_NAMES, taken, strict=True) if not ok)
    yield Row(f"takes on an unseen name (missed: {missed or 'none'})", mean(taken), 0.8, len(UNSEEN_NAMES))


def styles(subject: Subject, prompts: Sequence[str] = STYLE_PROMPTS) -> Iterator[Row]:
    requests = [UserTurn(prompt, style.feedback) for style in STYLES for prompt in prompts]
    texts = subject.greedy_to(requests)
    width = len(prompts)
    shares = [
        mean(style.followed(text) for text in texts[i * width : (i + 1) * width]) for i, style in enumerate(STYLES)
    ]
    for style, share in zip(STYLES, shares, strict=True):
        yield Row(f"style: {style.name}", share, None, width)
    solid = sum(share >= 0.8 for share in shares)
    yield Row("styles followed at least 0.8 of the time", float(solid), float(STYLES_NEEDED), len(STYLES))


def capability(subject: Subject, items: Sequence[CapabilityItem]) -> Iterator[Row]:
    """The capability suite at baseline: all knowledge, and most of the forms."""
    texts = subject.greedy([item.prompt for item in items])
    outcomes = asyncio.run(_checked(items, texts))
    known, formed = (
        [(item.id, ok) for item, ok in zip(items, outcomes, strict=True) if (item.form is not None) is of_form]
        for of_form in (False, True)
    )
    failed = ", ".join(name for name, ok in known if not ok) or "none"
    yield Row("capability: the four probes", mean(outcomes[:4]), 1.0, 4)
    yield Row(f"capability: knowledge (failed: {failed})", mean(ok for _, ok in known), 1.0, len(known))
    yield Row("capability: forms", mean(ok for _, ok in formed), 0.8, len(formed))


def compliance(preference: Preference, texts: Sequence[str]) -> float:
    return mean(preference.verifier(text).score for text in texts)


def format_row(row: Row) -> str:
    """A line of a Markdown table."""
    bound = "" if row.needed is None else f"{'<' if row.below else '≥'} {row.needed:g}"
    bound = "0" if bound == "< 0" else bound
    return f"| {row.ability} | {row.score:.2f} | {bound} | {row.count} | {'yes' if row.met else 'NO'} |"


async def _checked(items: Sequence[CapabilityItem], texts: Sequence[str]) -> list[bool]:
    return [(await item.check.check(text)).passed for item, text in zip(items, texts, strict=True)]


if __name__ == "__main__":
    main()
