"""The simulated user: of which answers they say something."""

from claas.eval.metrics.compliance import judge
from claas.eval.protocols.tracks import Item, Round
from claas.results.records import SampledBatch, Transcript
from claas.results.settings import ALWAYS


def complaints(batch: SampledBatch, items: Round, user: str) -> list[tuple[str, Transcript]]:
    """What the user says, and of which answer: of those that came, and, with `when_violated`, of those alone that are
    not as they want them. Nothing is said where an item has no feedback."""
    return [
        (item.feedback, asked)
        for item, asked in zip(items, batch.transcripts, strict=True)
        if asked.error is None and item.feedback is not None and (user == ALWAYS or _is_violated(item, asked))
    ]


def _is_violated(item: Item, asked: Transcript) -> bool:
    return not judge(item.wanted, item.prompt, asked.response or "", item.acceptable).passed
