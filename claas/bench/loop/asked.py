"""A task whose questions are known, and what a version makes of them."""

from dataclasses import dataclass
from typing import Protocol

from claas.eval.metrics.metric import Subject
from claas.results.records import Counts, Transcript

NO_SCORES = frozenset({"perplexity", "word_perplexity", "byte_perplexity", "bits_per_byte"})
"""Metrics of lm-eval in which less is better, and no item is right or wrong."""


@dataclass(frozen=True)
class TaskMeasured:
    """One task at one version: lm-eval's number over the items that came, None where none did."""

    value: float | None
    counts: Counts
    transcripts: tuple[Transcript, ...]


class AskedTask(Protocol):
    """A task whose questions are known. `fixture`: rows of somebody's own stand in for its data set."""

    @property
    def name(self) -> str:
        """As it is called in a suite."""
        ...

    @property
    def metric(self) -> str:
        """lm-eval's name of its first number, with the filter: `acc,none`."""
        ...

    @property
    def fixture(self) -> bool:
        """Whether no number of it is the benchmark's."""
        ...

    async def require_tokenizer(self, subject: Subject) -> Transcript:
        """Read a text; `InvalidInput` where it is made of other tokens than it is asked with."""
        ...

    async def measure(self, subject: Subject) -> TaskMeasured:
        """Ask every question, and score the answers that came."""
        ...
