"""Where the runs of a sweep go, and what a search makes as large as it can."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from claas.core.errors import InvalidInput
from claas.core.launching import PluggedIn
from claas.core.settings import config_root
from claas.eval.config.compose import compose
from claas.eval.sweep import objective, placed, search
from claas.results.summary import Summary

EXAMPLE = Path(__file__).resolve().parents[2] / "data" / "examples" / "concise-3-steps" / "summary.json"


def found(heldout: float | None, verdicts: list[str], control_of: str | None = None) -> dict[str, object]:
    """A preference's part of a summary, with these verdicts on as many criteria."""
    summary = json.loads(EXAMPLE.read_text())["preferences"]["concise"]
    ruling = next(iter(summary["criteria"].values()))
    criteria = {str(number): ruling | {"verdict": verdict} for number, verdict in enumerate(verdicts)}
    return summary | {"finals": {"heldout_compliance": heldout}, "criteria": criteria, "control_of": control_of}


def of(**preferences: dict[str, object]) -> float | None:
    return objective(Summary.model_validate(json.loads(EXAMPLE.read_text()) | {"preferences": preferences}))


def test_it_is_mean_heldout_compliance_less_one_for_each_failed_criterion() -> None:
    concise = found(0.75, ["fail", "pass", "fail"])
    assert of(concise=concise) == 0.75 - 2
    assert of(concise=concise, calm=found(0.25, ["inconclusive"])) == 0.5 - 2
    assert of(concise=concise, control=found(0.0, ["fail"], control_of="concise")) == 0.75 - 2


def test_without_heldout_compliance_there_is_none() -> None:
    assert of(concise=found(0.75, []), calm=found(None, [])) is None


def test_a_sweep_has_a_folder_of_its_own_and_not_that_of_a_run(tmp_path: Path) -> None:
    jobs = compose(["-m", "seed=1,2", f"output_dir={tmp_path / 'mine'}"])
    names = [Path(str(job.config.output_dir)).name for job in placed(jobs)]
    assert names == ["mine-seed-1", "mine-seed-2"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    with pytest.raises(InvalidInput, match="is a run's own folder"):
        placed(jobs)
    assert [job.config.output_dir for job in placed(jobs[:1])] == [str(tmp_path / "mine")]


@pytest.mark.parametrize(
    ("sweeper", "said"),
    [
        (
            {"storage": "sqlite:///search.db", "sampler": {"seed": 1}},
            "storage is not used: a search goes on from the runs",
        ),
        ({"storage": None, "sampler": {"seed": None}}, "holds runs, and this search would choose others than theirs"),
    ],
)
def test_a_search_that_could_not_go_on_from_its_runs_is_refused(
    sweeper: dict[str, object], said: str, tmp_path: Path
) -> None:
    (tmp_path / "rates-0").mkdir()
    (tmp_path / "rates-0" / "config.json").touch()
    config = OmegaConf.create({"output_dir": str(tmp_path), "hydra": {"sweeper": sweeper}})
    with pytest.raises(InvalidInput, match=f"{said}.*set hydra.sweeper.sampler.seed"):
        search(PluggedIn(config, None, None))


def test_the_shipped_search_can_go_on() -> None:
    shipped = OmegaConf.load(config_root() / "experiment" / "lr_search.yaml")
    assert shipped.hydra.sweeper.sampler.seed is not None
