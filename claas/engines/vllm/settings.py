"""Settings of the vLLM engine, from the API's configuration or else from the environment."""

from typing import Protocol

from claas.engines.base import EngineSettings

URL_VARIABLE = "CLAAS_VLLM_URL"
"""The address of a running server."""

KEY_VARIABLE = "CLAAS_VLLM_API_KEY"
"""The key that it was started with (`--api-key`)."""

COMMAND_VARIABLE = "CLAAS_VLLM_COMMAND"
"""The program that starts a server."""


class VllmSettings(EngineSettings, Protocol):
    """The settings that this engine reads from the API's configuration."""

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
