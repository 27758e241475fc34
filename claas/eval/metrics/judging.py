"""An answer under a verifier, and the verdict as a transcript keeps it."""

import math
from collections.abc import Collection, Iterable
from typing import cast

from claas.core.errors import InvalidInput
from claas.core.text import visible
from claas.eval.metric import Subject
from claas.eval.metrics.tally import mean
from claas.eval.metrics.wording import says_back
from claas.eval.preference import NonAnswer
from claas.eval.records import Transcript
from claas.eval.verifier import Verifier, VerifierResult

ECHO = VerifierResult(0.0, False, {"echo": True})
"""Of an answer that only says its prompt back, whatever else is asked of it."""


async def judged(
    subject: Subject, metric: str, item: str, prompt: str, verifier: Verifier, acceptable: Collection[NonAnswer] = ()
) -> Transcript:
    """A greedy answer to the prompt, with the verdict on it; a lost one has none."""
    transcript, answer = await subject.answer(metric, item, prompt)
    return transcript if answer is None else with_verdict(transcript, judge(verifier, prompt, answer.text, acceptable))


def mean_score(transcripts: Iterable[Transcript]) -> float | None:
    """The mean over the answers that have a verdict, in [0, 1]; None without any."""
    return mean(float(found.verdict["score"] or 0.0) for found in transcripts if found.verdict is not None)


def judge(verifier: Verifier, prompt: str, response: str, acceptable: Collection[NonAnswer] = ()) -> VerifierResult:
    """The verifier's result on the visible text.

    The prompt said back, once or several times over, answers nothing and scores 0, unless an echo is `acceptable`.
    """
    text = visible(response)
    if NonAnswer.ECHO not in acceptable and says_back(text, prompt):
        return ECHO
    result = cast(object, verifier(text))  # a user's own verifier may return anything
    if not isinstance(result, VerifierResult) or not 0.0 <= result.score <= 1.0:
        name = type(verifier).__name__
        raise InvalidInput(f"{name} must return a VerifierResult with a score from 0 to 1, got {result!r}")
    return result


def with_verdict(transcript: Transcript, result: VerifierResult) -> Transcript:
    """The transcript with what the verifier said of it."""
    found = {key: _stored(value) for key, value in result.metadata.items()}
    return transcript.model_copy(update={"verdict": found | {"score": result.score, "passed": result.passed}})


def _stored(value: object) -> float | str | bool:
    if isinstance(value, bool | str):
        return value
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else str(value)
