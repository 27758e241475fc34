"""What every metric does with its requests: count how they ended, and average only what is there."""

from collections.abc import Iterable, Sequence

from claas.eval.records import Counts, Transcript


def mean(values: Iterable[float]) -> float | None:
    """The arithmetic mean; of nothing it is None: due, but not measured."""
    found = list(values)
    return sum(found) / len(found) if found else None


def difference(one: float | None, other: float | None) -> float | None:
    """`one - other`, None where either is."""
    return None if one is None or other is None else one - other


def counted(transcripts: Sequence[Transcript]) -> Counts:
    """How the requests ended; a truncated one is among the scored."""
    scored = [transcript for transcript in transcripts if transcript.error is None]
    return Counts(
        planned=len(transcripts),
        scored=len(scored),
        errored=len(transcripts) - len(scored),
        truncated=sum(transcript.finish_reason == "length" for transcript in scored),
    )
