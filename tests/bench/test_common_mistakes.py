"""Each mistake that docs/benchmarks.md lists is made here, and what is said of it stands there."""

import json
import re
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from claas.bench import __main__ as bench
from claas.bench import compare, probe
from claas.core.errors import ExitCode
from claas.results.benchmarks import BenchmarkFiles, BenchmarkItem, CompletedTask, PartialRun, TaskData, TaskResult
from claas.tiny import WEIGHTS_DIR
from tests.bench.benchmark_folders import item, summary, write_run
from tests.bench.test_probe import NOISE, Measured

ROOT = Path(__file__).parents[2]
HUB = ROOT / "tests" / "benchmarks" / "hub"
HALF = [1.0, 0.0] * 400

Ends = Callable[[Path], int]
"""Makes a mistake in an empty folder; how the command ends."""


def listed() -> dict[str, tuple[str, str]]:
    """By mistake: what is done about it, and the words that say so, `...` for what differs."""
    page = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    _, _, section = page.partition("\n## Common mistakes\n")
    rows = re.findall(r"^\| (.+?) \| (refused|warned of|said): `(.+)` \|$", section.partition("\n## ")[0], re.MULTILINE)
    return {mistake: (effect, message) for mistake, effect, message in rows}


def compared(*more: str, **changes: Any) -> Ends:
    """A decision between runs of which the candidate's row has these changes."""

    def made(folder: Path) -> int:
        write_run(folder, "a", {"mmlu": HALF})
        write_run(folder, "b", {"mmlu": HALF}, **changes)
        return compare.main([f"a={folder / 'a'}", f"b={folder / 'b'}", *more])

    return made


def compared_both(**changes: Any) -> Ends:
    """A decision between runs whose rows both have these changes."""

    def made(folder: Path) -> int:
        for name in ("a", "b"):
            write_run(folder, name, {"mmlu": HALF}, **changes)
        return compare.main([f"a={folder / 'a'}", f"b={folder / 'b'}"])

    return made


def compared_item(**changes: Any) -> Ends:
    """A decision between runs of one item, which the candidate was asked with these changes."""

    def made(folder: Path) -> int:
        for name in ("a", "b"):
            write_run(folder, name, {"mmlu": [1.0]})
        changed = BenchmarkItem.model_validate(item("mmlu", 0, 1.0, "digest-b").model_dump() | changes)
        BenchmarkFiles(folder).write_samples("b", "mmlu", [changed])
        return compare.main([f"a={folder / 'a'}", f"b={folder / 'b'}"])

    return made


def another_metric(folder: Path) -> int:
    for name in ("a", "b"):
        write_run(folder, name, {"mmlu": [1.0]})
    files = BenchmarkFiles(folder)
    result = TaskResult(task="mmlu", primary_metric="acc_norm", value=1.0, n_samples=1, all_metrics={"acc_norm": 1.0})
    files.write_summary("b", summary("b", {"mmlu": [1.0]}).model_copy(update={"task_results": [result]}))
    files.write_samples("b", "mmlu", [item("mmlu", 0, 1.0, "digest-b", scores={"acc": 1.0, "acc_norm": 1.0})])
    return compare.main([f"a={folder / 'a'}", f"b={folder / 'b'}"])


def few_items(folder: Path) -> int:
    few = [1.0] * 45 + [0.0] * 55
    write_run(folder, "a", {"mmlu": few})
    write_run(folder, "b", {"mmlu": [*few[5:], *few[:5]]})
    return compare.main([f"a={folder / 'a'}", f"b={folder / 'b'}"])


def dropped_within_noise(folder: Path) -> int:
    arguments = [f"baseline={folder / 'baseline.json'}"]
    assert probe.main(arguments, Measured(folder, {})) == ExitCode.COMPLETE
    return probe.main([*arguments, "adapter=eval-concise@20", "confirm=true"], Measured(folder, {"gsm8k": NOISE}))


def probed_otherwise(folder: Path) -> int:
    arguments = [f"baseline={folder / 'baseline.json'}"]
    assert probe.main(arguments, Measured(folder, {})) == ExitCode.COMPLETE
    return probe.main([*arguments, "limit=50"], Measured(folder, {}))


def asked(*more: str, prepare: Callable[[Path], object] = lambda folder: None) -> Ends:
    """One item of one task, asked of the embedded model; `prepare` gets the folder before."""

    def made(folder: Path) -> int:
        prepare(folder)
        places = [f"store_dir='{folder / 'store'}'", f"output_dir='{folder / 'results'}'", f"datasets_dir='{HUB}'"]
        return bench.main(["tasks=[hellaswag]", "limit=1", *places, *(each.format(folder=folder) for each in more)])

    return made


