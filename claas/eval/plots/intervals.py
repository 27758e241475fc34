"""The intervals around a measurement, from its transcripts."""

from collections.abc import Container, Sequence

from claas.eval.records import Transcript
from claas.eval.verdicts.criteria import CRITERIA


def intervals_of(
    after: Sequence[Transcript], before: Sequence[Transcript], keys: Container[str], confidence: float
) -> dict[str, tuple[float, float] | None]:
    """By name, the interval of every criterion whose key is among `keys`; None where it cannot be given."""
    found = {each.name: each.estimate(after, before, 0.0, confidence).interval for each in CRITERIA if each.key in keys}
    return {name: interval and (interval.low, interval.high) for name, interval in found.items()}
