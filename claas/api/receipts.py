"""Which idempotency keys were used, for what, and the receipt each was answered with."""

from pathlib import Path

from claas.api.journal import Journal
from claas.wire.base import Body
from claas.wire.feedback import FeedbackResponse

_CAPACITY = 20_000
"""Lines kept; a key takes two. An engine knows the keys of its updates for good, so an older one is still replayed."""


class Receipt(Body):
    """A key, a digest of the feedback it was used for, and the answer; None until the update is known to be made."""

    key: str
    fingerprint: str
    response: FeedbackResponse | None = None


class Receipts:
    """The newest receipts, found by key; survives a crash of the machine."""

    def __init__(self, path: Path) -> None:
        self._journal = Journal(path, _CAPACITY, lambda line: (Receipt.model_validate_json(line).key,))

    def find(self, key: str) -> Receipt | None:
        """What was last written under this key."""
        line = self._journal.find(key)
        return None if line is None else Receipt.model_validate_json(line)

    async def write(self, receipt: Receipt) -> None:
        """Keep `receipt` in place of what stood under its key."""
        self._journal.append(receipt.model_dump_json().encode(), (receipt.key,))
        await self._journal.sync()

    def close(self) -> None:
        """Let go of the file; every line is in it already."""
        self._journal.close()
