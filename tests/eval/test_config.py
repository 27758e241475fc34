"""From YAML and the command line to a configuration, or to one clear line."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from claas.api.config import ApiConfig
from claas.core.configuration import settings_of
from claas.core.errors import InvalidInput
from claas.core.settings import TrainingConfig, config_root
from claas.eval.__main__ import main
from claas.eval.config.compose import compose
from claas.eval.stacks.embedded import api_config
from claas.results.settings import EvalConfig, Prices, eval_config
from claas.results.user import UserConfig


def base() -> dict[str, Any]:
    """base.yaml with the default criteria, read without Hydra."""
    values = OmegaConf.load(config_root() / "base.yaml")
    del values["defaults"]
    values["criteria"] = OmegaConf.load(config_root() / "criteria" / "default.yaml")
    values["protocol"] = OmegaConf.load(config_root() / "protocol" / "isolated.yaml")
    values["training"] = OmegaConf.load(config_root() / "training" / "default.yaml")
    kind = OmegaConf.to_container(OmegaConf.load(config_root() / "user" / "always.yaml"))
    return {**OmegaConf.to_container(values), "user": {**dataclasses.asdict(UserConfig()), **kind}}


def test_base_yaml_has_every_key_with_its_default() -> None:
    assert base() == dataclasses.asdict(EvalConfig())


@pytest.mark.parametrize("kind", [EvalConfig, ApiConfig])
def test_every_setting_says_what_it_means(kind: type) -> None:
    assert [setting.key for setting in settings_of(kind) if not setting.meaning] == []


def test_no_arguments_give_the_defaults() -> None:
    assert [job.config for job in compose([])] == [EvalConfig()]


def test_arguments_override() -> None:
    (job,) = compose(["preferences=[concise]", "num_steps=5", "training.alpha=1", "criteria.margin_gain=3"])
    assert (job.config.preferences, job.config.num_steps) == (["concise"], 5)
    assert (job.config.training.alpha, job.config.criteria["margin_gain"]) == (1.0, 3.0)
    assert job.arguments == ("preferences=[concise]", "num_steps=5", "training.alpha=1", "criteria.margin_gain=3")


def test_one_preference_or_metric_needs_no_brackets() -> None:
    (job,) = compose(["preferences=concise", "metrics=quick"])
    assert (job.config.preferences, job.config.metrics) == (["concise"], ["quick"])


@pytest.mark.parametrize("value", ["true", "false", "0.25"])
def test_fail_on_error_is_a_truth_or_a_fraction(value: str) -> None:
    (job,) = compose([f"fail_on_error={value}"])
    assert job.config.fail_on_error == {"true": True, "false": False, "0.25": 0.25}[value]
    assert isinstance(job.config.fail_on_error, bool) == (value != "0.25")


@pytest.mark.parametrize("arguments", [["-m", "seed=1,2,3"], ["seed=1,2,3", "--multirun"]])
def test_a_sweep_is_one_run_per_value(arguments: list[str]) -> None:
    jobs = compose(arguments)
    assert [job.config.seed for job in jobs] == [1, 2, 3]
    assert [job.arguments for job in jobs] == [("seed=1",), ("seed=2",), ("seed=3",)]


@pytest.mark.parametrize(
    "key", ["seed", "prices", "openclaw_url", "training", "training.alpha", "criteria.margin_gain"]
)
def test_a_setting_that_is_taken_away_has_its_default_whether_or_not_a_file_names_it(key: str) -> None:
    assert [job.config for job in compose([f"~{key}"])] == [EvalConfig()]
    with pytest.raises(InvalidInput, match="unknown key 'seeed'; did you mean seed"):
        compose(["~seeed"])


def test_a_schema_that_there_is_not_is_named_with_what_to_write_instead(mine: Path) -> None:
    (mine / "theirs.yaml").write_text("defaults: [_eval_schema, _self_]\nnum_steps: 7\n")
    with pytest.raises(InvalidInput, match=r"there is no file '_eval_schema'.*`defaults: \[base, _self_\]`"):
        compose(["num_steps=3", "--config-dir", str(mine), "--config-name", "theirs", "seed=1"])


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my_configs"
    (folder / "criteria").mkdir(parents=True)
    (folder / "my_config.yaml").write_text(
        "defaults: [base, _self_]\nnum_steps: 7\nmode: local\ntraining: {alpha: 0.2}\n"
    )
    (folder / "criteria" / "strict.yaml").write_text("defaults: [default, _self_]\nmargin_gain: 9.0\n")
    return folder


def test_a_config_of_ones_own_builds_on_the_shipped_one(mine: Path) -> None:
    (job,) = compose(["--config-dir", "my_configs", "--config-name", "my_config", "seed=3", "criteria=strict"])
    assert (job.config.num_steps, job.config.seed, job.config.training.alpha) == (7, 3, 0.2)
    assert job.config.criteria == {"margin_gain": 9.0, "confidence": 0.95}
    assert job.config.config_dir == str(mine), "so that preferences in it are found by name, now and on resuming"
    assert job.arguments == ("--config-dir", str(mine), "--config-name", "my_config", "seed=3", "criteria=strict")


def test_a_setting_that_no_file_names_can_be_given(mine: Path) -> None:
    (mine / "short.yaml").write_text("num_steps: 7\n")
    (job,) = compose(["--config-dir", str(mine), "--config-name", "short", "training.alpha=1", "prices.sample=1.2"])
    assert job.config == EvalConfig(
        num_steps=7, training=TrainingConfig(alpha=1.0), prices=Prices(sample=1.2), config_dir=str(mine)
    )


def test_a_section_can_be_given_in_one_also_where_a_file_of_it_can_be_chosen() -> None:
    (job,) = compose(["criteria={heldout_compliance: 0.9}", "training={alpha: 0.25}"])
    assert job.config == EvalConfig(
        criteria={"heldout_compliance": 0.9, "confidence": 0.95}, training=TrainingConfig(alpha=0.25)
    )
    jobs = compose(["-m", "criteria={margin_gain: 1},{margin_gain: 2}"])
    assert [each.config.criteria["margin_gain"] for each in jobs] == [1.0, 2.0]


def test_a_sweep_runs_every_combination() -> None:
    jobs = compose(["-m", "seed=range(1,3)", "criteria=default", "num_steps=3,4", "plots=false"])
    assert [(job.config.seed, job.config.num_steps) for job in jobs] == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert jobs[0].arguments == ("seed=1", "criteria=default", "num_steps=3", "plots=false")


def test_the_settings_can_be_shown_instead_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["seed=3", "--cfg", "job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == dataclasses.asdict(EvalConfig(seed=3))


def test_nothing_is_left_behind_by_hydra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compose(["seed=1"])
    compose(["-m", "seed=1,2"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["num_stps=5"], "unknown key 'num_stps'; did you mean num_steps?"),
        (["learning_rate=1"], "unknown key 'learning_rate'; did you mean training.learning_rate?"),
        (["training.alhpa=1"], "unknown key 'training.alhpa'; did you mean training.alpha?"),
        (["preference=concise"], "unknown key 'preference'; did you mean preferences"),
        (["+foo=1"], "unknown key 'foo'; known: mode, claas_url,"),
        (["num_steps=abc"], "num_steps: input should be a valid integer, got 'abc'"),
        (["num_steps=1.5"], "num_steps: input should be a valid integer, got 1.5"),
        (["num_steps=0"], "num_steps must be >= 1, got 0"),
        (["seed=null"], "seed: input should be a valid integer, got None"),
        (["training=3"], "is chosen by the name of a YAML file, as in user=llm, or set key by key"),
        (["training.learning_rate=0"], "training.learning_rate must be > 0 and <= 1, got 0.0"),
        (["criteria.confidence=nan"], "criteria.confidence must be >= 0.5 and <= 0.9999, got nan"),
        (["fail_on_error=often"], "fail_on_error: input should be a valid boolean, got 'often'"),
        (["mode=cloud"], "unknown mode 'cloud'; known: local, modal, tinker, vllm"),
        (["metrics=[]"], "metrics must name at least one metric or preset, got []"),
        (["preferences=concise,identity"], "write a list as key=[a,b]; to run each value, add -m"),
        (["checkpoints=[-1]"], "checkpoints must be >= 0, got -1"),
        (["collapse_steps=[0]"], "unknown key 'collapse_steps': it is called checkpoints"),
        (["output_dir=${nowhere}"], "Interpolation key 'nowhere' not found"),
        (["num_steps"], "cannot read the arguments at 'num_steps': each is key=value"),
        (["user=1"], "Got int: a section such as user is chosen by the name of a YAML file"),
        (["+experiment=smollm2"], "experiment is chosen once, and without +: experiment=smollm2"),
        (["preferences=[concise"], "cannot read the arguments at '[concise'"),
        (["=3"], "must be a string or a list"),
        (["criteria=lenient"], "unknown criteria 'lenient'; known: default"),
        (["protocol=sequental"], "unknown protocol 'sequental'; known: flip, isolated, mixed, sequential"),
        (["protocol.stages.concise=0"], "protocol.stages.concise must be >= 1, got 0"),
        (["--config-name", "nope"], "there is no config 'nope': --config-name takes the name"),
        (["--config-dir", "/nope"], "'/nope' not found"),
        (["--bogus"], "unrecognized arguments: --bogus"),
        (["preferences={a:1}"], "Error merging override preferences={a:1} (Cannot merge"),
        (["output_dir=${hydra:job.name}"], "use a setting, as in 'output_dir=data/evals/${seed}'"),
        (["prices.smaple=1"], "unknown key 'prices.smaple'; did you mean prices.sample?"),
        (["-m", "seed=interval(1,2)"], "cannot sweep over seed=interval(1,2): list values of a setting"),
        (["-m", "criteria=glob(*)"], "cannot sweep over criteria=glob(*): list values of a setting"),
        (["-m", "num_steps=5,abc"], "num_steps: input should be a valid integer, got 'abc'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_line_that_names_it(arguments: list[str], said: str) -> None:
    with pytest.raises(InvalidInput) as mistake:
        compose(arguments)
    assert said in str(mistake.value)
    assert "\n" not in str(mistake.value)


def test_an_unknown_key_in_a_file_is_a_mistake_too(mine: Path) -> None:
    (mine / "my_config.yaml").write_text("defaults: [base, _self_]\nnum_stps: 7\n")
    with pytest.raises(InvalidInput, match="unknown key 'num_stps'; did you mean num_steps"):
        compose(["--config-dir", str(mine), "--config-name", "my_config"])


def test_a_file_that_is_not_yaml_is_named(mine: Path) -> None:
    (mine / "my_config.yaml").write_text("defaults: [base\nnum_steps: {")
    with pytest.raises(InvalidInput, match=r"my_config\.yaml"):
        compose(["--config-dir", str(mine), "--config-name", "my_config"])


def test_help_says_what_can_be_set_and_chosen(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (mine / "preference").mkdir()
    (mine / "preference" / "shouting.yaml").touch()
    assert main(["num_steps=3", "--help", "--config-dir", str(mine)]) == 0
    shown = capsys.readouterr().out
    assert "num_steps: 20  # feedback rounds per preference" in shown
    assert "heldout_compliance: 0.8  # held-out compliance is at least this" in shown
    assert "preferences: concise, identity, no_emoji, shouting" in shown
    assert "presets: all, quick" in shown


def test_a_whole_number_does_for_a_real_one() -> None:
    assert eval_config({"temperature": 1}).temperature == 1.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"num_steps": "3"}, "num_steps must be >= 1, got '3'"),
        ({"batch_size": None}, "batch_size must be >= 1 and <= 64, got None"),
        ({"temperature": "0.7"}, "temperature must be >= 0 and <= 2, got '0.7'"),
        ({"mode": None}, "unknown mode None; known: local, modal, tinker, vllm"),
        ({"fail_on_error": "yes"}, "fail_on_error: input should be a valid boolean, got 'yes'"),
        ({"criteria": {"margin_gain": "2"}}, "criteria.margin_gain: input should be a valid number, got '2'"),
        ({"criteria": {"margin_gain": True}}, "criteria.margin_gain: input should be a valid number, got True"),
        ({"criteria": {"confidence": None}}, "criteria.confidence: input should be a valid number, got None"),
        ({"criteria": None}, "criteria: input should be a valid dictionary, got None"),
        ({"checkpoints": ["1"]}, "checkpoints.0: input should be a valid integer, got '1'"),
        ({"checkpoints": 3}, "checkpoints: input should be a valid list, got 3"),
        ({"preferences": "concise"}, "preferences: input should be a valid list, got 'concise'"),
        ({"training": {"alpha": 1}}, "training: input should be an instance of TrainingConfig, got {'alpha': 1}"),
        ({"plots": None}, "plots: input should be a valid boolean, got None"),
        ({"steps_per_batch": 2}, "unknown key 'steps_per_batch'; did you mean training.steps_per_batch?"),
        (
            {"gemini_api_key": "x"},
            "unknown key 'gemini_api_key': leave it out; user=llm is played by a model, whose key is in "
            "CLAAS_USER_API_KEY",
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_a_mistake_from_python_too(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput) as mistake:
        EvalConfig(**settings)
    assert str(mistake.value) == said


def test_an_experiment_is_what_suits_it_and_arguments_go_before_it() -> None:
    (job,) = compose(["experiment=smollm2", "max_tokens=80"])
    assert (job.config.base_model, job.config.max_tokens) == ("smollm2", 80)
    assert job.config.limit == {"heldout": 32, "out_of_scope": 12, "pairs": 4, "capability": 24}
    assert job.config.resolved().training.learning_rate == 1e-4
    with pytest.raises(InvalidInput, match="unknown experiment 'smollm3'; known: lr_search, smollm2"):
        compose(["experiment=smollm3"])


@pytest.mark.parametrize("elsewhere", [{"mode": "tinker"}, {"claas_url": "http://127.0.0.1:8080"}])
def test_the_weights_of_another_api_are_held_as_that_says(elsewhere: dict[str, str]) -> None:
    with pytest.raises(InvalidInput, match="dtype=bfloat16 is of a model that the run holds itself"):
        EvalConfig(dtype="bfloat16", **elsewhere)


def test_an_api_that_a_run_hosts_holds_its_weights_as_the_run_says(tmp_path: Path) -> None:
    assert api_config(EvalConfig(dtype="bfloat16"), tmp_path).dtype == "bfloat16"
    assert api_config(EvalConfig(), tmp_path).dtype is None
