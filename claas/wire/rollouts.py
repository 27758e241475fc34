"""`POST /v1/rollouts/resolve`: which recorded answer showed this text."""

from claas.wire.base import Body


class ResolveRequest(Body):
    """A text as a person saw it; thinking and white space do not matter."""

    text: str


class Rollout(Body):
    """One sampled answer as this API recorded it. T = number of sampled tokens.

    `token_ids` and `logprobs` (nats) are the sampler's own; `model` is `name@version`, `digest` that of the weights.
    `messages` are what the model read: where the prompt did not fit, `truncated_prompt_tokens` had been cut from them.
    """

    id: str
    created: float
    model: str
    lora_id: str | None
    version: int
    digest: str
    messages: list[dict[str, str]]
    text: str
    finish_reason: str
    prompt_ids: list[int]
    token_ids: list[int]
    logprobs: list[float]
    mean_entropy: float | None
    truncated_prompt_tokens: int = 0
