"""A Modal service of its own wire on loopback, for the real package to talk to: it runs our app in this process.

It knows what a call needs: the look-up of a deployed class, an input and its output, and a volume. A container is an
instance of the class, made by the first call and gone after `stop`.
"""

import asyncio
import shutil
import socket
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import grpclib.const
import pytest
from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from grpclib.server import Server
from modal._serialization import deserialize, serialize
from modal_proto import api_pb2
from modal_proto.api_grpc import ModalClientBase

METHOD = "ask"
_ANY_FUNCTION = api_pb2.FunctionData(
    ranked_functions=[api_pb2.FunctionData.RankedFunction(function=api_pb2.Function())]
)


@dataclass
class FakeModal:
    """What is deployed, what goes wrong, and what was asked.

    `app` is the name deployed, None nothing. `failing` are the statuses that RPCs end in, by name; `broken` is what
    inputs end in instead of running; `hanging`: outputs never come; `losing_replies`: they are lost when the work is
    done. `volume` is what the app works on, `commits` counts its commits, `refused_commits` those still to be refused.
    `asked` are the methods called, `most_at_once` so many at any time; `deployed` is what `modal deploy` sent.
    """

    url: str = ""
    app: str | None = "claas"
    failing: dict[str, Status] = field(default_factory=dict[str, Status])
    broken: api_pb2.GenericResult | None = None
    hanging: bool = False
    losing_replies: bool = False
    volume: Path = Path()
    commits: int = 0
    refused_commits: int = 0
    asked: list[str] = field(default_factory=list[str])
    most_at_once: int = 0
    deployed: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    _running: int = 0
    _container: Any = None
    _outputs: dict[str, "asyncio.Task[api_pb2.GenericResult]"] = field(default_factory=dict[str, Any])

    @property
    def started(self) -> bool:
        """Whether a container runs."""
        return self._container is not None

    def container(self) -> Any:
        """The one that runs, started where none does."""
        if self._container is None:
            from claas.engines.modal.app import Remote

            self._container = Remote()
        return self._container

    async def stop(self) -> None:
        """Stop the container, as Modal does to one that was idle, and be as new."""
        container, self._container = self._container, None
        if container is not None:
            await container.host.close()

    async def kill(self) -> None:
        """Stop the container, and leave on the volume what was committed."""
        await self.stop()
        shutil.rmtree(self.volume)
        shutil.copytree(self._committed, self.volume)

    def reset(self) -> None:
        """Be as new, but for the address."""
        fresh = FakeModal(url=self.url, _outputs=self._outputs)
        self.__dict__.update(fresh.__dict__)

    @property
    def _committed(self) -> Path:
        return self.volume.with_name(f"{self.volume.name}-committed")

    def class_get(self, request: api_pb2.ClassGetRequest) -> api_pb2.ClassGetResponse:
        self._require_deployed(request.app_name, request.object_tag)
        return api_pb2.ClassGetResponse(class_id="cs-1", handle_metadata=api_pb2.ClassHandleMetadata())

    def function_get(self, request: api_pb2.FunctionGetRequest) -> api_pb2.FunctionGetResponse:
        self._require_deployed(request.app_name, request.object_tag)
        method = api_pb2.FunctionHandleMetadata(function_name=METHOD, is_method=True, use_method_name=METHOD)
        service = api_pb2.FunctionHandleMetadata(function_name="Remote.*", method_handle_metadata={METHOD: method})
        return api_pb2.FunctionGetResponse(function_id="fu-1", handle_metadata=service, function=_ANY_FUNCTION)

    def function_map(self, request: api_pb2.FunctionMapRequest) -> api_pb2.FunctionMapResponse:
        (item,) = request.pipelined_inputs
        call = f"fc-{len(self._outputs)}"
        self._outputs[call] = asyncio.create_task(self._run(item.input))
        answered = api_pb2.FunctionPutInputsResponseItem(idx=0, input_id=f"in-{call}", input_jwt="jwt")
        return api_pb2.FunctionMapResponse(function_call_id=call, pipelined_inputs=[answered])

    async def function_get_outputs(
        self, request: api_pb2.FunctionGetOutputsRequest
    ) -> api_pb2.FunctionGetOutputsResponse:
        output = self._outputs[request.function_call_id]
        done, _ = await asyncio.wait([output], timeout=request.timeout)
        if not done:
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        item = api_pb2.FunctionGetOutputsItem(result=output.result(), data_format=api_pb2.DATA_FORMAT_PICKLE)
        return api_pb2.FunctionGetOutputsResponse(outputs=[item])

    def volume_get_or_create(self, request: api_pb2.VolumeGetOrCreateRequest) -> api_pb2.VolumeGetOrCreateResponse:
        name = request.deployment_name
        return api_pb2.VolumeGetOrCreateResponse(volume_id=f"vo-{name}", metadata=api_pb2.VolumeMetadata(name=name))

    def volume_commit(self, request: api_pb2.VolumeCommitRequest) -> api_pb2.VolumeCommitResponse:
        if self.refused_commits:
            self.refused_commits -= 1
            raise GRPCError(Status.FAILED_PRECONDITION, "there are open files preventing the operation")
        shutil.rmtree(self._committed, ignore_errors=True)
        shutil.copytree(self.volume, self._committed)
        self.commits += 1
        return api_pb2.VolumeCommitResponse(skip_reload=True)

    async def _run(self, given: api_pb2.FunctionInput) -> api_pb2.GenericResult:
        arguments, _ = deserialize(given.args, None)
        self.asked.append(arguments[1])
        if self.hanging:
            await asyncio.Event().wait()
        if self.broken is not None:
            return self.broken
        self._running += 1
        self.most_at_once = max(self.most_at_once, self._running)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* is executing locally", UserWarning)
            answer = self.container().ask.local(*arguments)
        data = serialize(await answer)
        self._running -= 1
        if self.losing_replies:
            lost = api_pb2.GenericResult.GENERIC_STATUS_INTERNAL_FAILURE
            return api_pb2.GenericResult(status=lost, exception="the container was killed")
        return api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS, data=data)

    def _require_deployed(self, app: str, tag: str) -> None:
        if app != self.app or tag not in ("Remote", "Remote.*"):
            raise GRPCError(Status.NOT_FOUND, f"No class named '{tag}' in app '{app}'")


