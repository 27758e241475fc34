"""The canary: what every measured version is asked to score and to say, so that no other can in its place.

A name and a digest are what a server says of itself; what it computes with shows in its numbers alone.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

from claas.core.concurrency import both, together
from claas.core.errors import StackError
from claas.eval.metrics.metric import Subject
from claas.eval.run.measuring import allowed_share
from claas.eval.stacks.stack import Answer, ServedBase
from claas.results.records import AdapterVersion, Canary, ChatCheck, Transcript

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
    """Sample two answers to one prompt, and score one of them again: with this version, the one before, and the base.

    The version before the first is the base model, which is then not asked twice.
    """
    (first, one), (second, other) = await sample_chat(subject)
    others = [] if before is None else [before]
    if before is not None and before.version > 0:
        others.append(ServedBase(name=base_model))
    error = None
    for place, said, answer in ((0, first, one), (1, second, other)):
        tokens = answer and answer.tokens
        if answer is None or not tokens:
            error = said.error or "the stack does not tell the tokens of its answers"
            continue
        completion, messages = _completion(answer, tokens), ({"role": "user", "content": said.prompt},)
        if not completion:
            error = "the answer is empty"
            continue
        transcript, own = await subject.score("canary", said.item, messages, completion)
        if own is None or (own.tokens or ())[: len(tokens)] != tokens:  # text may be cut into other tokens than it was
            error = transcript.error or "read again, the answer is made of other tokens"
            continue
        asked = [replace(subject, adapter=each).score("canary", said.item, messages, completion) for each in others]
        scored = [own, *(score for _, score in await together(asked))]
        models = [subject.adapter.model, *(each.model for each in others)]
        scores = {model: list(each.logprobs[: len(tokens)]) for model, each in zip(models, scored, strict=True) if each}
        return ChatCheck(answers=(first, second), scored=place, scores=scores)
    return ChatCheck(answers=(first, second), error=error)


async def sample_chat(subject: Subject) -> list[tuple[Transcript, Answer | None]]:
    """Two short answers at temperature 1 under different seeds, to another probe prompt at every step."""
    prompts, turn = subject.preference.probe_prompts, 0 if subject.step is None else subject.step + 1
    short, prompt = replace(subject, max_tokens=min(ANSWER_TOKENS, subject.max_tokens)), prompts[turn % len(prompts)]
    return await together(short.answer("canary", f"chat/{index}", prompt, temperature=1.0) for index in range(2))


def _completion(answer: Answer, tokens: Sequence[str]) -> str:
    """What to score of an answer: its text or, where its thinking was taken out of that, what its tokens spell."""
    said = tokens[:-1] if answer.finish_reason == "stop" else tokens
    whole = {"".join("".join(turn).split()) for turn in (said, tokens)}
    return answer.text if "".join(answer.text.split()) in whole else "".join(said)


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
