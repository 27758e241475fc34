"""Every setting of the gateway, checked once."""

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from claas.core.checks import alias_name, in_range
from claas.core.errors import InvalidInput
from claas.core.settings import DEFAULT_ALIAS
from claas.openclaw.release import DEFAULT_VERSION, release
from claas.wire.chat import DEFAULT_SYSTEM_PROMPT


@dataclass(frozen=True)
class GatewaySettings:
    """Which OpenClaw to start, where, and in front of what.

    `folder`: an absolute path, where it is installed and keeps its files. `api_url`: the API's OpenAI-compatible root.
    `alias`: the model id that every request names there. `system_prompt`: what stands in place of OpenClaw's own; None
    leaves that, 6,400 characters and more, which no small window holds. `temperature`, `max_tokens`: of every answer
    (2026.2.25; 2026.9.6 lets a request choose). `concurrency`: answers at once; more wait in the gateway.
    """

    version: str = DEFAULT_VERSION
    folder: Path = field(default_factory=lambda: Path(".openclaw").absolute())
    port: int = 18789
    api_url: str = "http://127.0.0.1:8080/v1"
    alias: str = DEFAULT_ALIAS
    system_prompt: str | None = DEFAULT_SYSTEM_PROMPT
    temperature: float = 0.7
    max_tokens: int = 400
    concurrency: int = 32

    def __post_init__(self) -> None:
        release(self.version)
        in_range("port", self.port, 1, 65535)
        in_range("temperature", self.temperature, 0.0, 2.0)
        in_range("max_tokens", self.max_tokens, 1)
        in_range("concurrency", self.concurrency, 1)
        alias_name(self.alias)
        if self.system_prompt == "":
            raise InvalidInput("system_prompt must say something; to leave OpenClaw's own, ask for that")
        if not _is_address(self.api_url):
            raise InvalidInput("api_url must be an address like http://127.0.0.1:8080/v1, without a name or a password")

    @property
    def installed(self) -> Path:
        """Folder of this version's programs."""
        return self.folder / self.version

    @property
    def runtime(self) -> Path:
        """Folder of what the gateway on this port reads and writes: configuration, workspace, sessions, log."""
        return self.installed / f"port-{self.port}"


def _is_address(value: str) -> bool:
    """Whether this is an http address that carries no secret, which would be written to a file."""
    try:
        url = urlsplit(value)
        url.port  # noqa: B018  # raises where it is none
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and "@" not in url.netloc
