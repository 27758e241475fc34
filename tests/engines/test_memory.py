"""What a model takes is said before it is loaded, and is about what it then takes."""

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

from transformers import AutoConfig, LlamaConfig

from claas.core.errors import InvalidInput
from claas.engines.local.memory import Memory, ModelSizes, free_memory, memory_of, require_memory
from claas.tiny import WEIGHTS_DIR

SIZES = ModelSizes(
    parameters=1000,
    matrices=600,
    outputs=40,
    inputs=30,
    layers=7,
    cached=16,
    vocabulary=50,
    width=4,
    small=False,
    packed=False,
)


def test_it_is_what_the_parts_come_to() -> None:
    asked = memory_of(SIZES, rank=2, rows=3, batch=5, prompt=10, answer=20)
    adapter = 2 * (40 + 30)
    assert asked == Memory(
        weights=4 * 1000,
        adapters=4 * (4 * adapter) + 6 * 4 * adapter,  # with gradient and moments; and those kept ready
        decoding=3 * (30 * 16 * 4 + 8 * 50 * 4),
        update=4 * (5 * 30 * (2 * 40 + 2 * 7) + 13 * 5 * 20 * 50),
    )
    assert asked.total == 500 * 2**20 + asked.weights + asked.adapters + asked.decoding + asked.update
    merged = memory_of(replace(SIZES, small=True), rank=2)
    assert merged.adapters == 4 * 4 * adapter + 6 * 600 * 4
    assert memory_of(replace(SIZES, packed=True)).weights == 2 * 4 * 1000


def test_sizes_are_read_off_the_files() -> None:
    config = AutoConfig.from_pretrained(WEIGHTS_DIR)
    sizes = ModelSizes.of(WEIGHTS_DIR, config, 4, 2**28, 2**31)
    heads, keys, hidden, inner = 4 * 64, 2 * 64, 256, 768
    assert sizes is not None
    assert sizes.outputs == 4 * (heads + 2 * keys + hidden + 2 * inner + hidden)
    assert sizes.inputs == 4 * (3 * hidden + heads + 2 * hidden + inner)
    assert (sizes.layers, sizes.cached, sizes.small, sizes.packed) == (4 * 7, 2 * 4 * keys, True, True)
    assert sizes.parameters == 4_197_120


def test_files_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"none")
    assert ModelSizes.of(tmp_path, LlamaConfig(), 4, 0, 0) is None


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    large = replace(SIZES, parameters=7 * 10**9)
    with pytest.raises(InvalidInput, match=r"'big' does not fit: .*about 28\.5 GB .*weights 28\.0.* 8\.0 GB are"):
        require_memory("big", large, 8 * 10**9)
    assert require_memory("big", large, 30 * 10**9) == memory_of(large)


def test_what_is_kept_of_files_is_free(tmp_path: Path) -> None:
    meminfo, container = tmp_path / "meminfo", tmp_path / "container"
    assert free_memory(meminfo, container) is None
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable: 8000 kB\n")
    assert free_memory(meminfo, container) == 8000 * 1024
    container.mkdir()
    (container / "memory.current").write_text("5000\n")
    (container / "memory.max").write_text("max\n")
    assert free_memory(meminfo, container) == 8000 * 1024
    (container / "memory.max").write_text("6000\n")
    assert free_memory(meminfo, container) == 1000
    (container / "memory.stat").write_text("anon 1000\nactive_file 500\ninactive_file 3500\n")
    assert free_memory(meminfo, container) == 5000


def test_it_is_said_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from claas.engines.local.model import LoadedModel

    folder = shutil.copytree(WEIGHTS_DIR, tmp_path / "mine")
    LoadedModel.load(str(folder))
    assert "mine takes about 1." in caplog.text
    monkeypatch.setattr("claas.engines.local.model.free_memory", lambda: 10**8)
    (folder / "generation_config.json").write_text("never read")
    with pytest.raises(InvalidInput, match=r"mine' does not fit: .* and 0\.1 GB are free; take a smaller model"):
        LoadedModel.load(str(folder))


MEASURED = """
import torch
from pathlib import Path
from claas.core.settings import EMBEDDED, TrainingConfig
from claas.engines.types import AdapterSpec
from claas.engines.local.lora import LoraShape, load_adapter, new_tensors, wrap
from claas.engines.local.model import LoadedModel
from claas.training.example import TrainingExample
from claas.training.update import new_optimizer, run_update, trainable_parameters

base = LoadedModel.load(EMBEDDED)
shape = LoraShape.of(AdapterSpec("a"), base)
model = wrap(base, shape)
load_adapter(model, new_tensors(shape, base.model, 0))
optimizer = new_optimizer(trainable_parameters(model), 1e-4)
prompt, answer = tuple(range(100, 200)), tuple(range(200, 600))
examples = [TrainingExample(prompt, prompt, answer, (-1.0,) * 400)] * 4
Path("/proc/self/clear_refs").write_text("5")
run_update(model, optimizer, examples, TrainingConfig(steps_per_batch=2))
print(Path("/proc/self/status").read_text())
"""


@pytest.mark.faults
@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the peak")
def test_an_update_takes_about_what_is_said() -> None:
    done = subprocess.run([sys.executable, "-c", MEASURED], capture_output=True, text=True, check=True)
    peak = re.search(r"VmHWM:\s+(\d+) kB", done.stdout)
    assert peak is not None
    sizes = ModelSizes.of(WEIGHTS_DIR, AutoConfig.from_pretrained(WEIGHTS_DIR), 4, 0, 0)
    assert sizes is not None
    said = memory_of(sizes, rows=0)
    kept = 6 * 4 * 32 * (sizes.inputs + sizes.outputs)  # none of which are here
    assert int(peak[1]) * 1024 == pytest.approx(said.total - kept, rel=0.25)
