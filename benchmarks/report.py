"""Lines of figures, each held against what it must reach."""

from dataclasses import dataclass, field
from typing import Any

from scipy import stats  # pyright: ignore[reportMissingTypeStubs]

_stats: Any = stats  # scipy ships no types

CHANCE = 0.001
"""How rarely a rate that is as it should be may be called too high."""


@dataclass
class Report:
    """Prints as it goes; `exit_code` is 1 once a requirement was missed."""

    exit_code: int = field(default=0, init=False)

    def line(
        self, what: str, value: float | None, unit: str, *, at_least: float | None = None, at_most: float | None = None
    ) -> None:
        """Print one figure; a missing one misses any requirement."""
        missed = value is None and (at_least is not None or at_most is not None)
        if value is not None:
            missed = (at_least is not None and value < at_least) or (at_most is not None and value > at_most)
        bound = "" if at_least is None else f"  needs >= {at_least:g}"
        bound += "" if at_most is None else f"  needs <= {at_most:g}"
        shown = "not measured" if value is None else f"{value:.3g} {unit}".rstrip()
        print(f"   {what:<62} {shown:>12}{bound}{'  MISSED' if missed else ''}", flush=True)
        self.exit_code |= int(missed)

    def rate(self, what: str, hits: int, trials: int, nominal: float) -> None:
        """Print how often something happened that may happen at a rate of `nominal`, with the exact 95 % interval.

        It is missed when the binomial test says that the rate is higher, at `CHANCE`.
        """
        low, high = _stats.binomtest(hits, trials).proportion_ci()
        missed = _stats.binomtest(hits, trials, nominal, alternative="greater").pvalue < CHANCE
        shown = f"{100 * hits / trials:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"
        print(f"   {what:<62} {shown:>20}  may {100 * nominal:g} %{'  MISSED' if missed else ''}", flush=True)
        self.exit_code |= int(missed)

    def note(self, text: str) -> None:
        """Print a remark."""
        print(f"   {text}", flush=True)
