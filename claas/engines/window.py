"""What fits a model's window, said alike wherever it is found out."""

from claas.core.errors import PromptTooLong


def require_window(prompt_tokens: int, answer_tokens: int, *, window: int, base_model: str) -> None:
    """Raise `PromptTooLong` where a prompt with so many tokens after it is beyond the window."""
    if prompt_tokens + answer_tokens > window:
        raise PromptTooLong(
            f"the prompt has {prompt_tokens} tokens, which with {answer_tokens} more is beyond the window of "
            f"{window} tokens of {base_model}; send a shorter one"
        )
