"""The judge: an endpoint that says which of two answers is better."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from claas.bench.judge.prompt import JudgePrompt, place_named
from claas.bench.judge.settings import JudgePrices, JudgeSettings, require_priced
from claas.core.errors import InvalidInput
from claas.eval.stacks.chat_endpoint import OF_ONE_REQUEST, Budget, ChatEndpoint, ReplyLog, open_endpoint
from claas.eval.stacks.http_client import Refused, RequestLost
from claas.eval.stacks.stack import LostAnswer
from claas.results.endpoint import EndpointReply
from claas.results.judging import JudgeCall, Order, Winner, winner


@dataclass(frozen=True)
class Judge:
    """Asks, and reads the verdict."""

    settings: JudgeSettings
    prompt: JudgePrompt
    endpoint: ChatEndpoint[JudgeCall]

    @property
    def budget(self) -> Budget:
        """What it may cost."""
        return self.endpoint.budget

    async def rule(self, item: str, order: Order, seed: int, message: str) -> JudgeCall | None:
        """The judge's reply to a message, from the record where it is there; None where the budget is used up.

        `LostAnswer`: none came. `InvalidInput`: the endpoint refuses, whatever is asked.
        """

        def made(reply: EndpointReply) -> JudgeCall:
            return JudgeCall(**dict(reply), item=item, order=order, seed=seed, verdict=_verdict(reply.raw, order))

        try:
            call = await self.endpoint.reply(message, seed=seed, temperature=self.settings.temperature, made=made)
        except RequestLost as error:
            raise LostAnswer(str(error)) from None
        except Refused as error:
            raise (LostAnswer if error.status in OF_ONE_REQUEST else InvalidInput)(str(error)) from None
        return call and call.model_copy(update={"item": item, "order": order, "verdict": _verdict(call.raw, order)})


def judgment_log(path: Path) -> ReplyLog[JudgeCall]:
    """`judgments.jsonl`: every reply that ever came."""
    return ReplyLog(path, JudgeCall)


@asynccontextmanager
async def open_judge(
    settings: JudgeSettings,
    log: ReplyLog[JudgeCall],
    *,
    prices: JudgePrices,
    budget_usd: float | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncGenerator[Judge, None]:
    """The judge of `settings`, what it has said before being in `log`."""
    settings.endpoint()
    require_priced(budget_usd, prices)
    budget = Budget(budget_usd, prices.cost_usd, settings.max_tokens, "budget_usd", " USD")
    async with open_endpoint(settings, log, budget, settings.key_variable, transport) as endpoint:
        yield Judge(settings, JudgePrompt.from_file(settings.prompt), endpoint)


def _verdict(raw: str, order: Order) -> Winner | None:
    return winner(place_named(raw), order)
