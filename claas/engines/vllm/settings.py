"""What is said to the vLLM engine: by the API's configuration, and by the environment where that says nothing."""

from typing import Protocol

from claas.engines.base import EngineSettings

URL_VARIABLE = "CLAAS_VLLM_URL"
"""A server that runs."""

KEY_VARIABLE = "CLAAS_VLLM_API_KEY"
"""The key that it was started with (`--api-key`)."""

COMMAND_VARIABLE = "CLAAS_VLLM_COMMAND"
"""The program that starts a server."""


class VllmSettings(EngineSettings, Protocol):
    """What the configuration says to this engine."""

    @property
    def vllm_url(self) -> str | None: ...

    @property
    def vllm_command(self) -> str | None: ...

    @property
    def vllm_arguments(self) -> list[str]: ...

    @property
    def vllm_adapters(self) -> int: ...

    @property
    def vllm_max_lora_rank(self) -> int: ...

    @property
    def vllm_window(self) -> int | None: ...

    @property
    def vllm_timeout_s(self) -> float: ...

    @property
    def vllm_start_s(self) -> float: ...
