"""A request's messages as the engine reads them, and how prompts are compared."""

from collections.abc import Mapping, Sequence

from claas.wire.chat import DEFAULT_SYSTEM_PROMPT, ChatMessage


def conversation(messages: Sequence[ChatMessage]) -> tuple[dict[str, str], ...]:
    """Plain-text turns; `developer` reads as `system`, and a system turn is put first when there is none."""
    turns = [{"role": _role(message.role), "content": message.text} for message in messages]
    if not any(turn["role"] == "system" for turn in turns):
        turns.insert(0, {"role": "system", "content": DEFAULT_SYSTEM_PROMPT})
    return tuple(turns)


def last_user_text(messages: Sequence[Mapping[str, str]]) -> str:
    """What the person wrote last; empty when no turn is theirs."""
    return next((turn["content"] for turn in reversed(messages) if turn["role"] == "user"), "")


def folded(text: str) -> str:
    """The text with every run of white space as one space."""
    return " ".join(text.split())


def _role(role: str) -> str:
    return "system" if role == "developer" else role
