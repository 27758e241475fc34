"""What the gateway is told, and what it is refused to be told."""

import json
from pathlib import Path
from typing import Any

import pytest

from claas.core.errors import InvalidInput
from claas.openclaw.configuration import ADAPTER_PER, GatewaySettings, configuration, configure
from claas.openclaw.install import VERSIONS
from claas.results.settings import EvalConfig


def agent(settings: GatewaySettings) -> dict[str, Any]:
    return configuration(settings)["agents"]["defaults"]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_request_names_the_alias_that_the_harness_points(version: str) -> None:
    settings = GatewaySettings(version=version, api_url="http://127.0.0.1:8081/v1", temperature=0.2, max_tokens=64)
    told = configuration(settings)
    provider = told["models"]["providers"]["vllm"]
    assert provider["baseUrl"] == "http://127.0.0.1:8081/v1"
    assert [model["id"] for model in provider["models"]] == [EvalConfig().openclaw_alias] == ["claas"]
    assert agent(settings)["model"] == {"primary": "vllm/claas"}
    assert agent(settings)["models"] == {"vllm/claas": {"params": {"temperature": 0.2, "maxTokens": 64}}}
    assert told["gateway"]["bind"] == "loopback"


def test_the_system_prompt_is_replaced_by_a_plugin_or_left_alone(tmp_path: Path) -> None:
    small = configuration(GatewaySettings(folder=tmp_path, system_prompt="Be kind."))["plugins"]
    assert small["entries"]["small-prompt"]["config"] == {"prompt": "Be kind."}
    assert configuration(GatewaySettings(system_prompt=None))["plugins"]["enabled"] is False
    assert list(small["entries"]) == small["allow"] == ["small-prompt"]
    configure(GatewaySettings(folder=tmp_path))
    (plugin,) = small["load"]["paths"]
    assert json.loads((Path(plugin) / "openclaw.plugin.json").read_text())["id"] == "small-prompt"
    assert "before_prompt_build" in (Path(plugin) / "index.js").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_people_teach_by_a_plugin_that_is_told_what_its_schema_asks_for(tmp_path: Path, version: str) -> None:
    settings = GatewaySettings(
        version=version, folder=tmp_path, feedback=True, adapter_per="user", batch=4, system_prompt=None
    )
    told = configuration(settings)
    assert told["gateway"]["controlUi"]["enabled"] is True
    assert told["plugins"]["allow"] == ["claas-feedback"]
    configure(settings)
    (folder,) = told["plugins"]["load"]["paths"]
    schema = json.loads((Path(folder) / "openclaw.plugin.json").read_text())["configSchema"]
    given = told["plugins"]["entries"]["claas-feedback"]["config"]
    assert given.keys() == schema["properties"].keys()
    assert given["adapterPer"] in schema["properties"]["adapterPer"]["enum"] == list(ADAPTER_PER)
    assert (given["adapter"], given["alias"], given["batch"]) == ("openclaw/claas", "claas", 4)
    assert "claas-feedback" not in configuration(GatewaySettings(version=version))["plugins"]["entries"]


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OPENCLAW_GATEWAY_TOKEN", "CLAAS_API_KEY"):
        monkeypatch.setenv(variable, "do-not-tell")
    told = json.loads(configure(GatewaySettings(folder=tmp_path)).read_text())
    assert told["gateway"]["auth"] == {"mode": "token"}
    assert "apiKey" not in told["models"]["providers"]["vllm"]
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "do-not-tell" in path.read_text()]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"version": "2020.1.1"}, "unknown OpenClaw version '2020.1.1'; known: 2026.2.25, 2026.9.6"),
        ({"port": 0}, "port must be >= 1"),
        ({"temperature": 3.0}, "temperature must be >= 0 and <= 2"),
        ({"max_tokens": 0}, "max_tokens must be >= 1"),
        ({"concurrency": 0}, "concurrency must be >= 1"),
        ({"alias": "a/b"}, "invalid alias 'a/b'"),
        ({"adapter_per": "nobody"}, "unknown adapter_per 'nobody'"),
        ({"batch": 0}, "batch must be >= 1"),
        ({"steps": 33}, "steps must be >= 1 and <= 32"),
        ({"wait_s": -1.0}, "wait_s must be >= 0"),
        ({"system_prompt": ""}, "system_prompt must say something"),
        ({"api_url": "127.0.0.1:8080"}, "api_url must be an address like"),
        ({"api_url": "http://user:key@host/v1"}, "api_url must be an address like"),
        ({"api_url": "http://:key@host/v1"}, "api_url must be an address like"),
        ({"api_url": "http://[::1:8080/v1"}, "api_url must be an address like"),
        ({"api_url": "http://host:port/v1"}, "api_url must be an address like"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_setting_that_cannot_work_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        GatewaySettings(**changes)
