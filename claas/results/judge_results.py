"""`judge.json`: what a comparison of two models by a judge came to, by which judge, and at what cost."""

from claas.results.judging import JudgedItem, WinRates
from claas.results.records import SCHEMA_VERSION, Record
from claas.results.reliability import Reliability


class JudgedBy(Record):
    """The judge: which model was asked where, and what `served` it, as the endpoint says itself.

    `prompt_sha256` is of the template and of how answers are quoted in it.
    """

    base_url: str
    model: str
    served: list[str]
    prompt: str
    prompt_sha256: str
    temperature: float | None
    max_tokens: int
    seed: int


class JudgeResult(WinRates):
    """How often `b` wins over `a`: the keys of win rates, what they are of, and how far they can be trusted.

    `calls` replies came, of `prompt_tokens` read and `completion_tokens` written as far as the endpoint counts them,
    for `cost_usd`, None where no prices were given. `lost_calls` were asked and not answered, which `reason` tells of
    the first. `unasked` items were left when the budget was used up, and what comes after the first of them is no part
    of the numbers; `unpaired` answers have no counterpart.
    """

    schema_version: int = SCHEMA_VERSION
    timestamp: str
    a: str
    b: str
    judge: JudgedBy
    reliability: Reliability
    calls: int
    lost_calls: int
    reason: str | None
    unasked: int
    unpaired: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    items: list[JudgedItem]
