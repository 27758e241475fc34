"""The hindsight prompt: the teacher's prompt, to which the user's feedback on the answer is appended."""

from collections.abc import Mapping, Sequence

from claas.core.errors import InvalidInput

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
