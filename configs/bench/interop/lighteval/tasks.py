"""GSM8K for lighteval, read from a folder: `lighteval endpoint litellm MODEL 'local_gsm8k|0' --custom-tasks tasks.py`.

`DATASETS_DIR` is the folder, with `openai/gsm8k` in it as `hf download --repo-type dataset` makes it.
"""

import os
from pathlib import Path

from lighteval.metrics.metrics import Metrics
from lighteval.tasks.lighteval_task import LightevalTaskConfig
from lighteval.tasks.requests import Doc


def question(line: dict[str, str], task_name: str) -> Doc:
    """A row as the model is asked it."""
    query = f"Question: {line['question']}\nAnswer:"
    return Doc(task_name=task_name, query=query, choices=[f" {line['answer']}"], gold_index=0)


TASKS_TABLE = [
    LightevalTaskConfig(
        name="local_gsm8k",
        prompt_function=question,
        hf_repo=str(Path(os.environ["DATASETS_DIR"]).expanduser().resolve() / "openai" / "gsm8k"),
        hf_subset="main",
        hf_avail_splits=["train", "test"],
        evaluation_splits=["test"],
        few_shots_split="train",
        few_shots_select="sequential",
        generation_size=256,
        metrics=[Metrics.expr_gold_metric],
        stop_sequence=["Question:"],
        version=0,
    )
]
