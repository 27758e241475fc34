"""An answer under a verifier, and the verdict as a transcript keeps it."""

import math
from typing import cast

from claas.core.errors import InvalidInput
from claas.core.text import visible
from claas.eval.metrics.wording import same_wording
from claas.eval.records import Transcript
from claas.eval.verifier import Verifier, VerifierResult

ECHO = VerifierResult(0.0, False, {"echo": True})
"""Of an answer that only says its prompt back, whatever else is asked of it."""


def judge(verifier: Verifier, prompt: str, response: str) -> VerifierResult:
    """The verifier's result on the visible text. The prompt said back answers nothing and scores 0."""
    text = visible(response)
    if same_wording(text, prompt):
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
