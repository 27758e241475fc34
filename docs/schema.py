"""`python -m docs.schema`: writes configs/schema/, the JSON schemas of records and preferences."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from claas.core.settings import config_root
from claas.eval.config.catalog import PreferenceFile
from claas.results.manifest import Manifest
from claas.results.records import Baseline, Metadata, StepRecord
from claas.results.summary import Summary

FOLDER = config_root() / "schema"

MODELS: dict[str, tuple[str, type[BaseModel]]] = {
    "preference": ("preference/<name>.yaml", PreferenceFile),
    "config": ("config.json of a run", Manifest),
    "summary": ("summary.json of a run", Summary),
    "metadata": ("<preference>/metadata.json of a run", Metadata),
    "baseline": ("<preference>/baseline.json of a run", Baseline),
    "step": ("a line of <preference>/steps.jsonl of a run", StepRecord),
}


def schemas() -> dict[str, str]:
    """Every schema's file, by its name."""
    return {f"{name}.json": _schema(title, model) for name, (title, model) in MODELS.items()}


def _schema(title: str, model: type[BaseModel]) -> str:
    made: dict[str, Any] = {"$schema": "https://json-schema.org/draft/2020-12/schema", **model.model_json_schema()}
    return json.dumps(made | {"title": title}, indent=1, ensure_ascii=False) + "\n"


def write(folder: Path = FOLDER) -> None:
    """Replace them all."""
    folder.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
