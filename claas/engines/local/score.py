"""Scoring: the log probabilities of given answers, in as few forward passes as possible."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import TypeVar, cast

import torch
from torch import Tensor

from claas.engines.local.forward import Forward, PrefixCache, round_up
from claas.engines.local.linear import ModelWeights, Segment
from claas.engines.local.model import STRIDE
from claas.engines.local.threads import Inbox, Workers, fail, told
from claas.engines.versioned import ScoredIds

T = TypeVar("T")

_MOST_AT_ONCE = 256
_TOKENS_PER_PASS = 4096
_TOKENS_PER_CPU_PASS = 1024  # more are no faster
_LOGITS_PER_CPU_PASS = 2**24  # 64 MiB of float32
_LOGITS_AT_ONCE = 2**22


@dataclass(eq=False)
class ScoreJob:
    """A prompt, the completions to score after it, and the weights to score them with.

    The first `prefix` tokens of the prompt, a multiple of `STRIDE`, are read by themselves, once for all completions.
    """

    prompt_ids: list[int]
    completions: list[list[int]]  # each (C,)
    weights: ModelWeights
    top_logprobs: int = 0
    prefix: int = 0
    result: Future[list[ScoredIds]] = field(default_factory=Future[list[ScoredIds]])

    @property
    def length(self) -> int:
        """Tokens of the prefix, or of the longest row where there is none, padded."""
        return self.prefix or round_up(len(self.prompt_ids) + max(map(len, self.completions)) - 1)


def shared_prefix(prompt_ids: Sequence[int]) -> int:
    """How many tokens of a prompt are processed once for all completions.

    It depends on the prompt alone, so that the score of a completion does, too: to the bit, whatever else is scored.
    """
    return round_up(len(prompt_ids)) - STRIDE


@dataclass(frozen=True, eq=False)
class _Row:
    """What a pass is fed after the prefix of `job`: the rest of the prompt, and completions up to their last tokens.

    These are `indices` of its completions, which differ in no other token. `place` is that of the prefix among those
    which were read together.
    """

    job: ScoreJob
    place: int
    indices: list[int]

    @property
    def fed(self) -> list[int]:
        """The tokens fed to the model: the last one of a completion predicts nothing."""
        return [*self.job.prompt_ids[self.job.prefix :], *self.job.completions[self.indices[0]][:-1]]

    @property
    def length(self) -> int:
        """Tokens attended to, padded: those of the prefix, and those fed."""
        return round_up(len(self.job.prompt_ids) + len(self.job.completions[self.indices[0]]) - 1)


class Scorer:
    """Scores jobs, in a thread for each of `forwards`, next to those that decode."""

    def __init__(self, forwards: Sequence[Forward], device: torch.device, vocabulary: int) -> None:
        self._device = device
        of_cpu = min(_TOKENS_PER_CPU_PASS, _LOGITS_PER_CPU_PASS // vocabulary)
        self._tokens = of_cpu if device.type == "cpu" else _TOKENS_PER_PASS
        self._threads = len(forwards)
        self._workers = Workers("scoring", [partial(self._serve, forward) for forward in forwards])

    def submit(self, job: ScoreJob) -> Future[list[ScoredIds]]:
        """The logprobs of each completion, once scored. Raises `StackError` once closed."""
        self._workers.submit(job)
        return job.result

    @property
    def trouble(self) -> str | None:
        """Why scoring has ended; None while every thread runs."""
        return self._workers.trouble

    def close(self) -> None:
        """Stop the threads; unfinished jobs fail with `StackError`."""
        self._workers.close()

    def _serve(self, forward: Forward, inbox: Inbox[ScoreJob]) -> None:
        while (arrived := inbox.take(_MOST_AT_ONCE, wait=True, among=self._threads)) is not None:
            for batch in _batches([job for job in arrived if not job.result.cancelled()], self._tokens):
                try:
                    self._score(forward, batch)
                except BaseException as error:  # whatever it is, those who wait are told
                    fail(batch, told("scoring", error), error)

    @torch.inference_mode()
    def _score(self, forward: Forward, batch: Sequence[ScoreJob]) -> None:
        """Score jobs of the same weights and the same length of prefix."""
        cache = self._prefixes(forward, batch) if batch[0].prefix else None
        scored = [dict[int, ScoredIds]() for _ in batch]
        rows = sorted((row for place, job in enumerate(batch) for row in _rows(place, job)), key=lambda row: row.length)
        for length, same in groupby(rows, lambda row: row.length):
            for some in _at_once(list(same), length - batch[0].prefix, length, self._tokens):
                for row, index, scores in self._read(forward, some, cache):
                    scored[row.place][index] = scores
                    _finish(row.job, scored[row.place])

    def _prefixes(self, forward: Forward, batch: Sequence[ScoreJob]) -> PrefixCache:
        """The beginnings of the prompts, read in one forward pass."""
        cache, length = PrefixCache(), batch[0].prefix
        ids = torch.tensor([job.prompt_ids[:length] for job in batch])
        keep = torch.zeros(len(batch), length, dtype=torch.bool)
        keep[:, -1] = True
        self._pass(forward, ids, keep, 0, batch[0], cache)
        return cache

    def _read(
        self, forward: Forward, rows: Sequence[_Row], cache: PrefixCache | None
    ) -> Iterator[tuple[_Row, int, ScoredIds]]:
        """The scores of the completions of rows of the same length, by one forward pass."""
        first = rows[0].job.prefix
        ids = torch.zeros(len(rows), rows[0].length - first, dtype=torch.long)
        keep = torch.zeros(ids.shape, dtype=torch.bool)
        targets, places, start = list[int](), list[int](), 0  # of every completion's tokens; in the kept logits
        for index, row in enumerate(rows):
            fed, size = row.fed, len(row.job.completions[row.indices[0]])
            ids[index, : len(fed)] = torch.tensor(fed)
            keep[index, len(fed) - size : len(fed)] = True
            for completion in row.indices:
                targets += row.job.completions[completion]
                places += range(start, start + size)
            start += size
        if cache is not None:
            cache.continuing(torch.tensor([row.place for row in rows], device=self._device))
        logits = self._pass(forward, ids, keep, first, rows[0].job, cache)
        scored = _scored(logits, places, targets, max(row.job.top_logprobs for row in rows))
        at = 0
        for row in rows:
            for completion in row.indices:
                size = len(row.job.completions[completion])
                yield row, completion, _part(scored, at, at + size, row.job.top_logprobs)
                at += size

    def _pass(
        self, forward: Forward, ids: Tensor, keep: Tensor, first: int, job: ScoreJob, cache: PrefixCache | None
    ) -> Tensor:
        """The logits at `keep` of tokens (B, T), the first of which stand at position `first`, by the job's weights."""
        rows, time = ids.shape
        positions = torch.arange(first, first + time, device=self._device).expand(rows, -1)
        segments = [Segment(job.weights, rows)]
        return forward(ids.to(self._device), positions, first + time, keep.to(self._device), segments, cache)


