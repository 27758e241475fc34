"""lm-evaluation-harness scores and generates through the API, and its numbers are those of transformers.

pip install -c constraints.txt -e '.[local,dev,live]' && python -m pytest -m live tests/live/test_lm_eval.py
"""

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.server_process import served

pytestmark = pytest.mark.live

if find_spec("lm_eval") is None:
    pytest.skip("lm-eval is not installed; install it with: pip install 'claas[live]'", allow_module_level=True)

MODEL = "claas-tiny"
CHOICES = """
task: small_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: "{{{{choices}}}}"
target_delimiter: " "
metric_list: [{{metric: acc}}]
"""
GENERATION = """
task: small_generation
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{expected}}}}"
generation_kwargs: {{until: ["\\n\\n"], max_gen_toks: 40, temperature: 0.0, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
QUESTIONS: list[dict[str, Any]] = [
    {"question": "The sky is", "choices": ["blue", "made of cheese", "very old 🙂"], "answer": 0},
    {"question": "Bees make", "choices": ["honey", "computers and telephones"], "answer": 0},
    {"question": "Water is", "choices": ["dry", "wet"], "answer": 1},
]
PROMPTS = ["Hello!", "What is gravity?", "Tell me about coffee."]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(tmp_path_factory.mktemp("lm-eval")) as (_, url):
        httpx.get(f"{url}/health", timeout=60).raise_for_status()
        yield url


@pytest.fixture(scope="module")
def reference() -> tuple[Any, Any]:
    """The shipped model and tokenizer as transformers has them, in the precision that the API computes in."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from claas.tiny import WEIGHTS_DIR

    model = AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(WEIGHTS_DIR)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.setenv(variable, "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def task_of(folder: Path, task: str, rows: list[dict[str, Any]]) -> str:
    """The path of a task's YAML, its data beside it."""
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path = folder / "task.yaml"
    path.write_text(task.format(data=data))
    return str(path)


def evaluated(kind: str, address: str, task: str, settings: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """What lm-eval reports of one task."""
    import lm_eval.models  # the built-in names are known from then on  # noqa: F401
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    return simple_evaluate(
        model=kind,
        model_args={"model": MODEL, "base_url": address, "num_concurrent": 4, "max_retries": 1, **settings},
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
        **more,
    )


def weights_dir() -> str:
    from claas.tiny import WEIGHTS_DIR

    return str(WEIGHTS_DIR)


LOCAL = {"tokenizer": weights_dir(), "tokenizer_backend": "huggingface"}
REMOTE = {"tokenizer_backend": "remote"}


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize(
    "settings",
    [{**LOCAL, "tokenized_requests": True}, {**LOCAL, "tokenized_requests": False}, REMOTE],
    ids=["token ids", "texts", "the API's tokenizer"],
)
def test_loglikelihoods_are_those_of_transformers(
    url: str, reference: tuple[Any, Any], tmp_path: Path, settings: dict[str, Any], batch_size: int
) -> None:
    task = task_of(tmp_path, CHOICES, QUESTIONS)
    report = evaluated("local-completions", f"{url}/v1/completions", task, settings, batch_size=batch_size)
    samples = report["samples"]["small_choice"]
    assert len(samples) == len(QUESTIONS)
    checked = 0
    for sample in samples:
        for (context, continuation), ((told, greedy),) in zip(sample["arguments"], sample["resps"], strict=True):
            expected, expected_greedy = loglikelihood(*reference, context, continuation)
            assert (told, greedy) == (pytest.approx(expected, abs=1e-4), expected_greedy)
            checked += 1
    assert checked == sum(len(row["choices"]) for row in QUESTIONS)
    assert 0.0 <= report["results"]["small_choice"]["acc,none"] <= 1.0


@pytest.mark.parametrize(
    "settings",
    [LOCAL, REMOTE, {"tokenizer_backend": None}],
    ids=["huggingface", "the API's tokenizer", "no tokenizer"],
)
def test_text_is_generated_as_transformers_does(
    url: str, reference: tuple[Any, Any], tmp_path: Path, settings: dict[str, Any]
) -> None:
    rows = [{"question": prompt, "expected": generated(*reference, prompt)} for prompt in PROMPTS]
    task = task_of(tmp_path, GENERATION, rows)
    report = evaluated("local-completions", f"{url}/v1/completions", task, settings)
    assert report["results"]["small_generation"]["exact_match,none"] == 1.0


def test_chats_are_answered(url: str, tmp_path: Path) -> None:
    def answer(prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        body = {"model": MODEL, "messages": messages, "temperature": 0, "max_tokens": 40, "stop": ["\n\n"]}
        reply = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=60).raise_for_status().json()
        return reply["choices"][0]["message"]["content"]

    task = task_of(tmp_path, GENERATION, [{"question": prompt, "expected": answer(prompt)} for prompt in PROMPTS])
    address = f"{url}/v1/chat/completions"
    report = evaluated("local-chat-completions", address, task, {"tokenizer_backend": None}, apply_chat_template=True)
    assert report["results"]["small_generation"]["exact_match,none"] == 1.0


def loglikelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> tuple[float, bool]:
    """Nats of `continuation` after `context`, by one forward pass, and whether it is the greedy one."""
    import torch

    ids = tokenizer.encode(context + continuation)
    start = len(tokenizer.encode(context))
    with torch.inference_mode():
        logprobs = model(torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
    targets = torch.tensor(ids[start:])
    total = float(logprobs.gather(-1, targets[:, None]).sum())
    return total, bool((logprobs.argmax(-1) == targets).all())


def generated(model: Any, tokenizer: Any, prompt: str) -> str:
    """40 greedy tokens after `prompt`, up to a blank line."""
    import torch

    ids = torch.tensor([tokenizer.encode(prompt)])
    stops = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    with torch.inference_mode():
        whole = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False, eos_token_id=stops
        )
    return tokenizer.decode(whole[0, ids.shape[1] :], skip_special_tokens=True).split("\n\n")[0]
