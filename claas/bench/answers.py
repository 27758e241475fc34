"""Answers by what was asked, kept as soon as they come: what the same weights have answered is not asked again."""

import hashlib
import json
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any, cast

from pydantic_core import from_json

from claas.core.files import read_bytes, writing

_KINDS = ("loglikelihood", "loglikelihood_rolling", "generate_until")


@contextmanager
def remembering(lm: Any, path: Path) -> Generator[None]:
    """Let one of lm-eval's models ask nothing that the file at `path` has an answer to, and keep those that come."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        answers = _Answers(path, file)
        for kind in _KINDS:
            setattr(lm, kind, partial(answers.of, kind, getattr(lm, kind)))
        lm.set_cache_hook(answers)
        try:
            yield
        finally:
            for kind in _KINDS:
                delattr(lm, kind)


class _Answers:
    """One file, a line for each answer; a line that a crash has torn is none.

    lm-eval has a cache of its own, which is by two transactions an item: many times what a small model takes to answer.
    """

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self._path, self._file = path, file
        content = read_bytes(path)
        self._known: dict[str, Any] = {}
        for line in content.splitlines():
            with suppress(ValueError, TypeError):
                key, answer = from_json(line)
                self._known[key] = tuple(cast(list[Any], answer)) if isinstance(answer, list) else answer
        if not content.endswith(b"\n") and content:
            self._write(b"\n")

    def of(self, kind: str, ask: Callable[..., Sequence[Any]], requests: Sequence[Any], **settings: Any) -> list[Any]:
        """The answers to lm-eval's requests, of which the model is asked those that are not known."""
        keys = [_key(kind, request.args) for request in requests]
        known = list(map(self._known.get, keys))
        new = [request for request, answer in zip(requests, known, strict=True) if answer is None]
        asked = iter(ask(new, **settings) if new else ())
        answers = [next(asked) if answer is None else answer for answer in known]
        for request, key, answer in zip(requests, keys, answers, strict=True):
            if key not in self._known:
                self.add_partial(kind, request.args, answer)
        return answers

    def add_partial(self, kind: str, args: Sequence[Any], answer: Any) -> None:
        """Keep an answer, unless it was drawn at random; what lm-eval's models call as each one comes."""
        key = _key(kind, args)
        if key in self._known or (kind == "generate_until" and args[1].get("do_sample")):
            return
        self._known[key] = answer
        self._write(json.dumps([key, answer], default=lambda number: number.item()).encode() + b"\n")

    def _write(self, line: bytes) -> None:
        with writing(self._path):
            self._file.write(line)
            self._file.flush()


def _key(kind: str, args: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps([kind, *args], default=str).encode()).hexdigest()