def leave_answers_of_other_weights(folder: Path) -> None:
    result = summary("claas-tiny", {"hellaswag": [1.0]}).task_results[0]
    data = TaskData(path="Rowan/hellaswag")
    completed = CompletedTask(
        fingerprint="other", result=result, metrics={}, num_fewshot=0, limit=1, version="1", data=data, seconds=1.0
    )
    files = BenchmarkFiles(folder / "results")
    files.root.mkdir()
    files.write_partial("claas-tiny", PartialRun(completed={"hellaswag": completed}))


def make_another_tokenizer(folder: Path) -> None:
    tokenizers, transformers = import_module("tokenizers"), import_module("transformers")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"word": 0}, unk_token="word"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=words, eos_token="word", unk_token="word")
    made.save_pretrained(folder / "tokenizer")


def copy_the_model(folder: Path) -> None:
    shutil.copytree(WEIGHTS_DIR, folder / "model")


def adapter(**config: Any) -> Callable[[Path], None]:
    """An adapter of the embedded model whose settings say otherwise."""

    def make(folder: Path) -> None:
        base = import_module("transformers").AutoModelForCausalLM.from_pretrained(WEIGHTS_DIR)
        settings = (
            import_module("tests.engines.peft_adapters").trained(base, folder / "lora", r=3) / "adapter_config.json"
        )
        settings.write_text(json.dumps(json.loads(settings.read_text()) | config))

    return make


WITH_LM_EVAL: dict[str, Ends] = {
    "a chat model asked without its chat template": asked("apply_chat_template=false"),
    "HumanEval in a chat": asked("tasks=[humaneval]"),
    "answers that are left of other weights": asked(prepare=leave_answers_of_other_weights),
    "a large model on a CPU": asked("base_model='{folder}/model'", prepare=copy_the_model),
    "an adapter of a base model of another shape": asked(
        "adapters=['{folder}/lora']", prepare=adapter(r=8, base_model_name_or_path="big/one")
    ),
    "an adapter of another base model": asked(
        "adapters=['{folder}/lora']", prepare=adapter(base_model_name_or_path="another/one")
    ),
    "the tokenizer of another model": asked("tokenizer='{folder}/tokenizer'", prepare=make_another_tokenizer),
}
MADE: dict[str, Ends] = {
    "`limit` or other shots with a suite": lambda folder: bench.main(["suite=standard", "limit=100"]),
    "a suite, or a task of no known name": lambda folder: bench.main(["suite=standart"]),
    "one run with chat template, one without": compared(apply_chat_template=False),
    "other shots": compared(num_fewshot={"mmlu": 0}),
    "another limit": compared(limits={"mmlu": 100}),
    "another release of lm-eval": compared(lm_eval_version="0.4.12"),
    "another version of the task": compared(task_versions={"mmlu": "2"}),
    "another system prompt, other examples": compared_item(prompt_hash="other"),
    "other rows": compared_item(doc_hash="other"),
    "`acc` beside `acc_norm`": another_metric,
    "another harness": compared(harness="lighteval"),
    "the same weights by two names": compared(digest="digest-a"),
    "models of two base models": compared(base_model="other"),
    "a decision on the first items": compared_both(limits={"mmlu": 800}),
    "a decision on a smoke test": compared_both(smoke=True),
    "a decision on rows of our own": compared_both(datasets={"mmlu": TaskData(path="cais/mmlu", fixture=True)}),
    "promoting on a smoke test": compared("promote=assistant", "claas_url=http://127.0.0.1:9", smoke=True),
    "a decision on few items": few_items,
    "a drop that is noise": dropped_within_noise,
    "a probe made otherwise than its baseline": probed_otherwise,
}


@pytest.mark.parametrize("mistake", [*MADE, *(pytest.param(each, marks=pytest.mark.bench) for each in WITH_LM_EVAL)])
def test_what_is_said_of_a_mistake_is_what_the_page_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mistake: str
) -> None:
    effect, message = listed()[mistake]
    code = (MADE | WITH_LM_EVAL)[mistake](tmp_path)
    assert (code == ExitCode.MISTAKE) == (effect == "refused")
    told = capsys.readouterr()
    said = " ".join((told.err if effect != "said" else told.out).split())
    assert re.search(".*".join(map(re.escape, message.split("..."))), said), said


def test_every_mistake_of_the_page_is_made() -> None:
    assert listed().keys() == MADE.keys() | WITH_LM_EVAL.keys()
