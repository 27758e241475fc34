"""How much the local engine gains by working on requests together: ratios, measured in one run on one thread.

    python -m benchmarks.engine

CPU seconds of the process, the better of several rounds, so that other load on the machine matters little.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import torch

from claas.core.settings import EMBEDDED, TrainingConfig
from claas.engines.local.engine import LocalEngine
from claas.engines.local.model import LoadedModel
from claas.engines.local.versions import LocalStore
from claas.engines.types import AdapterSpec, SamplingParams, TrainingItem, UpdateRequest

ROWS = 16
REQUESTS = 48
TOKENS = 128
SCORED = 64
ROUNDS = 3
PROMPTS = [f"Tell me {count} things about the {thing}." for count in "23456789" for thing in ("sea", "moon")]
CONCISE = "Be more concise, keep responses under 3 sentences"


def user(text: str) -> tuple[dict[str, str], ...]:
    return ({"role": "user", "content": text},)


async def seconds(work: Callable[[], Awaitable[int]]) -> float:
    """CPU seconds per unit of what `work` says it did."""
    await work()
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        done = await work()
        best = min(best, (time.process_time() - start) / done)
    return best


async def main() -> None:
    base = LoadedModel.load(EMBEDDED)
    with tempfile.TemporaryDirectory() as folder:
        engine = LocalEngine(base, LocalStore(Path(folder)), max_batch_rows=ROWS, lock_timeout_s=60)
        try:
            await decoding(engine, base)
            await scoring(engine)
            await updating(engine, base)
        finally:
            await engine.close()


async def decoding(engine: LocalEngine, base: LoadedModel) -> None:
    weights = await engine.resolve(None)

    async def answer(index: int) -> int:
        messages = user(PROMPTS[index % len(PROMPTS)])
        return len((await engine.sample(weights, messages, SamplingParams(TOKENS, 1.0, seed=index))).token_ids)

    async def together() -> int:
        return sum(await asyncio.gather(*[answer(index) for index in range(REQUESTS)]))

    async def one_by_one() -> int:
        return sum([await answer(index) for index in range(ROWS)])

    async def transformers() -> int:
        return sum(generated(base, PROMPTS, TOKENS) for _ in range(REQUESTS // ROWS))

    fast, slow, plain = [await seconds(work) for work in (together, one_by_one, transformers)]
    print(f"decoding: {1 / fast:.0f} tokens/s with {ROWS} at once, {1 / slow:.0f} one at a time: {slow / fast:.2f} x")
    print(f"decoding: {1 / plain:.0f} tokens/s by transformers.generate, batch {ROWS}: {plain / fast:.2f} x")


def generated(base: LoadedModel, prompts: list[str], tokens: int) -> int:
    """Tokens up to each answer's end, by transformers' own batched decoding of left-padded prompts."""
    model: Any = base.model
    rows = [base.chat.prompt_ids(user(prompt)) for prompt in prompts]
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows])
    there = torch.tensor([[0] * (length - len(row)) + [1] * len(row) for row in rows])
    answers = model.generate(ids, attention_mask=there, max_new_tokens=tokens, do_sample=True, top_k=0)[:, length:]
    ends = (answers == base.chat.end_of_turn).int()
    return int(((ends.cumsum(-1) - ends) == 0).sum())


async def scoring(engine: LocalEngine) -> None:
    weights = await engine.resolve(None)
    jobs = [(user(PROMPTS[index % len(PROMPTS)]), "It is hot and wet. " * (1 + index % 4)) for index in range(SCORED)]

    async def together() -> int:
        return len(await asyncio.gather(*[engine.score(weights, *job) for job in jobs]))

    async def one_by_one() -> int:
        return len([await engine.score(weights, *job) for job in jobs])

    fast, slow = await seconds(together), await seconds(one_by_one)
    print(f"scoring: {fast * 1e3:.1f} ms each with {SCORED} at once, {slow * 1e3:.1f} one by one: {slow / fast:.2f} x")


async def updating(engine: LocalEngine, base: LoadedModel) -> None:
    weights = await engine.init_adapter(AdapterSpec("bench", rank=16, alpha=32))
    samples = [await engine.sample(weights, user(prompt), SamplingParams(TOKENS, seed=1)) for prompt in PROMPTS[:4]]
    items = [
        TrainingItem(user(prompt), sample.prompt_ids, sample.token_ids, sample.logprobs, CONCISE)
        for prompt, sample in zip(PROMPTS, samples, strict=False)
    ]
    keys = iter(range(1000))

    async def update() -> int:
        done = await engine.update(UpdateRequest("bench", items, TrainingConfig(teacher_top_k=20), str(next(keys))))
        return int(done.metrics["steps_per_batch_applied"])

    forward_and_backward = bare(base, [len(item.prompt_ids) + len(item.token_ids) for item in items])

    async def floor_of_a_step() -> int:
        forward_and_backward()
        return 1

    step, floor = await seconds(update), await seconds(floor_of_a_step)
    print(f"update: {step * 1e3:.0f} ms a step, a bare forward and backward {floor * 1e3:.0f} ms: {step / floor:.2f} x")


def bare(base: LoadedModel, lengths: list[int]) -> Callable[[], None]:
    """A forward and a backward pass over rows of these lengths, padded to the longest, and nothing else."""
    model: Any = base.share()
    embedding = model.get_input_embeddings()
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.long)

    def forward_and_backward() -> None:
        inputs = embedding(ids).requires_grad_(True)
        torch.autograd.backward(model(inputs_embeds=inputs, use_cache=False).logits.mean())

    return forward_and_backward


if __name__ == "__main__":
    asyncio.run(main())
