"""The weights that a vLLM server has loaded: each under a name, and from a directory, that is used once."""

import asyncio
import secrets
import shutil
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from claas.core.errors import NotFound
from claas.core.files import writing
from claas.engines.local.lora import LoraShape, config_json, new_tensors, to_bytes
from claas.engines.local.model import LoadedModel
from claas.engines.store import ADAPTER_CONFIG, ADAPTER_WEIGHTS, write_directory
from claas.engines.types import AdapterSpec, Weights
from claas.engines.vllm.client import VllmClient


@dataclass
class _Loaded:
    """Weights that the server has, and how many requests are asking them."""

    name: str
    directory: Path
    users: int = 0


class LoadedAdapters:
    """Versions of adapters at the server: at most `most` of them, the least recently used unloaded for the next one.

    The base model is asked as an adapter of zeros, which changes nothing and stays loaded: on a CPU, vLLM 0.32 gives
    rows without an adapter that of its last slot. `files` are those of weights, in PEFT's format.
    """

    def __init__(
        self, client: VllmClient, root: Path, most: int, files: Callable[[Weights], Mapping[str, bytes]]
    ) -> None:
        self._client = client
        self._root = root
        self._most = most
        self._files = files
        self._run = secrets.token_hex(4)  # so that no name is one of an earlier process
        self._count = 0
        self._loaded: OrderedDict[Weights, _Loaded] = OrderedDict()
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()

    def __len__(self) -> int:
        return sum(weights.lora_id is not None for weights in self._loaded)

    @asynccontextmanager
    async def using(self, weights: Weights) -> AsyncGenerator[str]:
        """The name under which the server knows exactly these weights, which stay loaded meanwhile."""
        async with self._turn:  # whoever needs room is not overtaken
            loaded = self._loaded.get(weights) or await self._load(weights)
            self._loaded.move_to_end(weights)
            loaded.users += 1
        try:
            yield loaded.name
        finally:
            loaded.users -= 1
            self._left.set()

    def forget(self, weights: Weights, name: str) -> None:
        """Take note that the server does not know `name`, as after a restart of it."""
        if weights in self._loaded and self._loaded[weights].name == name:
            shutil.rmtree(self._loaded.pop(weights).directory, ignore_errors=True)

    async def clear(self) -> None:
        """Unload what is loaded; what the server does not let go of any more is left to it."""
        for weights in list(self._loaded):
            await self._unload(weights)

    async def _load(self, weights: Weights) -> _Loaded:
        while weights.lora_id is not None and len(self) >= self._most:
            await self._make_room()
        self._count += 1
        name = f"{weights.name.replace('/', '-')}-{self._run}-{self._count}"
        directory = self._root / name
        files = await asyncio.to_thread(self._files, weights)
        await asyncio.to_thread(write_directory, directory, files)
        with ExitStack() as on_failure:
            on_failure.callback(shutil.rmtree, directory, ignore_errors=True)
            await self._client.load(name, directory)
            on_failure.pop_all()
        self._loaded[weights] = _Loaded(name, directory)
        return self._loaded[weights]

    async def _make_room(self) -> None:
        """Unload the least recently used adapter that nobody asks, as soon as there is one."""
        self._left.clear()
        idle = (each for each, loaded in self._loaded.items() if each.lora_id is not None and not loaded.users)
        if (oldest := next(idle, None)) is not None:
            await self._unload(oldest)
        else:
            await self._left.wait()

    async def _unload(self, weights: Weights) -> None:
        loaded = self._loaded.pop(weights)
        try:
            await self._client.unload(loaded.name)
        except NotFound:
            pass  # the server was started again meanwhile
        finally:
            shutil.rmtree(loaded.directory, ignore_errors=True)


def emptied(root: Path) -> Path:
    """The directory `root`, as it is called from anywhere, without what a process that was killed has left in it."""
    with writing(root):
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
    return root.absolute()


def zeros(base: LoadedModel) -> dict[str, bytes]:
    """An adapter that changes nothing, as small as one can be."""
    shape = LoraShape.of(AdapterSpec("zeros", rank=1), base)
    return adapter_files(shape, new_tensors(shape, base.model, 0), base)


def adapter_files(shape: LoraShape, tensors: Mapping[str, Tensor], base: LoadedModel) -> dict[str, bytes]:
    """An adapter in PEFT's format."""
    return {ADAPTER_CONFIG: config_json(shape, base), ADAPTER_WEIGHTS: to_bytes(tensors)}
