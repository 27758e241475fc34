"""Continuous batching: rows join between token steps, are decoded together, and leave when they are done."""

import random
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Literal, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from claas.engines.local.forward import Forward, PrefixCache, SlotCache, round_up
from claas.engines.local.linear import ModelWeights, Segment
from claas.engines.local.model import STRIDE
from claas.engines.local.prediction import Prediction
from claas.engines.types import SamplingParams
from claas.engines.versioned import MOST_TOP_LOGPROBS, SampledIds, ScoredIds

_PREFILL_TOKENS = 4096
_STEP_TOKENS = 256
_LOGITS_AT_ONCE = 2**17
"""Above this, memory is returned after each operation, and getting it again takes longer than the operation."""
_SPARE_TOKENS = 8
_TOKENS_PER_CHARACTER = 4


@dataclass(eq=False)
class DecodeJob:
    """One decoding request: a prompt, the weights, and the row's progress. Cancelling `result` frees its row.

    `on_token` is called in the decoding thread after each token, with how many there are.
    """

    prompt_ids: list[int]
    weights: ModelWeights
    params: SamplingParams
    prediction: Prediction = field(default_factory=Prediction)
    result: Future[SampledIds] = field(default_factory=Future[SampledIds])
    token_ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    top_ids: list[list[int]] = field(default_factory=list[list[int]])
    top_logprobs: list[list[float]] = field(default_factory=list[list[float]])
    entropy: float = 0.0
    ended: Literal["stop", "length"] | None = None
    on_token: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        self._random = random.Random(self.params.seed)
        self._uniforms = deque[float]()

    def uniforms(self, count: int) -> list[float]:
        """The random numbers in [0, 1) for the next `count` tokens: functions of the seed and each token's position."""
        while len(self._uniforms) < count:
            self._uniforms.append(self._random.random())
        return list(islice(self._uniforms, count))

    def ahead(self, most: int) -> Sequence[int]:
        """The predicted next tokens, up to `most`, and never so many that they would end the answer."""
        return self.prediction.ahead(min(most, self.params.max_tokens - len(self.token_ids) - 1))

    def say(self, choices: "Choices", place: int) -> None:
        """Append the token of `choices` at `place`."""
        self._uniforms.popleft()
        self.token_ids.append(choices.tokens[place])
        self.logprobs.append(choices.logprobs[place])
        self.entropy += choices.entropies[place]
        if count := self.params.top_logprobs:
            self.top_ids.append(choices.top_ids[place][:count])
            self.top_logprobs.append(choices.top_logprobs[place][:count])
        self.prediction.follow(choices.tokens[place])
        if self.on_token is not None:
            self.on_token(len(self.token_ids))

    @property
    def position(self) -> int:
        """The position of the row's last token, which the next step feeds to the model."""
        return len(self.prompt_ids) + len(self.token_ids) - 1

    def sampled(self, finish_reason: Literal["stop", "length"]) -> SampledIds:
        """The finished answer."""
        scores = ScoredIds(self.logprobs, self.top_ids, self.top_logprobs)
        entropy, prediction = self.entropy / len(self.token_ids), self.prediction
        return SampledIds(self.token_ids, scores, entropy, finish_reason, prediction.accepted, prediction.rejected)