def _finish(job: ScoreJob, scored: Mapping[int, ScoredIds]) -> None:
    """Hand back the scores of a job once all its completions have them."""
    if len(scored) == len(job.completions) and job.result.set_running_or_notify_cancel():
        job.result.set_result([scored[index] for index in range(len(scored))])


def _rows(place: int, job: ScoreJob) -> list[_Row]:
    """The rows of a job: completions that differ in their last tokens only need but one."""
    alike: dict[tuple[int, ...], list[int]] = {}
    for index, completion in enumerate(job.completions):
        alike.setdefault(tuple(completion[:-1]), []).append(index)
    return [_Row(job, place, indices) for indices in alike.values()]


def _scored(logits: Tensor, places: Sequence[int], targets: Sequence[int], top_logprobs: int) -> ScoredIds:
    """Log probability of each target under the logits (N, V) at its place, in float32, a slice of them at a time."""
    rows = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    parts: list[Tensor] = []
    top_ids: list[list[int]] = []
    top_values: list[list[float]] = []
    for start in range(0, len(targets), rows):
        wanted = torch.tensor(targets[start : start + rows], device=logits.device)
        logprobs = logits[places[start : start + rows]].float().log_softmax(-1)
        parts.append(logprobs.gather(-1, wanted[:, None])[:, 0])
        if top_logprobs:
            top = logprobs.topk(min(top_logprobs, logits.shape[-1]))
            top_ids += cast(list[list[int]], top.indices.tolist())  # pyright: ignore[reportUnknownMemberType]
            top_values += cast(list[list[float]], top.values.tolist())  # pyright: ignore[reportUnknownMemberType]
    chosen = cast(list[float], torch.cat(parts).tolist())  # pyright: ignore[reportUnknownMemberType]
    return ScoredIds(chosen, top_ids, top_values)


def _part(scored: ScoredIds, start: int, end: int, top_logprobs: int) -> ScoredIds:
    """The scores of one completion, with as many alternatives as its job asked for."""
    if not top_logprobs:
        return ScoredIds(scored.logprobs[start:end], [], [])
    return ScoredIds(
        scored.logprobs[start:end],
        [ids[:top_logprobs] for ids in scored.top_ids[start:end]],
        [values[:top_logprobs] for values in scored.top_logprobs[start:end]],
    )


def _batches(jobs: Sequence[ScoreJob], tokens: int) -> Iterator[list[ScoreJob]]:
    """Jobs that can be scored together: same weights, same padded length, not too many tokens."""
    for (_, _, length), same in groupby(sorted(jobs, key=_group), _group):
        yield from _at_once(list(same), length, length, tokens)


def _at_once(rows: list[T], fed: int, length: int, tokens: int) -> Iterator[list[T]]:
    """Rows that are fed so many tokens each and attend to `length`: as many at a time as one pass of `tokens` takes."""
    size = max(1, min(tokens // fed, _TOKENS_PER_PASS // length))
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _group(job: ScoreJob) -> tuple[int, int, int]:
    return id(job.weights), job.prefix, job.length
