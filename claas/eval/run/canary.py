"""The canary: a text that every measured version scores, and answers that it gives, to prove which weights answered.

A name and a digest are only a server's claim; which weights it really uses shows in its numbers alone.
"""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import takewhile

from claas.core.concurrency import both, together
from claas.core.errors import StackError
from claas.core.text import PART_OF_A_CHARACTER
from claas.eval.metrics.metric import Subject, seed_for
from claas.eval.run.canaries import is_apart
from claas.eval.run.measuring import allowed_share
from claas.eval.stacks.stack import Answer, ServedBase
from claas.results.records import AdapterVersion, Canary, ChatCheck, RescoredAnswer, Transcript

PROMPT = ({"role": "user", "content": "What is the sea?"},)

EARLIER_TEXT = "The sea is salt water. It covers most of the Earth and is full of life."
"""The canary text of old records, which do not store it."""

_OPENINGS = ("The sea", "A lake", "The old harbour", "My garden", "The night sky", "A quiet village", "The long road")
_VERBS = ("is full of", "has room for", "reminds me of", "is known for", "gives us", "is older than", "hides")
_ENDINGS = ("small fish", "warm light", "salt and wind", "stories", "green stones", "early apples", "seven islands")

ANSWER_TOKENS = 32
"""`max_tokens` of the checked answers: enough to tell weights apart, and cheap."""


def canary_text(run_id: str) -> str:
    """Four sentences drawn by the run's id from some hundred million, so that no server knows them from another run."""
    drawn = random.Random(run_id)
    parts = (drawn.sample(part, 4) for part in (_OPENINGS, _VERBS, _ENDINGS))
    return ". ".join(" ".join(words) for words in zip(*parts, strict=True)) + "."


async def score_canary(
    subject: Subject, base_model: str, text: str, before: AdapterVersion | None, *, with_chat: bool = True
) -> Canary:
    """Score the run's canary text, and compare an answer with its own scores; `before` is the previous version."""
    if not with_chat:
        return await _score_text(subject, base_model, text)
    canary, chat = await both(_score_text(subject, base_model, text), _check_chat(subject, base_model, before))
    return canary.model_copy(update={"chat": chat})


async def _score_text(subject: Subject, base_model: str, text: str) -> Canary:
    """Score the text twice with the subject's version and, at baseline, once with the base model."""
    scorers = [subject, subject]
    if subject.step is None:
        scorers.append(replace(subject, adapter=ServedBase(name=base_model)))
    asked = await together(scorer.score("canary", str(index), PROMPT, text) for index, scorer in enumerate(scorers))
    scores = [None if scored is None else list(scored.logprobs) for _, scored in asked]
    of_version = [score for score in scores[:2] if score is not None]
    return Canary(
        text=None if text == EARLIER_TEXT else text,
        logprobs=of_version[0] if of_version else None,
        repeat=of_version[1] if len(of_version) == 2 else None,
        base=scores[2] if len(scores) == 3 else None,
        error=next((transcript.error for transcript, _ in asked if transcript.error is not None), None),
        prompt_digest=next((score.prompt_digest for _, score in asked if score is not None), None),
    )


async def _check_chat(subject: Subject, base_model: str, before: AdapterVersion | None) -> ChatCheck:
    """Sample two answers to one prompt, and score one under this version, the previous one and the base model."""
    said = [transcript for transcript, _ in await sample_chat(subject)]
    answers, error = (said[0], said[1]), None
    for place, answer in enumerate(answers):
        scores, problem = await _score_again(subject, answer, _others(base_model, before))
        if scores:
            return ChatCheck(answers=answers, scored=place, scores=scores)
        error = problem
    return ChatCheck(answers=answers, error=error)


async def check_answers(
    subject: Subject, base_model: str, before: AdapterVersion | None, measured: Sequence[Transcript]
) -> list[RescoredAnswer]:
    """Score one measured answer of each kind again: a server that is honest only about the canary is found out."""
    return await together(
        _check_answer(subject, answer, _others(base_model, before)) for answer in drawn_answers(subject, measured)
    )


def drawn_answers(subject: Subject, measured: Sequence[Transcript]) -> list[Transcript]:
    """One answer of each kind, drawn by the run's seed; a kind is a metric and the first part of an item's name."""
    kinds: defaultdict[str, dict[str, Transcript]] = defaultdict(dict)
    for transcript in measured:
        if transcript.temperature is not None and transcript.error is None and transcript.tokens:
            kind, _, place = transcript.item.partition("/")
            kinds[f"{transcript.metric}/{kind if place else ''}"].setdefault(transcript.item, transcript)
    run_seed, name, step = subject.run_seed, subject.preference.name, subject.step
    return [
        random.Random(seed_for(run_seed, name, step, "checked", kind)).choice(list(answers.values()))
        for kind, answers in kinds.items()
    ]