def _calls(fake: FakeModal) -> dict[str, Callable[[Any], Any]]:
    """What a call needs."""
    return {
        "ClientHello": lambda _: api_pb2.ClientHelloResponse(),
        "AuthTokenGet": lambda _: api_pb2.AuthTokenGetResponse(token="token"),
        "ClassGet": fake.class_get,
        "FunctionGet": fake.function_get,
        "FunctionMap": fake.function_map,
        "FunctionGetOutputs": fake.function_get_outputs,
        "VolumeGetOrCreate": fake.volume_get_or_create,
        "VolumeCommit": fake.volume_commit,
    }


def _deployment(fake: FakeModal) -> dict[str, Callable[[Any], Any]]:
    """What `modal deploy` needs, which is kept and otherwise ignored: every image is built, every file is there."""
    built = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS)
    replies: dict[str, Any] = {
        "AppClientDisconnect": Empty(),
        "AppCreate": api_pb2.AppCreateResponse(app_id="ap-1"),
        "AppGetByDeploymentName": api_pb2.AppGetByDeploymentNameResponse(),
        "AppGetOrCreate": api_pb2.AppGetOrCreateResponse(app_id="ap-1"),
        "AppHeartbeat": Empty(),
        "AppPublish": api_pb2.AppPublishResponse(url="http://127.0.0.1/app"),
        "ClassCreate": api_pb2.ClassCreateResponse(class_id="cs-1", handle_metadata=api_pb2.ClassHandleMetadata()),
        "EnvironmentGetOrCreate": api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-1",
            metadata=api_pb2.EnvironmentMetadata(settings=api_pb2.EnvironmentSettings(image_builder_version="2025.06")),
        ),
        "FunctionPrecreate": api_pb2.FunctionPrecreateResponse(
            function_id="fu-1", handle_metadata=api_pb2.FunctionHandleMetadata(function_name="Remote.*")
        ),
        "FunctionCreate": api_pb2.FunctionCreateResponse(
            function_id="fu-1",
            handle_metadata=api_pb2.FunctionHandleMetadata(function_name="Remote.*"),
            function_data=_ANY_FUNCTION,
        ),
        "ImageGetOrCreate": api_pb2.ImageGetOrCreateResponse(image_id="im-1", result=built),
        "MountGetOrCreate": api_pb2.MountGetOrCreateResponse(mount_id="mo-1"),
        "SecretGetOrCreate": api_pb2.SecretGetOrCreateResponse(secret_id="st-1"),
        "MountPutFile": api_pb2.MountPutFileResponse(exists=True),
        "MountBatchedCheckExistence": api_pb2.MountBatchedCheckExistenceResponse(),
    }

    def kept(name: str, reply: Any) -> Callable[[Any], Any]:
        def answer(request: Any) -> Any:
            fake.deployed.append((name, request))
            return reply

        return answer

    return {name: kept(name, reply) for name, reply in replies.items()}


