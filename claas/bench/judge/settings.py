"""Which model judges, how it is asked, and what it may cost."""

from dataclasses import dataclass

from claas.core.configuration import check_limits, setting
from claas.core.errors import InvalidInput
from claas.eval.stacks.http_client import require_address

KEY_VARIABLE = "JUDGE_API_KEY"


@dataclass
class JudgeSettings:
    """An OpenAI-compatible chat endpoint. Its key stands in the environment and nowhere else."""

    base_url: str | None = setting(None, "its address as OpenAI clients take it, such as https://api.openai.com/v1")
    model: str | None = setting(None, "the model that judges, as the endpoint calls it")
    key_variable: str = setting(KEY_VARIABLE, "the environment variable that holds the key; unset: none is sent")
    prompt: str | None = setting(None, "file with a template of your own; null: claas/bench/judge/pairwise.txt")
    temperature: float | None = setting(0.0, "null: the endpoint's own", low=0.0, high=2.0)
    seed: int = setting(0, "sent along with every request")
    max_tokens: int = setting(1024, "bound of a reply, thinking included", low=1)
    max_tokens_field: str = setting(
        "max_tokens", "what the endpoint calls that bound", choices=("max_tokens", "max_completion_tokens")
    )
    max_concurrency: int = setting(8, "requests in flight", low=1)
    request_timeout_s: float = setting(
        120.0, "seconds that a request may take before it is sent again", low=0.0, above=True
    )
    retry_for_s: float = setting(120.0, "seconds for which a request that fails is sent again", low=0.0)

    def __post_init__(self) -> None:
        check_limits(self, "judge.")

    def endpoint(self) -> tuple[str, str]:
        """Where to ask, and which model; `InvalidInput` where either is not given."""
        if not self.base_url or not self.model:
            missing = "model" if self.base_url else "base_url"
            raise InvalidInput(
                f"the judge's {missing} is not set: it is a model behind an OpenAI-compatible endpoint, as in "
                "judge.base_url=http://127.0.0.1:8000/v1 judge.model=my-judge, or base_url and model of win_rate in a "
                "metrics.yaml"
            )
        require_address("the judge's base_url", self.base_url, self.key_variable)
        return self.base_url, self.model

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
