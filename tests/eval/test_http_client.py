"""Connecting to a server and talking to it: retries, refusals, keys, and what answers at the address."""

import asyncio
import logging
from collections.abc import AsyncGenerator

import httpx
import pytest

from claas.core.errors import InvalidInput, StackError
from claas.core.settings import TrainingConfig
from claas.eval.stacks.http_client import HttpClient, Retries
from claas.eval.stacks.http_stack import HttpStack, connect
from claas.eval.stacks.silence import Silence
from claas.eval.stacks.stack import LostAnswer
from claas.results.settings import EvalConfig
from claas.wire.chat import ChatMessage, ChatResponse
from tests.eval.scripted_server import AT_ONCE, ONCE, Reply, Server, answer, call, chat, error, ok

USER = ChatMessage(role="user", content="Hi")
INFO = {"name": "claas", "version": "1", "mode": "local", "base_model": "claas-tiny"}


@pytest.mark.parametrize("status", [408, 425, 429, 502, 503, 504])
def test_what_a_second_try_can_mend_is_tried_again(status: int) -> None:
    server = Server(v1_chat_completions=[error(status), ok(chat())])
    assert call(server, answer, AT_ONCE).text == "Hi"
    assert len(server.requests) == 2


BROKEN = [
    httpx.ReadTimeout("slow"),
    httpx.ReadError("cut"),
    httpx.RemoteProtocolError("x"),
    httpx.DecodingError("no gzip"),
    httpx.TooManyRedirects("round and round"),
    httpx.InvalidURL("redirected to nowhere"),
]


@pytest.mark.parametrize("failure", BROKEN, ids=lambda failure: type(failure).__name__)
def test_whatever_breaks_on_the_way_is_tried_again_and_then_costs_one_answer(failure: Exception) -> None:
    server = Server(v1_chat_completions=[failure, failure, ok(chat())])
    assert call(server, answer, AT_ONCE).text == "Hi"
    with pytest.raises(LostAnswer, match=f"/v1/chat/completions failed at the first try: {type(failure).__name__}"):
        call(Server(v1_chat_completions=failure), answer)


def test_a_server_that_has_answered_is_waited_for_longer_than_one_that_never_has() -> None:
    failed = [error(503)] * 20
    patient = Retries(for_s=3600.0, first_contact_s=0.0, first_delay_s=0.0)
    assert call(Server(v1_chat_completions=[*failed, ok(chat())]), answer, patient).text == "Hi"
    with pytest.raises(StackError, match="nothing answers"):
        call(Server(v1_chat_completions=[httpx.ConnectError("refused"), ok(chat())]), answer, patient)


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip", "br", "GZIP"])
def test_a_reply_that_was_compressed_unasked_is_not_unpacked(encoding: str) -> None:
    async def packed() -> AsyncGenerator[bytes]:
        yield b"not what it says"

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["Accept-Encoding"] == "identity"
        return httpx.Response(200, headers={"Content-Encoding": encoding}, content=packed())

    with pytest.raises(LostAnswer, match=f"the reply says it is {encoding!r}, which was not asked for"):
        call(handle, answer)


def test_a_reply_without_end_is_read_to_its_bound_and_no_further() -> None:
    read = 0

    async def endless() -> AsyncGenerator[bytes]:
        nonlocal read
        while True:
            read += 2**20
            yield bytes(2**20)

    with pytest.raises(LostAnswer, match="the reply to /v1/chat/completions is longer than 64 MiB"):
        call(lambda request: httpx.Response(200, content=endless()), answer)
    assert read == 65 * 2**20


@pytest.mark.parametrize("charset", ["hex", "undefined", "rot13", "utf-16"])
def test_an_error_page_in_any_charset_is_quoted(charset: str) -> None:
    page = httpx.Response(
        500, headers={"Content-Type": f"text/html; charset={charset}"}, content=b"<h1>Broken \xff</h1>"
    )
    with pytest.raises(LostAnswer, match="HTTP 500: <h1>Broken"):
        call(Server(v1_chat_completions=page), answer)


class Hanging:
    """Answers nothing until it has been waited for aloud."""

    def __init__(self) -> None:
        self.remarked = asyncio.Event()

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        await self.remarked.wait()
        return ok(chat())


def test_a_reply_has_a_time_to_come_whole() -> None:
    with pytest.raises(LostAnswer, match=r"no whole reply came within 0\.01 s \(request_timeout_s\)"):
        call(Hanging(), answer, timeout_s=0.01)


