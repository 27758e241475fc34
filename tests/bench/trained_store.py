"""A store with an adapter that the embedded model was trained to."""

import asyncio
from pathlib import Path

from claas.core.settings import EMBEDDED, TrainingConfig
from claas.eval.stacks.open_stack import open_stack
from claas.results.settings import EvalConfig
from claas.wire.feedback import FeedbackItem


def train_calm(folder: Path, updates: int = 1) -> Path:
    """The folder, in which the adapter `calm` has so many versions after the first."""

    async def train() -> None:
        async with open_stack(EvalConfig(base_model=EMBEDDED), folder) as stack:
            newest = await stack.init_adapter("calm", seed=1)
            for number in range(updates):
                answer = await stack.answer(newest, "What is rain?", temperature=0.0, seed=1, max_tokens=16)
                item = FeedbackItem(
                    lora_id="calm",
                    prompt="What is rain?",
                    response=answer.text,
                    feedback="Be brief.",
                    training=TrainingConfig(steps_per_batch=1, learning_rate=1e-2),
                    rollout_id=answer.rollout_id,
                )
                await stack.give_feedback(newest, [item], key=f"calm-{number}")
                newest = await stack.newest("calm")

    asyncio.run(train())
    return folder
