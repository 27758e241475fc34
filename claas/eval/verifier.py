"""The verifier interface: an answer in, a score in [0, 1] and its reason out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class VerifierResult:
    """`score` in [0, 1]; `passed` is the strict reading (the preference holds); `metadata` says what was counted."""

    score: float
    passed: bool
    metadata: Mapping[str, float | str | bool] = field(default_factory=dict[str, float | str | bool])


class Verifier(Protocol):
    """Any callable of a response. It sees the visible text: thinking has been removed."""

    def __call__(self, response: str) -> VerifierResult:
        """Score one response."""
        ...
