"""The JSON schemas are made of the models, hold for what ships, and refuse what the loader refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from claas.core.errors import InvalidInput
from claas.core.settings import config_root
from claas.eval.config.catalog import read_preference
from claas.results.__main__ import main
from docs.schema import FOLDER, MODELS, schemas

EXAMPLES = Path(__file__).resolve().parents[1] / "data" / "examples"
PREFERENCES = sorted((config_root() / "preference").glob("*.yaml"))


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.json").read_text()))


def test_schemas_are_up_to_date() -> None:
    """`python -m docs.schema` writes them anew."""
    written = {path.name: path.read_text() for path in FOLDER.iterdir()}
    assert written == schemas()


@pytest.mark.parametrize("name", MODELS)
def test_each_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(json.loads((FOLDER / f"{name}.json").read_text()))


@pytest.mark.parametrize("path", PREFERENCES, ids=lambda path: path.stem)
def test_shipped_preferences_fit_the_schema_that_they_name(path: Path) -> None:
    validator("preference").validate(yaml.safe_load(path.read_text()))
    first = path.read_text().partition("\n")[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == (FOLDER / "preference.json").resolve()


BROKEN: dict[str, Callable[[dict[str, Any]], object]] = {
    "a key is misspelt": lambda it: it.update(heldout_prompt=[]),
    "a key is missing": lambda it: it.pop("probe_prompts"),
    "a text is blank": lambda it: it.update(feedback_string="  "),
    "a verifier is no class": lambda it: it.update(verifier={"target": "x"}),
    "there are no pairs": lambda it: it.update(logprob_pairs=[]),
    "a pair lacks a side": lambda it: it["logprob_pairs"][0].pop("negative_response"),
    "a name is a path": lambda it: it.update(name="../x"),
    "a form is unknown": lambda it: it.update(touches=["colour"]),
    "a prompt is a number": lambda it: it.update(probe_prompts=[1]),
}


@pytest.mark.parametrize("what", BROKEN)
def test_schema_and_loader_refuse_the_same_preferences(what: str, tmp_path: Path) -> None:
    content = yaml.safe_load(PREFERENCES[0].read_text())
    BROKEN[what](content)
    assert not validator("preference").is_valid(content)
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InvalidInput):
        read_preference(path)


@pytest.mark.parametrize("run", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_the_example_runs_fit_their_schemas(run: Path) -> None:
    files = {"config": run / "config.json", "summary": run / "summary.json"}
    files |= {name: run / "concise" / f"{name}.json" for name in ("metadata", "baseline")}
    for name, path in files.items():
        validator(name).validate(lighter(json.loads(path.read_text())))
    for line in (run / "concise" / "steps.jsonl").read_text().splitlines():
        validator("step").validate(lighter(json.loads(line)))


def lighter(record: Any) -> Any:
    """With one transcript of each metric: they are all alike."""
    if "rollouts" in record:
        record["rollouts"] = list({each["metric"]: each for each in record["rollouts"]}.values())
    return record


def test_a_record_that_is_none_does_not_fit() -> None:
    line = lighter(
        json.loads((EXAMPLES / "concise-3-steps" / "concise" / "steps.jsonl").read_text().partition("\n")[0])
    )
    assert validator("step").is_valid(line)
    assert not validator("step").is_valid(line | {"step": "first"})
    assert not validator("step").is_valid(line | {"extra": 1})
    del line["adapter"]
    assert not validator("step").is_valid(line)


@pytest.mark.parametrize("name", MODELS)
def test_the_command_says_where_each_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", name]) == 0
    assert Path(capsys.readouterr().out.strip()) == FOLDER / f"{name}.json"
