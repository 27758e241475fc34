"""Scoring: the log probabilities of given answers, all that have arrived in as few forward passes as possible."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import cast

import torch
from torch import Tensor

from claas.engines.local.forward import Forward, round_up
from claas.engines.local.linear import ModelWeights, Segment
from claas.engines.local.threads import Inbox, Workers, fail, told
from claas.engines.versioned import ScoredIds

_MOST_AT_ONCE = 256
_TOKENS_PER_PASS = 4096
_LOGITS_AT_ONCE = 2**25  # 128 MiB of float32


@dataclass(eq=False)
class ScoreJob:
    """A prompt, the completion to score after it, and the weights to score it with."""

    prompt_ids: list[int]
    completion_ids: list[int]  # (C,)
    weights: ModelWeights
    top_logprobs: int = 0
    result: Future[ScoredIds] = field(default_factory=Future[ScoredIds])

    @property
    def length(self) -> int:
        """Tokens fed to the model, padded: all but the last, which predicts nothing."""
        return round_up(len(self.prompt_ids) + len(self.completion_ids) - 1)


class Scorer:
    """Scores jobs, in a thread for each of `forwards`, next to those that decode."""

    def __init__(self, forwards: Sequence[Forward], device: torch.device) -> None:
        self._device = device
        self._threads = len(forwards)
        self._workers = Workers("scoring", [partial(self._serve, forward) for forward in forwards])

    def submit(self, job: ScoreJob) -> Future[ScoredIds]:
        """The completion's logprobs, once scored. Raises `StackError` once closed."""
        self._workers.submit(job)
        return job.result

    @property
    def trouble(self) -> str | None:
        """Why nothing is scored any more; None while every thread runs."""
        return self._workers.trouble

    def close(self) -> None:
        """Stop the threads; unfinished jobs fail with `StackError`."""
        self._workers.close()

    def _serve(self, forward: Forward, inbox: Inbox[ScoreJob]) -> None:
        while (arrived := inbox.take(_MOST_AT_ONCE, wait=True, among=self._threads)) is not None:
            for batch in _batches([job for job in arrived if not job.result.cancelled()]):
                try:
                    self._score(forward, batch)
                except BaseException as error:  # whatever it is, those who wait are told
                    fail(batch, told("scoring", error), error)

    @torch.inference_mode()
    def _score(self, forward: Forward, batch: Sequence[ScoreJob]) -> None:
        """One forward pass over jobs of the same weights and padded length."""
        length = batch[0].length
        ids = torch.zeros(len(batch), length, dtype=torch.long)
        keep = torch.zeros(len(batch), length, dtype=torch.bool)
        for row, job in enumerate(batch):
            tokens = [*job.prompt_ids, *job.completion_ids[:-1]]
            ids[row, : len(tokens)] = torch.tensor(tokens)
            keep[row, len(job.prompt_ids) - 1 : len(tokens)] = True
        positions = torch.arange(length, device=self._device).expand(len(batch), -1)
        segments = [Segment(batch[0].weights, len(batch))]
        logits = forward(ids.to(self._device), positions, length, keep.to(self._device), segments)
        targets = [token for job in batch for token in job.completion_ids]
        scored = _scored(logits, torch.tensor(targets, device=self._device), max(job.top_logprobs for job in batch))
        start = 0
        for job in batch:
            end = start + len(job.completion_ids)
            if job.result.set_running_or_notify_cancel():
                job.result.set_result(_part(scored, start, end, job.top_logprobs))
            start = end


def _scored(logits: Tensor, targets: Tensor, top_logprobs: int) -> ScoredIds:
    """Log probability of each target (N,) under its logits (N, V), in float32, a slice of rows at a time."""
    rows = max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    parts: list[Tensor] = []
    top_ids: list[list[int]] = []
    top_values: list[list[float]] = []
    for start in range(0, len(targets), rows):
        logprobs = logits[start : start + rows].float().log_softmax(-1)
        parts.append(logprobs.gather(-1, targets[start : start + rows, None])[:, 0])
        if top_logprobs:
            top = logprobs.topk(min(top_logprobs, logits.shape[-1]))
            top_ids += cast(list[list[int]], top.indices.tolist())  # pyright: ignore[reportUnknownMemberType]
            top_values += cast(list[list[float]], top.values.tolist())  # pyright: ignore[reportUnknownMemberType]
    chosen = cast(list[float], torch.cat(parts).tolist())  # pyright: ignore[reportUnknownMemberType]
    return ScoredIds(chosen, top_ids, top_values)


def _part(scored: ScoredIds, start: int, end: int, top_logprobs: int) -> ScoredIds:
    """The rows of one job, with as many alternatives as it asked for."""
    if not top_logprobs:
        return ScoredIds(scored.logprobs[start:end], [], [])
    return ScoredIds(
        scored.logprobs[start:end],
        [ids[:top_logprobs] for ids in scored.top_ids[start:end]],
        [values[:top_logprobs] for values in scored.top_logprobs[start:end]],
    )


def _batches(jobs: Sequence[ScoreJob]) -> Iterator[list[ScoreJob]]:
    """Requests that can be scored together: same weights, same padded length, not too many tokens."""
    for (_, length), same in groupby(sorted(jobs, key=_group), _group):
        together = list(same)
        size = max(1, _TOKENS_PER_PASS // length)
        for start in range(0, len(together), size):
            yield together[start : start + size]


def _group(job: ScoreJob) -> tuple[int, int]:
    return id(job.weights), job.length
