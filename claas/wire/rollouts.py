"""`POST /v1/rollouts/resolve`: which recorded answer showed this text."""

from claas.wire.base import Body


class ResolveRequest(Body):
    """A text as a person saw it, and which of several answers that read alike is meant; the latest of those left.

    Thinking and white space do not matter. `prompt`: it was given to this, or to a last user turn that contains this: a
    gateway may have put something around what a person wrote. `model`: these weights gave it (`eval-concise@7`).
    """

    text: str
    prompt: str | None = None
    model: str | None = None


class Sampling(Body):
    """How an answer was sampled. `temperature` 0 is greedy. A `seed` of None is one that the engine drew itself."""

    temperature: float
    top_p: float
    seed: int | None
    max_tokens: int


class Rollout(Body):
    """One sampled answer as this API recorded it. T = number of sampled tokens.

    `token_ids` and `logprobs` (nats) are the sampler's own; `model` is `name@version`, `digest` that of the weights.
    `messages` are what the model read: where the prompt did not fit, `truncated_prompt_tokens` had been cut from them.
    `sampling` is None in records of earlier versions.
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
    sampling: Sampling | None = None
