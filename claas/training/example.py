"""One answer to learn from, and the hindsight prompt that its teacher sees."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from claas.core.errors import InvalidInput


@dataclass(frozen=True)
class TrainingExample:
    """One sampled response of T tokens, and the two prompts it is judged under.

    `logprobs` are the sampler's, in nats, under the weights that sampled. Raises `InvalidInput` where the parts do not
    fit together.
    """

    prompt_ids: tuple[int, ...]
    teacher_prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]  # (T,)
    logprobs: tuple[float, ...]  # (T,)

    def __post_init__(self) -> None:
        if not (self.prompt_ids and self.teacher_prompt_ids and self.token_ids):
            raise InvalidInput("a training item needs a prompt, a teacher prompt and a response, none of them empty")
        if len(self.logprobs) != len(self.token_ids):
            raise InvalidInput(f"{len(self.token_ids)} response tokens but {len(self.logprobs)} logprobs")
        for logprob in self.logprobs:
            if not math.isfinite(logprob):
                raise InvalidInput(f"the logprobs of a response must be finite, got {logprob!r}")

    @property
    def longest(self) -> int:
        """Tokens in the longer of the two sequences."""
        return max(len(self.prompt_ids), len(self.teacher_prompt_ids)) + len(self.token_ids)


_BLOCK = (
    "{prompt}\n\n=== HINDSIGHT CONTEXT ===\n"
    "[The following is a future user message. Use this to guide your answer to the user prompt.]\n{feedback}"
)


def with_hindsight(messages: Sequence[Mapping[str, str]], feedback: str, repetitions: int) -> list[dict[str, str]]:
    """A copy of `messages` whose last user turn ends in a hindsight block: `feedback`, `repetitions` lines of it.

    Raises `InvalidInput` when no turn has the role `user`.
    """
    turns = [dict(message) for message in messages]
    for turn in reversed(turns):
        if turn["role"] == "user":
            lines = "\n".join([feedback] * repetitions)
            turn["content"] = _BLOCK.format(prompt=turn["content"], feedback=lines)
            return turns
    raise InvalidInput("messages have no user turn, so there is nothing to append the feedback to")
