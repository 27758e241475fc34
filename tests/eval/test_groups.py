"""What is chosen by the name of a file, shipped or one's own, and what `--info` says of it."""

from pathlib import Path

import pytest

from claas.core.errors import InvalidInput
from claas.core.settings import MODES, TrainingConfig, config_root
from claas.eval.__main__ import main
from claas.eval.config.compose import compose
from claas.results.settings import EvalConfig
from tests.documents import document


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A folder with a stack, a training preset and a configuration of one's own."""
    (tmp_path / "mode").mkdir()
    (tmp_path / "training").mkdir()
    (tmp_path / "mode" / "lab.yaml").write_text(
        "# @package _global_\nmode: vllm\nbase_model: Qwen/Qwen3-0.6B\nparallel_preferences: 3\n"
    )
    (tmp_path / "training" / "mine.yaml").write_text("defaults: [anchored]\nalpha: 0.25\n")
    (tmp_path / "mine.yaml").write_text("defaults: [base, _self_]\nmode: tinker\nnum_steps: 7\n")
    (tmp_path / "chosen.yaml").write_text("defaults: [base, mode: lab, _self_]\nnum_steps: 7\n")
    return tmp_path


def test_every_mode_can_be_chosen_and_every_file_is_one() -> None:
    assert {path.stem for path in (config_root() / "mode").glob("*.yaml")} == MODES.keys()
    for mode in MODES:
        (job,) = compose([f"mode={mode}"])
        assert job.config == EvalConfig(mode=mode)


def test_every_training_preset_is_what_it_says() -> None:
    presets = {
        "default": TrainingConfig(),
        "forward_kl": TrainingConfig(alpha=0.0),
        "reverse_kl": TrainingConfig(alpha=1.0),
        "on_policy": TrainingConfig(steps_per_batch=1),
        "anchored": TrainingConfig(kl_reg_weight=0.1),
    }
    assert {path.stem for path in (config_root() / "training").glob("*.yaml")} == presets.keys()
    for name, training in presets.items():
        (job,) = compose([f"training={name}", "training.is_clip=2"])
        assert job.config.training == TrainingConfig(**{**vars(training), "is_clip": 2.0})


def test_a_stack_and_a_preset_of_ones_own_are_chosen_by_name(lab: Path) -> None:
    (job,) = compose(["num_steps=3", "--config-dir", str(lab), "mode=lab", "training=mine", "seed=1"])
    config = job.config
    assert (config.mode, config.base_model, config.parallel_preferences) == ("vllm", "Qwen/Qwen3-0.6B", 3)
    assert config.training == TrainingConfig(kl_reg_weight=0.1, alpha=0.25)
    (other,) = compose(["--config-dir", str(lab), "mode=lab", "base_model=claas-tiny"])
    assert other.config.base_model == "claas-tiny"


@pytest.mark.parametrize("name", ["mine", "chosen"])
def test_what_is_chosen_on_the_command_line_is_above_what_a_file_says(lab: Path, name: str) -> None:
    of_the_file, chosen, default = (
        compose(["--config-dir", str(lab), "--config-name", name, *override])[0].config
        for override in ([], ["mode=local"], ["~mode"])
    )
    assert of_the_file.mode == {"mine": "tinker", "chosen": "vllm"}[name]
    assert (chosen.mode, chosen.num_steps) == ("local", 7)
    assert chosen == default


def test_a_sweep_goes_over_files(lab: Path) -> None:
    jobs = compose(["-m", "--config-dir", str(lab), "mode=lab,local", "training=mine,default"])
    assert [job.name for job in jobs] == [
        f"mode={mode},training={training}" for mode in ("lab", "local") for training in ("mine", "default")
    ]
    assert [(job.config.mode, job.config.training.alpha) for job in jobs] == [
        *(("vllm", 0.25), ("vllm", 0.5), ("local", 0.25), ("local", 0.5))
    ]


def test_a_file_that_there_is_not_is_named_with_those_there_are(lab: Path) -> None:
    with pytest.raises(InvalidInput, match="unknown mode 'lap'; known: lab, local, modal, tinker, vllm"):
        compose(["--config-dir", str(lab), "mode=lap"])
    with pytest.raises(InvalidInput, match="unknown training 'mine'; known: anchored, default, forward_kl"):
        compose(["training=mine"])


def test_information_says_where_settings_come_from_and_nothing_twice(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mode=lab", "--config-dir", str(lab), "--info", "defaults"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["config", "package", "chosen", "in"]
    assert ["mode/lab", "_global_", "base"] in [line.split() for line in lines]
    assert len(set(lines)) == len(lines)
    assert main(["seed=7", "mode=lab", "--config-dir", str(lab), "--info", "--json"]) == 0
    told = document(capsys.readouterr())["result"]
    assert str(lab) in told["searchpath"]
    assert str(config_root()) in told["searchpath"]
    assert told["groups"]["mode"] == ["lab", "local", "modal", "tinker", "vllm"]
    assert told["groups"]["experiment"] == ["lr_search", "smollm2"]
    assert (told["config"]["seed"], told["config"]["mode"]) == (7, "vllm")
    assert "BasicLauncher" in told["plugins"]["launcher"]
    assert told["defaults-tree"][0] == "base"
    assert "  training: default" in told["defaults-tree"]


def test_help_lists_the_files_of_every_group(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help", "--config-dir", str(lab)]) == 0
    shown = capsys.readouterr().out
    assert "mode: lab, local, modal, tinker, vllm\n" in shown
    assert "training: anchored, default, forward_kl, mine, on_policy, reverse_kl\n" in shown
