"""The claims of one run that are judged together: every criterion of every preference."""

from collections.abc import Mapping
from dataclasses import dataclass

from claas.eval.verdicts.statistics import holm


@dataclass(frozen=True)
class Family:
    """`size` is how many criteria the planned run judges; `adjusted` holds Holm's p-values of those tested so far, by
    preference and criterion. A fail stands when its adjusted p-value is at most `level`.
    """

    size: int
    confidence: float
    adjusted: Mapping[tuple[str, str], float]

    @classmethod
    def of(cls, p_values: Mapping[tuple[str, str], float], size: int, confidence: float) -> "Family":
        """Adjust what was tested; the rest of the family counts as never rejected."""
        adjusted = holm(list(p_values.values()), max(size, len(p_values)))
        return cls(size, confidence, dict(zip(p_values, adjusted, strict=True)))

    @property
    def level(self) -> float:
        """The chance of any false fail: that of one interval on one of its sides."""
        return (1 - self.confidence) / 2

    @property
    def strictest(self) -> float:
        """The confidence that one interval needs to fail whatever the others show (Bonferroni, Holm's first step)."""
        return 1 - (1 - self.confidence) / max(1, self.size)
