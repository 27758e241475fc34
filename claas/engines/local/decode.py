"""Continuous batching: rows join between token steps, are decoded together, and leave when they are done."""

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

import torch
from torch import Tensor

from claas.engines.local.forward import Forward
from claas.engines.local.kv import SlotCache, round_up
from claas.engines.local.requests import DecodeRequest
from claas.engines.local.routing import Segment
from claas.engines.local.sampling import MOST_TOP_LOGPROBS, choose
from claas.engines.local.slots import arrange
from claas.engines.local.stopping import finish_reason

_PREFILL_TOKENS = 4096


class Decoder:
    """The rows being decoded. Synchronous; one thread.

    A row's tokens and logprobs do not depend on the other rows: every operation works row by row, on shapes that
    give the same bits for any number of rows.
    """

    def __init__(
        self, forward: Forward, device: torch.device, stop_ids: frozenset[int], text: Callable[[Sequence[int]], str]
    ) -> None:
        self._forward = forward
        self._device = device
        self._stop_ids = stop_ids
        self._text = text
        self._cache = SlotCache()
        self._rows: list[DecodeRequest] = []  # by slot

    @property
    def rows(self) -> Sequence[DecodeRequest]:
        """The requests being decoded."""
        return self._rows

    @torch.inference_mode()
    def admit(self, requests: Iterable[DecodeRequest]) -> None:
        """Run the prompts and sample each request's first token."""
        ordered = sorted(requests, key=_prompt_group)
        for (_, length), same in groupby(ordered, _prompt_group):
            together = list(same)
            size = max(1, _PREFILL_TOKENS // length)
            for start in range(0, len(together), size):
                self._prefill(together[start : start + size], length)
        self._leave()

    @torch.inference_mode()
    def step(self) -> None:
        """One more token for every row."""
        rows = self._rows
        positions = self._tensor([row.position for row in rows])
        length = round_up(max(row.position for row in rows) + 1)
        self._cache.stepping(positions, length)
        logits = self._forward(
            self._tensor([row.token_ids[-1] for row in rows])[:, None],
            positions[:, None],
            length,
            torch.ones(len(rows), 1, dtype=torch.bool, device=self._device),
            _segments(rows),
            self._cache,
        )
        self._extend(rows, logits)
        self._leave()

    def drop(self, gone: Callable[[DecodeRequest], bool]) -> None:
        """Free the rows that nobody waits for any more."""
        self._arrange([row for row in self._rows if not gone(row)])

    def reset(self) -> None:
        """Forget all rows, whose requests somebody else has answered."""
        self._arrange([])

    def _prefill(self, requests: list[DecodeRequest], length: int) -> None:
        slots = [len(self._rows) + index for index in range(len(requests))]
        ids = torch.zeros(len(requests), length, dtype=torch.long)
        keep = torch.zeros(len(requests), length, dtype=torch.bool)
        for index, request in enumerate(requests):
            ids[index, : len(request.prompt_ids)] = torch.tensor(request.prompt_ids)
            keep[index, len(request.prompt_ids) - 1] = True
        self._cache.prefilling(slots, length, self._device)
        positions = torch.arange(length, device=self._device).expand(len(requests), -1)
        segments = [Segment(requests[0].weights, len(requests))]
        logits = self._forward(ids.to(self._device), positions, length, keep.to(self._device), segments, self._cache)
        self._rows.extend(requests)
        self._extend(requests, logits)

    def _extend(self, rows: Sequence[DecodeRequest], logits: Tensor) -> None:
        """Sample the next token of `rows` from their logits (B, V)."""
        choices = choose(
            logits,
            [row.params.temperature for row in rows],
            [row.params.top_p for row in rows],
            [row.uniform() for row in rows],
            MOST_TOP_LOGPROBS if any(row.params.top_logprobs for row in rows) else 0,
        )
        for index, row in enumerate(rows):
            row.token_ids.append(choices.tokens[index])
            row.logprobs.append(choices.logprobs[index])
            row.entropy += choices.entropies[index]
            if count := row.params.top_logprobs:
                row.top_ids.append(choices.top_ids[index][:count])
                row.top_logprobs.append(choices.top_logprobs[index][:count])
            if row.on_token is not None:
                row.on_token(len(row.token_ids))

    def _leave(self) -> None:
        """Hand back the finished rows."""
        staying: list[DecodeRequest] = []
        for row in self._rows:
            reason = finish_reason(row, self._stop_ids, self._text)
            if reason is None:
                staying.append(row)
            elif row.result.set_running_or_notify_cancel():
                row.result.set_result(row.decoded(reason))
        self._arrange(staying)

    def _arrange(self, staying: Sequence[DecodeRequest]) -> None:
        """Close the gaps, rows of the same weights side by side."""
        if not staying:
            self._rows = []
            self._cache.clear()
            return
        slot_of = {id(row): slot for slot, row in enumerate(self._rows)}
        slots = [slot_of[id(row)] for row in staying]
        arranged = arrange([id(row.weights) for row in staying], slots)
        moving = [index for index, slot in enumerate(slots) if arranged[index] != slot]
        if moving:
            length = max(staying[index].position for index in moving)
            self._cache.move([(slots[index], arranged[index]) for index in moving], length)
        self._rows = [staying[index] for index in sorted(range(len(staying)), key=arranged.__getitem__)]

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device)


def _prompt_group(request: DecodeRequest) -> tuple[int, int]:
    """Prompts run together when they have the same weights and the same padded length."""
    return id(request.weights), round_up(len(request.prompt_ids))


def _segments(rows: Sequence[DecodeRequest]) -> list[Segment]:
    runs = ([*run] for _, run in groupby(rows, key=lambda row: id(row.weights)))
    return [Segment(run[0].weights, len(run)) for run in runs]
