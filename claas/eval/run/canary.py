"""The canary: what every measured version is asked to score and to say, so that no other can in its place.

A name and a digest are what a server says of itself; what it computes with shows in its numbers alone.
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
"""The text of records that do not say theirs."""

_OPENINGS = ("The sea", "A lake", "The old harbour", "My garden", "The night sky", "A quiet village", "The long road")
_VERBS = ("is full of", "has room for", "reminds me of", "is known for", "gives us", "is older than", "hides")
_ENDINGS = ("small fish", "warm light", "salt and wind", "stories", "green stones", "early apples", "seven islands")

ANSWER_TOKENS = 32
"""Bound of the answers that are checked: enough to tell weights apart, and cheap."""


def canary_text(run_id: str) -> str:
    """Four sentences, drawn by the run's id out of some hundred million: no server can know them from another run."""
    drawn = random.Random(run_id)
    parts = (drawn.sample(part, 4) for part in (_OPENINGS, _VERBS, _ENDINGS))
    return ". ".join(" ".join(words) for words in zip(*parts, strict=True)) + "."


async def score_canary(
    subject: Subject, base_model: str, text: str, before: AdapterVersion | None, *, with_chat: bool = True
) -> Canary:
    """Score the run's text, and hold an answer of the subject's against its scores; `before` is the version before."""
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
    """Sample two answers to one prompt, and have this version, the one before and the base model score one of them."""
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
    """Score one measured answer of each kind again, so that no server does well to lie in all but the canary's own."""
    return await together(
        _check_answer(subject, answer, _others(base_model, before)) for answer in drawn_answers(subject, measured)
    )


def drawn_answers(subject: Subject, measured: Sequence[Transcript]) -> list[Transcript]:
    """By the run's seed, one answer of each kind: of each metric, and there of `probe/3`, `heldout/3` and so on."""
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
    """The version before and the base model, which is the version before the first, and then not asked twice."""
    if before is None:
        return []
    return [before] if before.version == 0 else [before, ServedBase(name=base_model)]


async def _score_again(
    subject: Subject, answer: Transcript, others: Sequence[AdapterVersion]
) -> tuple[dict[str, list[float]], str | None]:
    """The scores of an answer's readable tokens by the subject and by `others`, by model; without any, and why not."""
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
    """The same of an answer outside of a chat, which is read with its prompt as one text."""
    text, size = answer.prompt + "".join(tokens), (answer.prompt_tokens or 0) + len(tokens)
    readers = [subject, *(replace(subject, adapter=each) for each in others)]
    own, *rest = await together(each.read("canary", answer.item, text, size) for each in readers)
    found = own.tokens or []
    if own.error is not None or len(found) != size - 1 or found[-len(tokens) :] != tokens:
        return {}, own.error or "read again, the text is made of other tokens"
    scored = zip(readers, (own, *rest), strict=True)
    return {each.adapter.model: read.logprobs[-len(tokens) :] for each, read in scored if read.logprobs}, None


def readable(tokens: Sequence[str]) -> list[str]:
    """The tokens before the first that is only a part of a character: written out, they are those tokens again.

    An emoji may be three tokens. Each reads as U+FFFD, and so do those of other characters, and that character itself.
    """
    return list(takewhile(lambda token: PART_OF_A_CHARACTER not in token, tokens))


async def sample_chat(subject: Subject) -> list[tuple[Transcript, Answer | None]]:
    """Two short answers at temperature 1 under different seeds, to another probe prompt at every step."""
    prompts, turn = subject.preference.probe_prompts, 0 if subject.step is None else subject.step + 1
    short, prompt = replace(subject, max_tokens=min(ANSWER_TOKENS, subject.max_tokens)), prompts[turn % len(prompts)]
    return await together(short.answer("canary", f"chat/{index}", prompt, temperature=1.0) for index in range(2))


def _completion(answer: Transcript, tokens: Sequence[str]) -> str:
    """What to score of an answer: its text or, where that is not what its tokens spell, these.

    Thinking is taken out of a text, and only a beginning of `tokens` may be readable.
    """
    ended = answer.finish_reason == "stop" and len(tokens) == len(answer.tokens or ())
    said, text = tokens[:-1] if ended else tokens, answer.response or ""
    whole = {"".join("".join(turn).split()) for turn in (said, tokens)}
    return text if "".join(text.split()) in whole else "".join(said)


def require_canary(where: str, canary: Canary, fail_on_error: bool | float, *, baseline: bool) -> None:
    """Raise `StackError` when so much of the canary was lost that nothing shows which weights were measured.

    `fail_on_error` of False or 1 goes on without: the record then says that the canary is missing, and why.
    """
    needed = [canary.logprobs, canary.base] if baseline else [canary.logprobs]
    if None in needed and allowed_share(fail_on_error) < 1:
        raise StackError(
            f"{where}: the canary was lost, without which nothing shows which weights answer: {canary.error}; nothing "
            "was recorded, so that a resumed run measures it again"
        )
