"""Short ways to talk to an engine."""

from collections.abc import Sequence
from dataclasses import replace

from claas.core.settings import TrainingConfig
from claas.engines.base import Engine
from claas.engines.types import Sample, SamplingParams, TrainingItem, Update, UpdateRequest, Weights

CONCISE = "Be more concise, keep responses under 3 sentences"
PROMPTS = (
    "Why is the sky blue?",
    "What is a volcano?",
    "How do bees make honey? Tell me everything that you know about it, step by step.",
    "hi",
    "Write a Python function that adds two numbers.",
    "What is gravity?",
    "Tell me about coffee.",
)


def user(text: str) -> tuple[dict[str, str], ...]:
    """A conversation of one user turn."""
    return ({"role": "user", "content": text},)


async def ask(
    engine: Engine,
    weights: Weights,
    prompt: str,
    max_tokens: int = 24,
    temperature: float = 0.0,
    top_p: float = 1.0,
    stop: tuple[str, ...] = (),
    seed: int | None = 0,
    top_logprobs: int = 0,
    prediction: str = "",
) -> Sample:
    """One answer to a user turn."""
    params = SamplingParams(max_tokens, temperature, top_p, stop, seed, top_logprobs, prediction)
    return await engine.sample(weights, user(prompt), params)


def unpredicted(sample: Sample) -> Sample:
    """The answer without what became of its prediction."""
    return replace(sample, accepted_prediction_tokens=0, rejected_prediction_tokens=0)


def items(samples: Sequence[Sample], prompts: Sequence[str], feedback: str = CONCISE) -> list[TrainingItem]:
    """The samples, each with the same feedback."""
    return [
        TrainingItem(user(prompt), sample.prompt_ids, sample.token_ids, sample.logprobs, feedback)
        for sample, prompt in zip(samples, prompts, strict=True)
    ]


async def teach(
    engine: Engine,
    lora_id: str,
    key: str,
    prompts: Sequence[str] = PROMPTS[:2],
    feedback: str = CONCISE,
    **config: float,
) -> Update:
    """One update on short answers sampled from the newest version."""
    weights = await engine.resolve(lora_id)
    samples = [await ask(engine, weights, prompt, temperature=0.7, seed=1) for prompt in prompts]
    training = TrainingConfig(teacher_top_k=20, **config)  # type: ignore[arg-type]  # ints and floats alike
    return await engine.update(UpdateRequest(lora_id, items(samples, prompts, feedback), training, key))