class _Wire:
    """Modal's RPCs, of which those that are known are answered."""

    def __init__(self, fake: FakeModal) -> None:
        self._fake = fake

    def __mapping__(self) -> dict[str, grpclib.const.Handler]:
        known = _calls(self._fake) | _deployment(self._fake)
        every: Any = type("Every", (ModalClientBase,), dict.fromkeys(ModalClientBase.__abstractmethods__))
        return {
            path: handler._replace(func=self._answering(path.rpartition("/")[2], known))
            for path, handler in every().__mapping__().items()
        }

    def _answering(self, name: str, known: dict[str, Callable[[Any], Any]]) -> Callable[[Any], Any]:
        async def answer(stream: Any) -> None:
            request = await stream.recv_message()
            if name in self._fake.failing:
                raise GRPCError(self._fake.failing[name], f"{name} is made to fail")
            if name not in known:
                raise GRPCError(Status.UNIMPLEMENTED, name)
            reply = known[name](request)
            await stream.send_message(await reply if asyncio.iscoroutine(reply) else reply)

        return answer


@cache
def modal_service() -> FakeModal:
    """The one service of this process: Modal's client is one, too. It ends with the process."""
    fake, listening = FakeModal(), threading.Event()

    def serve() -> None:
        async def run() -> None:
            server = Server([_Wire(fake)])
            listener = socket.create_server(("127.0.0.1", 0))
            fake.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            await server.start(sock=listener)
            listening.set()
            await server.wait_closed()

        asyncio.run(run())

    threading.Thread(target=serve, name="fake-modal", daemon=True).start()
    listening.wait()
    return fake


@contextmanager
def running_modal(monkeypatch: pytest.MonkeyPatch, volume: Path) -> Iterator[FakeModal]:
    """A service on which the app is deployed, with the embedded model and its volume at `volume`; and an account."""
    fake = modal_service()
    fake.reset()
    fake.volume = volume
    for variable, value in {
        "MODAL_SERVER_URL": fake.url,
        "MODAL_TOKEN_ID": "ak-test",
        "MODAL_TOKEN_SECRET": "as-test",
        "CLAAS_MODAL_BASE_MODEL": "claas-tiny",
        "CLAAS_MODAL_STORE": str(volume),
    }.items():
        monkeypatch.setenv(variable, value)
    yield fake
    asyncio.run(fake.stop())
