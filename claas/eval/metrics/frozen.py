"""Answers that version 0 wrote, kept from baseline on: how likely does a later version find the same words?"""

from collections.abc import Iterable, Sequence

from claas.core.concurrency import together
from claas.eval.metric import Subject
from claas.eval.records import Transcript


async def frozen_scores(subject: Subject, metric: str, prefix: str, written: Sequence[Transcript]) -> list[Transcript]:
    """The scores of one metric's frozen answers, as transcripts of the items `{prefix}{i}`.

    At baseline these are of the sampled answers `written`, and freeze them: later the same texts are scored again,
    whatever `written` is. An answer that was lost, or says nothing, is not frozen. A score with another number of
    tokens than at baseline is lost, because its tokens are not the same ones.
    """
    if subject.baseline is None:
        sampled = [(f"{prefix}{i}", answer) for i, answer in enumerate(written) if answer.response]
        return await together(_score(subject, metric, item, answer) for item, answer in sampled)
    return await together(_score_again(subject, before) for before in frozen(subject.baseline.rollouts, metric, prefix))


def frozen(rollouts: Iterable[Transcript], metric: str, prefix: str) -> list[Transcript]:
    """The frozen answers of a metric among these transcripts, less those whose score was lost."""
    return [
        rollout
        for rollout in rollouts
        if rollout.metric == metric and rollout.item.startswith(prefix) and rollout.error is None
    ]


def written_logprobs(frozen_answer: Transcript) -> Sequence[float]:
    """Nats for each token that version 0 wrote: not for the end of turn of an answer that hit the token bound."""
    logprobs = frozen_answer.logprobs or []
    return logprobs[:-1] if frozen_answer.finish_reason == "length" else logprobs


async def _score(subject: Subject, metric: str, item: str, answer: Transcript) -> Transcript:
    messages = ({"role": "user", "content": answer.prompt},)
    transcript, _ = await subject.score(metric, item, messages, answer.response or "")
    return transcript.model_copy(update={"finish_reason": answer.finish_reason})


async def _score_again(subject: Subject, before: Transcript) -> Transcript:
    transcript = await _score(subject, before.metric, before.item, before)
    now, then = len(transcript.logprobs or ()), len(before.logprobs or ())
    if transcript.error is not None or now == then:
        return transcript
    lost = {"tokens": None, "logprobs": None, "prompt_tokens": None, "completion_tokens": None}
    return transcript.model_copy(update=lost | {"error": f"{now} tokens, but {then} at baseline"})