class Decoder:
    """The rows being decoded. Synchronous; one thread.

    A row's tokens and logprobs do not depend on the other rows: every operation works row by row, on shapes that
    give the same bits for any number of rows. Of prompts that begin with `opening`, as much of it as `STRIDE` divides
    is read once for each version, by itself: whether a prompt is among them follows from the prompt alone.
    """

    def __init__(
        self,
        forward: Forward,
        device: torch.device,
        stop_ids: frozenset[int],
        text: Callable[[Sequence[int]], str],
        opening: Sequence[int] = (),
    ) -> None:
        self._forward = forward
        self._device = device
        self._stop_ids = stop_ids
        self._text = text
        self._opening = list(opening[: len(opening) // STRIDE * STRIDE])
        self._openings = WeakKeyDictionary[ModelWeights, PrefixCache]()
        self._cache = SlotCache()
        self._rows: list[DecodeJob] = []  # by slot

    @property
    def rows(self) -> Sequence[DecodeJob]:
        """The jobs being decoded."""
        return self._rows

    @torch.inference_mode()
    def admit(self, jobs: Iterable[DecodeJob]) -> None:
        """Run the prompts and sample each job's first token."""
        ordered = sorted(jobs, key=self._prompt_group)
        for (_, first, length), same in groupby(ordered, self._prompt_group):
            together = list(same)
            size = max(1, _PREFILL_TOKENS // (length - first))
            for start in range(0, len(together), size):
                self._prefill(together[start : start + size], first, length)
        self._leave()

    @torch.inference_mode()
    def step(self) -> None:
        """Decode one more token for every row, and further ones that match its prediction; urgent rows go alone."""
        rows = [row for row in self._rows if row.params.urgent] or self._rows
        share = max(1, _STEP_TOKENS // len(rows))
        predicted = [row.ahead(share - 1) for row in rows]
        time = 1 + max(map(len, predicted))
        fed = [
            [row.token_ids[-1], *ahead, *[0] * (time - 1 - len(ahead))]
            for row, ahead in zip(rows, predicted, strict=True)
        ]
        counts = self._tensor([1 + len(ahead) for ahead in predicted])
        offsets = torch.arange(time, device=self._device)
        positions = self._tensor([row.position for row in rows])[:, None] + offsets
        length = round_up(max(row.position + len(ahead) for row, ahead in zip(rows, predicted, strict=True)) + 1)
        self._cache.stepping(positions, length)
        logits = self._forward(
            torch.tensor(fed, device=self._device),
            positions,
            length,
            offsets < counts[:, None],
            _segments(rows, predicted),
            self._cache,
        )
        self._extend(rows, predicted, logits)
        self._leave()

    @torch.inference_mode()
    def drop(self, gone: Callable[[DecodeJob], bool]) -> None:
        """Free the rows whose requests were cancelled."""
        self._arrange([row for row in self._rows if not gone(row)])

    def reset(self) -> None:
        """Drop all rows; their jobs have failed."""
        self._arrange([])

    def _prompt_group(self, job: DecodeJob) -> tuple[int, int, int]:
        """Prompts are batched if they have the same weights, the same prefix length and the same padded length."""
        size = len(self._opening)
        opens = len(job.prompt_ids) > size and job.prompt_ids[:size] == self._opening
        return id(job.weights), size if opens else 0, round_up(len(job.prompt_ids))

    def _prefill(self, jobs: list[DecodeJob], first: int, length: int) -> None:
        """Read the prompts from position `first` on, padded to `length`."""
        weights = jobs[0].weights
        opening = self._opening_of(weights) if first else None
        slots = [len(self._rows) + index for index in range(len(jobs))]
        ids = torch.zeros(len(jobs), length - first, dtype=torch.long)
        keep = torch.zeros(ids.shape, dtype=torch.bool)
        for index, job in enumerate(jobs):
            ids[index, : len(job.prompt_ids) - first] = torch.tensor(job.prompt_ids[first:])
            keep[index, len(job.prompt_ids) - first - 1] = True
        self._cache.prefilling(slots, length, self._device, opening)
        positions = torch.arange(first, length, device=self._device).expand(len(jobs), -1)
        segments = [Segment(weights, len(jobs))]
        logits = self._forward(ids.to(self._device), positions, length, keep.to(self._device), segments, self._cache)
        self._rows.extend(jobs)
        self._extend(jobs, [()] * len(jobs), logits)

    def _opening_of(self, weights: ModelWeights) -> PrefixCache:
        """The keys and values of the opening under these weights, computed once."""
        read = self._openings.get(weights)
        if read is None:
            read, ids = PrefixCache(), self._tensor(self._opening)[None]
            last = torch.zeros(ids.shape, dtype=torch.bool, device=self._device)
            last[:, -1] = True
            positions = torch.arange(ids.shape[1], device=self._device)[None]
            self._forward(ids, positions, ids.shape[1], last, [Segment(weights, 1)], read)
            self._openings[weights] = read
        return read

    def _extend(self, rows: Sequence[DecodeJob], predicted: Sequence[Sequence[int]], logits: Tensor) -> None:
        """Sample the next tokens of `rows` from their logits (N, V).

        The first are those of a row's next token, the others those after each of the tokens predicted for it, which
        hold as long as what was sampled is what was predicted.
        """
        each = [row for row, ahead in zip(rows, predicted, strict=True) for _ in range(1 + len(ahead))]
        choices = choose(
            logits,
            [row.params.temperature for row in each],
            [row.params.top_p for row in each],
            [uniform for row, ahead in zip(rows, predicted, strict=True) for uniform in row.uniforms(1 + len(ahead))],
            MOST_TOP_LOGPROBS if any(row.params.top_logprobs for row in rows) else 0,
        )
        start = 0
        for row, ahead in zip(rows, predicted, strict=True):
            for place, expected in enumerate((*ahead, None), start):
                row.say(choices, place)
                row.ended = finish_reason(row, self._stop_ids, self._text)
                if row.ended or row.token_ids[-1] != expected:
                    break
            start += 1 + len(ahead)

    def _leave(self) -> None:
        """Hand back the finished rows."""
        staying: list[DecodeJob] = []
        for row in self._rows:
            if row.ended is None:
                staying.append(row)
            elif row.result.set_running_or_notify_cancel():
                row.result.set_result(row.sampled(row.ended))
        self._arrange(staying)

    def _arrange(self, staying: Sequence[DecodeJob]) -> None:
        """Close the gaps, urgent rows first and rows of the same weights side by side."""
        if not staying:
            self._rows = []
            self._cache.clear()
            return
        slot_of = {id(row): slot for slot, row in enumerate(self._rows)}
        slots = [slot_of[id(row)] for row in staying]
        arranged = arrange([(not row.params.urgent, id(row.weights)) for row in staying], slots)
        moving = [index for index, slot in enumerate(slots) if arranged[index] != slot]
        if moving:
            length = max(staying[index].position for index in moving)
            self._cache.move([(slots[index], arranged[index]) for index in moving], length)
        self._rows = [staying[index] for index in sorted(range(len(staying)), key=arranged.__getitem__)]

    def _tensor(self, values: list[int]) -> Tensor:
        return torch.tensor(values, device=self._device)


def _segments(rows: Sequence[DecodeJob], predicted: Sequence[Sequence[int]]) -> list[Segment]:
    """The weights that each token is fed to, row by row."""
    runs = ([*run] for _, run in groupby(zip(rows, predicted, strict=True), key=lambda fed: id(fed[0].weights)))
    return [Segment(run[0][0].weights, sum(1 + len(ahead) for _, ahead in run)) for run in runs]


def finish_reason(
    row: DecodeJob, stop_ids: frozenset[int], text: Callable[[Sequence[int]], str]
) -> Literal["stop", "length"] | None:
    """Why the row is done after its last token, or None if it is not. `text` decodes tokens."""
    if row.token_ids[-1] in stop_ids:
        return "stop"
    if row.params.stop and _ends_in_a_stop_string(row, text):
        return "stop"
    return "length" if len(row.token_ids) >= row.params.max_tokens else None


def _ends_in_a_stop_string(row: DecodeJob, text: Callable[[Sequence[int]], str]) -> bool:
    """Whether the tail, long enough to hold any stop string, contains one."""
    tail = _TOKENS_PER_CHARACTER * max(map(len, row.params.stop)) + _SPARE_TOKENS
    ending = text(row.token_ids[-tail:])
    return any(stop in ending for stop in row.params.stop)


def arrange(groups: Sequence[tuple[bool, Hashable]], slots: Sequence[int]) -> list[int]:
    """New slots 0..n-1 for n rows, given each row's group and its present slot.

    Rows of a group get neighbouring slots, groups that say False before those that say True, and otherwise in the order
    of their first rows; a row that already stands among its group's slots stays there.
    """
    order = sorted(range(len(slots)), key=lambda row: slots[row])
    members: dict[tuple[bool, Hashable], list[int]] = {}
    for row in order:
        members.setdefault(groups[row], []).append(row)
    arranged = [0] * len(slots)
    start = 0
    for _, rows in sorted(members.items(), key=lambda group: group[0][0]):
        region = range(start, start + len(rows))
        free = sorted(set(region) - {slots[row] for row in rows}, reverse=True)
        for row in rows:
            arranged[row] = slots[row] if slots[row] in region else free.pop()
        start += len(rows)
    return arranged


@dataclass(frozen=True)
class Choices:
    """One token per row: its id, its logprob and the entropy of its distribution (nats, temperature 1, no top_p)."""

    tokens: list[int]  # (B,)
    logprobs: list[float]  # (B,)
    entropies: list[float]  # (B,)
    top_ids: list[list[int]]  # (B, top_logprobs), likeliest first
    top_logprobs: list[list[float]]  # (B, top_logprobs)


def choose(
    logits: Tensor,  # (B, V)
    temperatures: list[float],  # (B,), 0 takes the likeliest token
    top_ps: list[float],  # (B,)
    uniforms: list[float],  # (B,), one random number in [0, 1) per row, which decides the row's token
    top_logprobs: int = 0,
) -> Choices:
    """Choose a token for each row; a row's choice is bitwise independent of the other rows."""
    rows = len(logits) if logits.is_cuda else max(1, _LOGITS_AT_ONCE // logits.shape[-1])
    parts = [
        _choose(logits[some], temperatures[some], top_ps[some], uniforms[some], top_logprobs)
        for some in (slice(start, start + rows) for start in range(0, len(logits), rows))
    ]
    return Choices(
        tokens=[token for part in parts for token in part.tokens],
        logprobs=[logprob for part in parts for logprob in part.logprobs],
        entropies=[entropy for part in parts for entropy in part.entropies],
        top_ids=[ids for part in parts for ids in part.top_ids],
        top_logprobs=[values for part in parts for values in part.top_logprobs],
    )


def _choose(
    logits: Tensor, temperatures: list[float], top_ps: list[float], uniforms: list[float], top_logprobs: int
) -> Choices:
    logits = logits.float()
    logprobs = logits.log_softmax(-1)  # (B, V)
    probabilities = logprobs.exp()
    entropies = -(probabilities * logprobs.clamp_min(torch.finfo(torch.float32).min)).sum(-1)
    tokens = _tokens(logits, temperatures, top_ps, uniforms)  # (B,)
    chosen = logprobs.gather(-1, tokens[:, None])[:, 0]
    picked = _floats(torch.stack([tokens.double(), chosen.double(), entropies.double()]))
    top = logprobs.topk(min(top_logprobs, logits.shape[-1])) if top_logprobs else None
    return Choices(
        tokens=[int(token) for token in picked[0]],
        logprobs=picked[1],
        entropies=picked[2],
        top_ids=cast(list[list[int]], top.indices.tolist()) if top else [],  # pyright: ignore[reportUnknownMemberType]
        top_logprobs=_floats(top.values) if top else [],
    )


def _floats(matrix: Tensor) -> list[list[float]]:
    """The rows of a matrix; `tolist` itself is untyped."""
    return cast(list[list[float]], matrix.tolist())  # pyright: ignore[reportUnknownMemberType]


_COLDEST = 1e-30
"""A temperature so low that only the likeliest token is left, while logits divided by it are still finite."""


def _tokens(logits: Tensor, temperatures: list[float], top_ps: list[float], uniforms: list[float]) -> Tensor:
    """The chosen token of every row, (B,)."""
    tokens = logits.argmax(-1)
    warm = [row for row, temperature in enumerate(temperatures) if temperature > _COLDEST]
    if warm:
        divisors = logits.new_tensor([temperatures[row] for row in warm])[:, None]
        probabilities = (logits[warm] / divisors).softmax(-1)
        if narrowed := [index for index, row in enumerate(warm) if top_ps[row] < 1.0]:
            bounds = logits.new_tensor([top_ps[warm[index]] for index in narrowed])
            probabilities[narrowed] = _nucleus(probabilities[narrowed], bounds)
        tokens[warm] = _inverse_cdf(probabilities, [uniforms[row] for row in warm])
    return tokens


def _nucleus(probabilities: Tensor, top_p: Tensor) -> Tensor:
    """Zero all but the likeliest tokens whose probabilities reach `top_p` (B,), of which there is always one."""
    ranked, order = probabilities.sort(-1, descending=True)
    before = ranked.cumsum(-1) - ranked
    return torch.zeros_like(probabilities).scatter(
        -1, order, ranked.masked_fill((before >= top_p[:, None]) & (before > 0.0), 0.0)
    )


def _inverse_cdf(probabilities: Tensor, uniforms: list[float]) -> Tensor:
    """The first token at which the cumulative probability exceeds uniform · total, (B,).

    In float64, where uniform · total < total holds for every uniform below 1, so no token of probability 0 is chosen.
    """
    cumulative = probabilities.cumsum(-1, dtype=torch.float64)  # (B, V)
    thresholds = torch.tensor(uniforms, dtype=torch.float64, device=probabilities.device)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp_max(probabilities.shape[-1] - 1)
