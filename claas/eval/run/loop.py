"""The loop of one preference: while one version is measured, the next one is already being trained."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from claas.eval.run.begin import begin
from claas.eval.run.preference_run import PreferenceRun
from claas.eval.run.step import measure, train
from claas.eval.stack import WrongWeights


async def run_preference(run: PreferenceRun) -> None:
    """Take the preference from wherever its records left it to its last planned step.

    `StackError` ends it in a state from which the same call goes on.
    """
    await begin(run)
    for step in range(run.recorded, run.config.num_steps + 1):
        await _both(train(run, step), measure(run, step - 1))


async def _both(update: Coroutine[Any, Any, None], measurement: Coroutine[Any, Any, None]) -> None:
    """Run both to their ends, and only then raise: a failed update does not throw away a measurement under way.

    Wrong weights are raised before anything else, which may well follow from them.
    """
    outcomes = await asyncio.gather(update, measurement, return_exceptions=True)
    for failure in sorted(filter(None, outcomes), key=lambda failure: not isinstance(failure, WrongWeights)):
        raise failure
