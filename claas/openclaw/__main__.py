"""`python -m claas.openclaw`: installs OpenClaw where it is missing, configures it and runs it in the foreground."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from claas.core.errors import ClaasError, StackError
from claas.openclaw.configuration import configure
from claas.openclaw.install import install
from claas.openclaw.release import VERSIONS, release
from claas.openclaw.settings import GatewaySettings
from claas.openclaw.start import require_startable, start

MISTAKE, FAILED = 2, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 installed, 2 the user's mistake, 3 the installation or the start failed.

    Otherwise this process becomes the gateway, and its exit code is OpenClaw's own.
    """
    asked = _parser().parse_args(arguments)
    try:
        settings = _settings(asked)
        if not asked.install_only:
            require_startable(settings, os.environ)
        installed = install(release(settings.version), settings.installed)
        configuration = configure(settings)
        if asked.install_only:
            print(f"OpenClaw {settings.version} is installed; its configuration is {configuration}")
            return 0
        print(
            f"OpenClaw {settings.version} in front of {settings.api_url} at http://127.0.0.1:{settings.port}",
            flush=True,
        )
        start(settings, installed, configuration, os.environ)
    except ClaasError as error:
        print(f"claas.openclaw: {error}", file=sys.stderr)
        return FAILED if isinstance(error, StackError) else MISTAKE


def _settings(asked: argparse.Namespace) -> GatewaySettings:
    chosen = {field.name: getattr(asked, field.name) for field in fields(GatewaySettings)}
    chosen["folder"] = asked.folder.absolute()
    if asked.own_system_prompt:
        chosen["system_prompt"] = None
    return GatewaySettings(**chosen)


def _parser() -> argparse.ArgumentParser:
    default = GatewaySettings()
    parser = argparse.ArgumentParser(
        prog="python -m claas.openclaw",
        description="Install an OpenClaw gateway from npm, configure it in front of a CLaaS API, and run it in the "
        "foreground. The environment variable OPENCLAW_GATEWAY_TOKEN holds the token that it wants, CLAAS_API_KEY the "
        "key that the API wants, if any.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--version", default=default.version, help=f"one of {', '.join(VERSIONS)}")
    add("--folder", type=Path, default=default.folder, help="where it is installed and keeps its files")
    add("--port", type=int, default=default.port, help="on 127.0.0.1")
    add("--api-url", default=default.api_url, help="the API, as this machine reaches it")
    add("--alias", default=default.alias, help="the model that it asks the API for: the harness' openclaw_alias")
    add("--temperature", type=float, default=default.temperature, help="of every answer (2026.2.25)")
    add("--max-tokens", type=int, default=default.max_tokens, help="bound of every answer (2026.2.25)")
    add("--concurrency", type=int, default=default.concurrency, help="answers at once")
    add("--system-prompt", default=default.system_prompt, help="said in place of OpenClaw's own")
    add("--own-system-prompt", action="store_true", help="leave OpenClaw its own, of 6,400 characters and more")
    add("--install-only", action="store_true", help="do not start it")
    return parser


if __name__ == "__main__":
    sys.exit(main())
