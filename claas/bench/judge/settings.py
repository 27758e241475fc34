"""Which model judges, how it is asked, and what it may cost."""

from dataclasses import dataclass

from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput
from claas.eval.stacks.chat_endpoint import require_endpoint
from claas.results.endpoint import EndpointSettings

KEY_VARIABLE = "JUDGE_API_KEY"


@dataclass
class JudgeSettings(EndpointSettings):
    """The endpoint that judges."""

    key_variable: str = setting(KEY_VARIABLE, "the environment variable that holds the key; unset: none is sent")
    prompt: str | None = setting(None, "file with a template of your own; null: claas/bench/judge/pairwise.txt")
    temperature: float | None = setting(0.0, "null: the endpoint's own", low=0.0, high=2.0)
    seed: int = setting(0, "sent along with every request")

    def __post_init__(self) -> None:
        check_limits(self, "judge.")

    def endpoint(self) -> tuple[str, str]:
        """Where to ask, and which model; `InvalidInput` where either is not given."""
        example = (
            "judge.base_url=http://127.0.0.1:8000/v1 judge.model=my-judge, or base_url and model of win_rate in a "
            "metrics.yaml"
        )
        return require_endpoint("the judge's", self, self.key_variable, example)

    def identity(self, prompt_sha256: str) -> str:
        """What must not change where its verdicts are to be compared; how it is reached, and how fast, may."""
        return (
            f"{self.model} at {self.base_url}, temperature {self.temperature}, seed {self.seed}, at most "
            f"{self.max_tokens} tokens, prompt {prompt_sha256}"
        )


@dataclass
class JudgePrices:
    """US dollars per million tokens."""

    prompt: float = setting(0.0, "of tokens that the judge reads", low=0.0)
    completion: float = setting(0.0, "of tokens that the judge writes", low=0.0)

    def __post_init__(self) -> None:
        check_limits(self, "prices.")

    def cost_usd(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What so many tokens cost."""
        return (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6

    @property
    def known(self) -> bool:
        """Whether any price was given."""
        return self.prompt > 0 or self.completion > 0


def require_priced(budget_usd: float | None, prices: JudgePrices) -> None:
    """`InvalidInput` where a budget could not be kept, because nothing says what a token costs."""
    if budget_usd is not None and not prices.known:
        raise InvalidInput(
            "budget_usd needs prices, in dollars per million tokens, as in prices.prompt=2.5 prices.completion=10"
        )
