"""Predicted answers: guesses at a row's next tokens, so that several can be verified in one forward pass."""

from collections.abc import Sequence

_REACH = 256
"""How many tokens of a prediction an answer may leave out before it is no longer found in it."""


class Prediction:
    """A predicted answer as tokens, and the position that the actual answer has reached in it.

    If the answer deviates, its last token is searched for in the rest of the prediction.
    """

    def __init__(self, token_ids: Sequence[int] = ()) -> None:
        self._token_ids = token_ids
        self._next = 0
        self._found = True
        self.accepted = 0

    @property
    def rejected(self) -> int:
        """How many predicted tokens the answer does not contain."""
        return len(self._token_ids) - self.accepted

    def ahead(self, most: int) -> Sequence[int]:
        """The next predicted tokens, up to `most`; empty while the answer deviates."""
        return self._token_ids[self._next : self._next + most] if self._found else ()

    def follow(self, token: int) -> None:
        """Advance by one token of the actual answer."""
        end = min(len(self._token_ids), self._next + (1 if self._found else _REACH))
        self._found = token in self._token_ids[self._next : end]
        if self._found:
            self._next = self._token_ids.index(token, self._next) + 1
            self.accepted += 1
