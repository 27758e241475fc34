"""Other harnesses ask the API as docs/interop.md says: the commands are its own, and the answers those of the adapter.

make interop
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import claas
from claas.bench.import_results import main as import_results
from claas.results.benchmarks import BenchmarkFiles
from tests.api.server_process import served
from tests.live.test_lm_eval import CHOICES, GENERATION, task_of

pytestmark = [pytest.mark.live, pytest.mark.slow]

ROOT = Path(claas.__file__).parents[1]
RECIPES = ROOT / "configs" / "bench" / "interop"
HUB = ROOT / "tests" / "benchmarks" / "hub"
CHAT = "/v1/chat/completions"


class Api:
    """The embedded model behind the API, with the adapter `calm`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._post("/v1/lora/init", {"lora_id": "calm"})

    def learn(self) -> None:
        """Make the adapter's next version."""
        question = "What is rain?"
        answer = self._chat("calm", question, 24)
        item = {
            "lora_id": "calm",
            "prompt": question,
            "response": answer["message"]["content"],
            "feedback": "Be brief.",
        }
        training = {"learning_rate": 1e-2, "steps_per_batch": 4}
        self._post("/v1/feedback", {"requests": [{**item, "rollout_id": answer["rollout_id"], "training": training}]})

    def answer(self, model: str, question: str, max_tokens: int) -> str:
        """What the model answers, as the other harnesses ask it."""
        return self._chat(model, question, max_tokens)["message"]["content"]

    def _chat(self, model: str, question: str, max_tokens: int) -> dict[str, Any]:
        messages = [{"role": "user", "content": question}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": max_tokens}
        return self._post(CHAT, {**body, "stop": ["Question:"]})["choices"][0]

    def _post(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return httpx.post(f"{self.url}{path}", json=body, timeout=120).raise_for_status().json()


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with served(tmp_path_factory.mktemp("api")) as (_, url):
        api = Api(url)
        api.learn()
        api.learn()
        yield api


def environment(name: str) -> Path:
    """The environment that has this harness."""
    folder = ROOT / ".cache" / "interop" / name
    if not (folder / ".installed").is_file():
        pytest.skip(f"{name} is not installed; install it with: make interop")
    return folder


def documented(program: str) -> str:
    """The commands of the page that use `program`."""
    page = (ROOT / "docs" / "interop.md").read_text(encoding="utf-8")
    (found,) = (
        block for block in re.findall(r"^```bash\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if program in block
    )
    return found


def here(text: str, api: Api, version: int) -> str:
    """What the page or a recipe says, of this version of `calm` at this API, and of files by their whole path."""
    for documented, replaced in {
        "http://127.0.0.1:8080": api.url,
        "eval-concise@20": f"calm@{version}",
        ".cache/": f"{ROOT}/.cache/",
        "configs/": f"{ROOT}/configs/",
        "claas/tiny": f"{ROOT}/claas/tiny",
        "DATASETS_DIR=hub": f"DATASETS_DIR={HUB}",
    }.items():
        text = text.replace(documented, replaced)
    return text


def run(commands: str, folder: Path, api: Api, version: int, **variables: str) -> str:
    """What the page's commands say, asked in `folder` for this version of `calm`, with no network."""
    inherited = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CLAAS_API_KEY")}
    done = subprocess.run(
        ["bash", "-ec", here(commands, api, version)],
        cwd=folder,
        env={**inherited, "HOME": str(folder), "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.mark.parametrize(("place", "task"), [(0, CHOICES), (1, GENERATION)], ids=["completions", "chats"])
def test_lm_eval_runs_by_its_own_command(api: Api, tmp_path: Path, place: int, task: str) -> None:
    pytest.importorskip("lm_eval")
    task_of(tmp_path, task, [{"question": "Hello!", "expected": "Hi.", "choices": ["Hi.", "No."], "answer": 0}])
    commands = documented("lm-eval run").split("lm-eval run ")[1:]
    name = task.split()[1]
    command = re.sub(r"--tasks \w+", f"--include_path . --tasks {name}", commands[place])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    said = run(f"lm-eval run {command}", tmp_path, api, 1, PATH=path)
    (results,) = tmp_path.glob("results/lm-eval/*/results_*.json")
    assert json.loads(results.read_text())["config"]["model_args"]["model"] == "calm@1", said


def test_lighteval_scores_what_each_version_answers(api: Api, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    tasks = environment("lighteval").glob("lib/python3*/site-packages/lighteval/tasks/tasks")
    (next(tasks) / "tinyBenchmarks.pkl").touch()  # else it is downloaded at that moment
    rows = [json.loads(line) for line in (HUB / "openai" / "gsm8k" / "main" / "test.jsonl").read_text().splitlines()]
    questions = [f"Question: {row['question']}\nAnswer:" for row in rows]
    texts: list[list[str]] = []
    for version in (1, 2):
        assert "extractive_match" in run(documented("bin/lighteval"), tmp_path, api, version)
        (results,) = tmp_path.glob(f"results/lighteval/results/openai/calm@{version}/results_*.json")
        assert 0 <= json.loads(results.read_text())["results"]["local_gsm8k|0"]["extractive_match"] <= 1
        (details,) = tmp_path.glob(f"results/lighteval/details/openai/calm@{version}/*/details_*.parquet")
        answers = parquet.read_table(details).to_pylist()
        texts.append([answer["model_response"]["text"][0] for answer in answers])
        asked = [answer["doc"]["query"] for answer in answers]
        assert sorted(asked) == sorted(questions)
        assert texts[-1] == [api.answer(f"calm@{version}", question, 256) for question in asked]
    assert texts[0] != texts[1]
    assert imported(tmp_path / "results" / "lighteval") == {
        "openai/calm@1": "local_gsm8k",
        "openai/calm@2": "local_gsm8k",
    }
    assert "4/4 samples are cached" in run(documented("bin/lighteval"), tmp_path, api, 2)


def test_helm_scores_what_the_version_answers(api: Api, tmp_path: Path) -> None:
    environment("helm")
    test = HUB / "cais" / "mmlu" / "astronomy" / "test.jsonl"
    rows = [json.loads(line) for line in test.read_text().splitlines()]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(as_helm_reads(row)) + "\n" for row in rows))
    copy, *commands = documented("helm-run").splitlines()
    run(copy, tmp_path, api, 2)
    for path in (tmp_path / "helm").glob("*.yaml"):
        path.write_text(here(path.read_text(), api, 2))
    run("\n".join(commands), tmp_path, api, 2)
    (folder,) = (tmp_path / "results" / "helm" / "runs" / "mine").glob("custom_mcqa*")
    states = json.loads((folder / "scenario_state.json").read_text())["request_states"]
    assert len(states) == len(rows)
    for state in states:
        asked = state["request"]
        answer = api.answer("calm@2", asked["prompt"], asked["max_tokens"])
        assert state["result"]["completions"][0]["text"] == answer
    stats = json.loads((folder / "stats.json").read_text())
    means = {stat["name"]["name"]: stat["mean"] for stat in stats if stat["count"]}
    assert means["num_instances"] == len(rows)
    assert 0 <= means["exact_match"] <= 1
    (task,) = imported(tmp_path / "results" / "helm").values()
    assert task.startswith("custom_mcqa,")


def imported(results: Path) -> dict[str | None, str]:
    """The task of each adapter whose results are in a folder, as our own rows have it."""
    rows = results.parent / f"imported-{results.name}"
    assert import_results([str(results), "-o", str(rows), "--base-model", "claas-tiny", "--fixture"]) == 0
    return {run.adapter: next(iter(run.limits)) for run in BenchmarkFiles(rows).read_runs().runs}


def as_helm_reads(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of MMLU as a question for HELM's `custom_mcqa`."""
    references = [
        {"output": {"text": choice}, "tags": ["correct"] if place == row["answer"] else []}
        for place, choice in enumerate(row["choices"])
    ]
    return {"input": {"text": row["question"]}, "references": references, "split": "test"}


def test_skypilot_reads_the_task(tmp_path: Path) -> None:
    task = yaml.safe_load((RECIPES / "sky" / "bench.yaml").read_text())
    (tmp_path / "data" / "evals" / "mine" / "stack").mkdir(parents=True)  # what is to be copied has to be there
    program = "import sky, sys; print(sky.Task.from_yaml(sys.argv[1]).run)"
    done = subprocess.run(
        [environment("sky") / "bin" / "python", "-c", program, RECIPES / "sky" / "bench.yaml"],
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert task["run"].strip() in done.stdout
