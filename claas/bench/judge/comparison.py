"""Every pair of answers judged in both orders, and what that comes to."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile

from claas.bench.judge.answers import AnswerPair
from claas.bench.judge.judge import Judge
from claas.core.concurrency import together
from claas.eval.stacks.stack import LostAnswer
from claas.results.judge_results import JudgedBy
from claas.results.judging import ORDERS, JudgeCall, JudgedItem, Order


@dataclass(frozen=True)
class JudgedPairs:
    """The outcomes of a pass over all pairs, with the replies behind them.

    `lost` says why, for each call that no reply came to; `unasked` pairs were left when the budget was used up. The
    outcomes are those of the pairs before: what comes later and needs no call would be of another kind.
    """

    items: list[JudgedItem]
    calls: list[JudgeCall]
    lost: list[str]
    unasked: int


async def judge_pairs(judge: Judge, pairs: Iterable[AnswerPair], seed: int) -> JudgedPairs:
    """Judge every pair in both orders, with this seed."""
    every = await together(_judge_pair(judge, pair, seed) for pair in pairs)
    items = list(takewhile(lambda item: item is not None, (item for item, _, _ in every)))
    return JudgedPairs(
        items=[item for item in items if item is not None],
        calls=[call for _, calls, _ in every for call in calls],
        lost=[reason for _, _, lost in every for reason in lost],
        unasked=len(every) - len(items),
    )


async def _judge_pair(
    judge: Judge, pair: AnswerPair, seed: int
) -> tuple[JudgedItem | None, list[JudgeCall], list[str]]:
    tie = pair.tie()
    if tie is not None:
        return tie, [], []
    asked = await together(_rule(judge, pair, order, seed) for order in ORDERS)
    calls = [call for call in asked if isinstance(call, JudgeCall)]
    lost = [call for call in asked if isinstance(call, str)]
    if None in asked:
        return None, calls, lost
    return pair.outcome([call.verdict for call in calls]), calls, lost


async def _rule(judge: Judge, pair: AnswerPair, order: Order, seed: int) -> JudgeCall | str | None:
    """The reply; why there is none; or None where it was not asked for."""
    message = judge.prompt.asking(*pair.ordered(order))
    try:
        return await judge.rule(pair.asked.id, order, seed, message)
    except LostAnswer as error:
        return str(error)


def judged_by(judge: Judge, calls: Iterable[JudgeCall]) -> JudgedBy:
    """Who judged, for the record."""
    base_url, model = judge.settings.endpoint()
    return JudgedBy(
        base_url=base_url,
        model=model,
        served=sorted({call.model for call in calls}),
        prompt=judge.prompt.name,
        prompt_sha256=judge.prompt.sha256,
        temperature=judge.settings.temperature,
        max_tokens=judge.settings.max_tokens,
        seed=judge.settings.seed,
    )