def test_who_is_waited_for_is_said_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    hanging = Hanging()

    class Heard(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if len(caplog.messages) == 2:
                hanging.remarked.set()

    log, heard = logging.getLogger("claas.eval.stacks.silence"), Heard()
    log.addHandler(heard)
    try:
        assert call(hanging, answer, silence=Silence("http://stack", after_s=0.001)).text == "Hi"
    finally:
        log.removeHandler(heard)
    said = "waiting for http://stack, silent for 0 s (1 of /v1/chat/completions)"
    assert caplog.messages[:2] == [said, said]


def test_a_server_error_loses_the_answer_at_once() -> None:
    server = Server(v1_chat_completions=httpx.Response(500, html="<h1>Internal   Server Error</h1>"))
    with pytest.raises(LostAnswer, match="HTTP 500: <h1>Internal Server Error</h1>"):
        call(server, answer)
    assert len(server.requests) == 1


def test_a_refusal_carries_the_words_of_the_server() -> None:
    server = Server(v1_chat_completions=error(422, "max_tokens: must be >= 1"))
    with pytest.raises(InvalidInput, match="HTTP 422: max_tokens: must be >= 1"):
        call(server, answer)
    assert len(server.requests) == 1


def test_a_missing_key_is_said_to_be_missing() -> None:
    with pytest.raises(InvalidInput, match="set CLAAS_API_KEY"):
        call(Server(v1_chat_completions=error(401)), answer)


def test_the_key_is_sent() -> None:
    server = Server(v1_chat_completions=ok(chat()))
    call(server, answer, api_key="secret")
    assert server.requests[0].headers["Authorization"] == "Bearer secret"


def test_nothing_at_the_address_says_how_to_start_it() -> None:
    server = Server(v1_chat_completions=httpx.ConnectError("refused"))
    with pytest.raises(StackError, match=r"nothing answers at http://stack .*python -m claas\.api") as failure:
        call(server, answer)
    assert not isinstance(failure.value, LostAnswer), "the stack is gone, not one answer"


def test_no_more_than_max_concurrency_requests_are_in_flight() -> None:
    flying, most = 0, 0

    async def handle(request: httpx.Request) -> httpx.Response:
        nonlocal flying, most
        flying, most = flying + 1, max(most, flying + 1)
        await asyncio.sleep(0.005)
        flying -= 1
        return ok(chat())

    async def run() -> None:
        client = HttpClient("http://stack", max_concurrency=3, seed=0, transport=httpx.MockTransport(handle))
        await asyncio.gather(*(answer(HttpStack(client)) for _ in range(20)))
        await client.close()

    asyncio.run(run())
    assert most == 3


def test_the_wait_doubles_with_jitter_and_honours_the_server() -> None:
    retries = Retries(first_delay_s=1.0, longest_delay_s=10.0)
    assert [retries.delay_s(attempt, 0.5, 0.0) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 10]
    assert (retries.delay_s(1, 0.0, 0.0), retries.delay_s(1, 0.9, 0.0)) == (0.5, 1.4)
    assert retries.delay_s(1, 0.5, asked_s=7.0) == 7.0
    assert retries.delay_s(1, 0.5, asked_s=999.0) == 60.0


@pytest.mark.parametrize("asked", ["0.05", "Wed, 21 Oct 2015 07:28:00 GMT", "soon"])
def test_retry_after_is_a_number_or_a_date(asked: str) -> None:
    refused = error(429)
    refused.headers["Retry-After"] = asked
    assert call(Server(v1_chat_completions=[refused, ok(chat())]), answer, AT_ONCE).text == "Hi"


def introduce(reply: Reply, config: EvalConfig | None = None) -> None:
    async def run() -> None:
        transport = httpx.MockTransport(Server(root=reply))
        async with connect("http://stack", config or EvalConfig().resolved(), transport=transport, retries=ONCE):
            pass

    asyncio.run(run())


def test_a_claas_api_introduces_itself() -> None:
    introduce(ok(INFO))


@pytest.mark.parametrize(
    "reply",
    [ok(INFO | {"name": "other"}), ok({"detail": "hello"}), httpx.Response(200, html="<html>"), error(404)],
    ids=["other name", "other json", "web page", "no root"],
)
def test_something_else_at_the_address_is_said_to_be_something_else(reply: httpx.Response) -> None:
    with pytest.raises(InvalidInput, match=r"what answers at http://stack is not a CLaaS API"):
        introduce(reply)


def test_another_base_model_is_the_users_to_mend() -> None:
    with pytest.raises(InvalidInput, match=r"serves 'big'.*about 'claas-tiny'; add base_model=big"):
        introduce(ok(INFO | {"base_model": "big"}))


def test_an_api_that_trains_at_tinker_is_not_asked_for_what_it_cannot_do() -> None:
    config = EvalConfig(training=TrainingConfig(kl_reg_weight=0.1)).resolved()
    introduce(ok(INFO), config)
    with pytest.raises(InvalidInput) as in_two_processes:
        introduce(ok(INFO | {"mode": "tinker"}), config)
    with pytest.raises(InvalidInput) as in_one:
        EvalConfig(mode="tinker", training=config.training)
    assert str(in_two_processes.value) == str(in_one.value)


def test_a_server_that_is_ill_is_not_the_users_mistake() -> None:
    with pytest.raises(StackError, match="HTTP 503"):
        introduce(error(503, "loading"))


def test_an_urgent_request_goes_before_those_that_wait() -> None:
    answered: list[str] = []

    async def talk() -> None:
        asked = asyncio.Event()

        async def answering(request: httpx.Request) -> httpx.Response:
            await asked.wait()
            answered.append(request.url.path)
            return ok(chat())

        def ask(path: str, *, urgent: bool = False) -> asyncio.Task[ChatResponse]:
            return asyncio.create_task(client.post(path, USER, ChatResponse, urgent=urgent))

        client = HttpClient("http://x", max_concurrency=1, seed=1, transport=httpx.MockTransport(answering))
        tasks = [ask("/0"), ask("/1"), ask("/2"), ask("/gone", urgent=True), ask("/urgent", urgent=True)]
        await asyncio.sleep(0)
        tasks[3].cancel()
        asked.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        await client.close()

    asyncio.run(talk())
    assert answered == ["/0", "/urgent", "/1", "/2"]
