"""Predicted answers: what a row is expected to say next, so that several tokens are decoded in one forward pass."""

from collections.abc import Sequence

_REACH = 256
"""How many tokens of a prediction an answer may leave out before it is no longer found in it."""


class Prediction:
    """What an answer may turn out to be, as tokens, and where in it the answer is.

    An answer that says something else is looked for in what follows: it is where its last token stands.
    """

    def __init__(self, token_ids: Sequence[int] = ()) -> None:
        self._token_ids = token_ids
        self._next = 0
        self._found = True
        self.accepted = 0

    @property
    def rejected(self) -> int:
        """How many of its tokens the answer has not said."""
        return len(self._token_ids) - self.accepted

    def ahead(self, most: int) -> Sequence[int]:
        """What comes next, up to `most` tokens; nothing while the answer says something else."""
        return self._token_ids[self._next : self._next + most] if self._found else ()

    def follow(self, token: int) -> None:
        """The answer has said one more token."""
        end = min(len(self._token_ids), self._next + (1 if self._found else _REACH))
        self._found = token in self._token_ids[self._next : end]
        if self._found:
            self._next = self._token_ids.index(token, self._next) + 1
            self.accepted += 1