async def _check_answer(subject: Subject, answer: Transcript, others: Sequence[AdapterVersion]) -> RescoredAnswer:
    scores, error = await _score_again(subject, answer, ())
    own = scores.get(subject.adapter.model)
    if own is not None and is_apart((answer.logprobs or ())[: len(own)], own):
        scores, error = await _score_again(subject, answer, others)
    return RescoredAnswer(metric=answer.metric, item=answer.item, scores=scores, error=error)


def _others(base_model: str, before: AdapterVersion | None) -> list[AdapterVersion]:
    """The previous version and the base model; only one of them where they are the same."""
    if before is None:
        return []
    return [before] if before.version == 0 else [before, ServedBase(name=base_model)]


async def _score_again(
    subject: Subject, answer: Transcript, others: Sequence[AdapterVersion]
) -> tuple[dict[str, list[float]], str | None]:
    """An answer's readable tokens, scored by the subject and by `others`; where that is impossible, the reason."""
    if not answer.tokens:
        return {}, answer.error or "the stack does not tell the tokens of its answers"
    tokens = readable(answer.tokens)
    if not tokens:
        return {}, "the answer begins with a part of a character, which no text spells"
    if answer.rollout_id is None:
        return await _read_again(subject, answer, tokens, others)
    completion = _completion(answer, tokens)
    messages = (*(answer.earlier or ()), {"role": "user", "content": answer.prompt})
    if not completion:
        return {}, "the answer is empty"
    transcript, own = await subject.score("canary", answer.item, messages, completion)
    if own is None or list(own.tokens or ())[: len(tokens)] != tokens:  # text may be cut into other tokens than it was
        return {}, transcript.error or "read again, the answer is made of other tokens"
    asked = [replace(subject, adapter=each).score("canary", answer.item, messages, completion) for each in others]
    scored = [own, *(score for _, score in await together(asked))]
    models = [subject.adapter.model, *(each.model for each in others)]
    return {model: list(each.logprobs[: len(tokens)]) for model, each in zip(models, scored, strict=True) if each}, None


async def _read_again(
    subject: Subject, answer: Transcript, tokens: list[str], others: Sequence[AdapterVersion]
) -> tuple[dict[str, list[float]], str | None]:
    """The same for an answer outside a chat, which is read together with its prompt as one text."""
    text, size = answer.prompt + "".join(tokens), (answer.prompt_tokens or 0) + len(tokens)
    readers = [subject, *(replace(subject, adapter=each) for each in others)]
    own, *rest = await together(each.read("canary", answer.item, text, size) for each in readers)
    found = own.tokens or []
    if own.error is not None or len(found) != size - 1 or found[-len(tokens) :] != tokens:
        return {}, own.error or "read again, the text is made of other tokens"
    scored = zip(readers, (own, *rest), strict=True)
    return {each.adapter.model: read.logprobs[-len(tokens) :] for each, read in scored if read.logprobs}, None


def readable(tokens: Sequence[str]) -> list[str]:
    """The tokens up to the first that is only part of a character; their text tokenises back to the same tokens.

    An emoji may be three tokens, each of which decodes to U+FFFD, as do parts of other characters.
    """
    return list(takewhile(lambda token: PART_OF_A_CHARACTER not in token, tokens))


async def sample_chat(subject: Subject) -> list[tuple[Transcript, Answer | None]]:
    """Two short answers at temperature 1 under different seeds, to a different probe prompt at every step."""
    prompts, turn = subject.preference.probe_prompts, 0 if subject.step is None else subject.step + 1
    short, prompt = replace(subject, max_tokens=min(ANSWER_TOKENS, subject.max_tokens)), prompts[turn % len(prompts)]
    return await together(short.answer("canary", f"chat/{index}", prompt, temperature=1.0) for index in range(2))


def _completion(answer: Transcript, tokens: Sequence[str]) -> str:
    """The text of an answer to score: its own, or that of its tokens where the two differ.

    They differ where thinking was removed from the text, or where only the first of the `tokens` are readable.
    """
    ended = answer.finish_reason == "stop" and len(tokens) == len(answer.tokens or ())
    said, text = tokens[:-1] if ended else tokens, answer.response or ""
    whole = {"".join("".join(turn).split()) for turn in (said, tokens)}
    return text if "".join(text.split()) in whole else "".join(said)


def require_canary(where: str, canary: Canary, fail_on_error: bool | float, *, baseline: bool) -> None:
    """Raise `StackError` if the canary was lost, so that nothing shows which weights were measured.

    With a `fail_on_error` of False or 1 the run goes on, and the record says that the canary is missing, and why.
    """
    needed = [canary.logprobs, canary.base] if baseline else [canary.logprobs]
    if None in needed and allowed_share(fail_on_error) < 1:
        raise StackError(
            f"{where}: the canary was lost, without which nothing shows which weights answer: {canary.error}; nothing "
            "was recorded, so that a resumed run measures it again"
        )
