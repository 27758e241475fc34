"""A chat endpoint beside the stack, that of a judge or of a user played by a model: how it is reached, what it said."""

from dataclasses import dataclass

from claas.core.configuration import setting
from claas.results.records import Record


@dataclass
class EndpointSettings:
    """An OpenAI-compatible chat endpoint. Its key stands in the environment and nowhere else."""

    base_url: str | None = setting(None, "its address as OpenAI clients take it, such as https://api.openai.com/v1")
    model: str | None = setting(None, "the model that is asked, as the endpoint calls it")
    max_tokens: int = setting(1024, "bound of a reply, thinking included", low=1)
    max_tokens_field: str = setting(
        "max_tokens", "what the endpoint calls that bound", choices=("max_tokens", "max_completion_tokens")
    )
    max_concurrency: int = setting(8, "requests in flight", low=1)
    request_timeout_s: float = setting(
        120.0, "seconds that a request may take before it is sent again", low=0.0, above=True
    )
    retry_for_s: float = setting(120.0, "seconds for which a request that fails is sent again", low=0.0)


class EndpointReply(Record):
    """A reply of an endpoint: a line of its log.

    `asked` is the sha256 of the request and of where it was sent: the same one is never sent again. `raw` is what was
    said. `model` is what the endpoint calls itself; the tokens are None where it does not count them.
    """

    asked: str
    raw: str
    model: str
    prompt_tokens: int | None
    completion_tokens: int | None
