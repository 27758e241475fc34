"""Secrets come from the environment and stay there: not in a file, a log line, a reply, nor a harness's run folder."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from claas.eval.__main__ import main
from tests.api.client import LORA, NAME
from tests.api.server_process import ROOT, served
from tests.eval.small_preferences import small_preferences

pytest.importorskip("torch")

SECRETS = {
    "CLAAS_API_KEY": "marked-claas-key",
    "CLAAS_TINKER_API_KEY": "marked-tinker-key",
    "MODAL_TOKEN_ID": "marked-modal-id",
    "MODAL_TOKEN_SECRET": "marked-modal-secret",
    "OPENCLAW_GATEWAY_TOKEN": "marked-gateway-token",
    "HF_TOKEN": "marked-hub-token",
}


def replies(url: str) -> list[httpx.Response]:
    """Every kind of reply, errors first: to those who have the key and to those who guess it."""
    key = {"Authorization": f"Bearer {SECRETS['CLAAS_API_KEY']}"}
    chat = {"model": NAME, "messages": [{"role": "user", "content": "Tell me about rain."}], "max_tokens": 8}
    with httpx.Client(base_url=url, timeout=60) as http:
        said = [http.get("/v1/models", headers={"Authorization": "Bearer marked-guess"}), http.get("/v1/models")]
        http.headers.update(key)
        said.append(http.post("/v1/lora/init", json={"lora_id": LORA, "seed": "many"}))
        said.append(http.post("/v1/lora/init", json={"lora_id": LORA}))
        said.append(http.post("/v1/chat/completions", json=chat))
        text = said[-1].json()["choices"][0]["message"]["content"]
        item = {"lora_id": LORA, "prompt": "Tell me about rain.", "response": text, "feedback": "Be brief."}
        said.append(http.post("/v1/feedback", json={"requests": [item]}, headers={"Idempotency-Key": "k"}))
        said.append(http.post("/v1/feedback", json={"requests": [{**item, "response": "never said"}]}))
        said.append(http.post("/v1/chat/completions", content=b"{", headers={"Content-Type": "application/json"}))
        said += [http.get(path) for path in ("/", "/health", "/v1/health", "/v1/dashboard", "/v1/nothing")]
    assert [reply.status_code for reply in said] == [401, 401, 422, 200, 200, 200, 404, 400, 200, 200, 200, 200, 404]
    return said


def arguments(url: str, folder: Path, run: str) -> list[str]:
    """A small run against the server at `url`."""
    chosen = ["preferences=[calm]", "num_steps=1", "batch_size=2", "max_tokens=8", "metrics=quick", "plots=false"]
    mine = ["--config-dir", str(small_preferences(folder / "mine", "calm"))]
    return [*mine, f"claas_url={url}", f"output_dir={folder / run}", *chosen]


def harness(url: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "claas.eval", *arguments(url, folder, "run")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_no_secret_reaches_a_file_a_log_or_a_reply(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(tmp_path, **SECRETS) as (process, url):
        said = replies(url)
        run = harness(url, tmp_path, **SECRETS)
        for name, value in {**SECRETS, "CLAAS_API_KEY": "marked-wrong-key"}.items():
            monkeypatch.setenv(name, value)
        refusal = main(arguments(url, tmp_path, "refused"))
        refused = capfd.readouterr()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, run.returncode, refusal) == (0, 0, 2), run.stderr + refused.err
    assert "CLAAS_API_KEY" in refused.err + refused.out
    heads = [f"{name}: {value}" for reply in said for name, value in reply.headers.items()]
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    spoken = [out, err, run.stdout, run.stderr, refused.out, refused.err, *heads, *(reply.text for reply in said)]
    assert {"rollouts.jsonl", "receipts.jsonl", "config.json", "steps.jsonl"} <= {path.name for path in written}
    assert not [text for text in spoken if "marked-" in text]
    assert not [path for path in written if b"marked-" in path.read_bytes()]
