"""The pipelined Redis connection: order, sharing, and every way in which a server fails and comes back."""

import asyncio
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis

from portrait.feature_repo.online.redis_connection import PROBE_EVERY, SHARED_FOR, PipelinedRedis

PASSWORD = "secret word@"


class OwnRedis:
    """A Redis of the test's own, with an append-only file, that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._command = ["redis-server", "--port", str(self.port), "--dir", str(folder), "--save", ""]
        self._command += ["--appendonly", "yes", "--appendfsync", "always", "--requirepass", PASSWORD]
        self.start()

    def url(self, password: str = PASSWORD, options: str = "") -> str:
        return f"redis://:{password.replace('@', '%40').replace(' ', '%20')}@127.0.0.1:{self.port}/3{options}"

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        with redis.Redis(port=self.port, password=PASSWORD, db=3) as client:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                with suppress(redis.ConnectionError, redis.exceptions.BusyLoadingError):
                    client.ping()
                    return
                time.sleep(0.02)
        raise AssertionError("the test's Redis does not start")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[OwnRedis]:
    try:
        own = OwnRedis(tmp_path)
    except FileNotFoundError:
        pytest.skip("there is no redis-server to start")
    yield own
    own.process.send_signal(signal.SIGCONT)
    own.kill()


def asked(url: str, work: Callable[[PipelinedRedis], Coroutine[Any, Any, Any]]) -> Any:
    """What the work returns, in an event loop of its own."""

    async def run() -> Any:
        client = PipelinedRedis(url)
        try:
            return await work(client)
        finally:
            client.close()
            await asyncio.sleep(0)  # transports close in the next turn

    return asyncio.run(run())


def test_replies_belong_to_their_commands_whoever_asks_at_once(redis_url: str) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"SET", b"%d" % number, b"x" * number) for number in range(300)])
        asking = [client.ask([(b"GET", b"%d" % (n + m)) for m in range(n % 4)]) for n in range(250)]
        answers = await asyncio.gather(*asking)
        assert answers == [[b"x" * (n + m) for m in range(n % 4)] for n in range(250)]
        assert await client.ask([(b"GET", b"nothing")]) == [None]
        clients: list[bytes] = await client.ask([(b"CLIENT", b"LIST")])
        ours = [line for line in clients[0].splitlines() if b"cmd=client|list" in line]
        assert len(ours) == 1

    asked(redis_url, work)


async def turns_taken(client: PipelinedRedis, requests: int) -> list[bool]:
    """Of requests one after the other: whether the loop had a turn before the reply was there."""
    turns = []
    for _ in range(requests):
        turned = asyncio.Event()
        asyncio.get_running_loop().call_soon(turned.set)
        assert await client.ask([(b"ECHO", b"x")]) == [b"x"]
        turns.append(turned.is_set())
        await asyncio.sleep(0)
    return turns


def test_a_lone_request_reads_its_reply_itself_until_others_come(redis_url: str) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"PING",)])
        alone = await turns_taken(client, 3 * PROBE_EVERY)
        assert not all(alone)  # unless Redis never once answered within the time
        assert any(alone)
        await asyncio.gather(*(client.ask([(b"PING",)]) for _ in range(2 * PROBE_EVERY)))
        assert all(await turns_taken(client, SHARED_FOR - 2 * PROBE_EVERY))
        assert not all(await turns_taken(client, SHARED_FOR))

    asked(redis_url, work)


def test_a_server_that_takes_its_time_does_not_hold_up_the_loop(server: OwnRedis) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"PING",)])
        server.process.send_signal(signal.SIGSTOP)
        waiting = asyncio.ensure_future(client.ask([(b"ECHO", b"late")]))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        server.process.send_signal(signal.SIGCONT)
        assert await waiting == [b"late"]

    asked(server.url(), work)


def test_an_error_is_its_askers_alone(redis_url: str) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"SET", b"text", b"x")])
        wrong, right = client.ask([(b"HMGET", b"text", b"a"), (b"GET", b"text")]), client.ask([(b"GET", b"text")])
        said, answer = await asyncio.gather(wrong, right, return_exceptions=True)
        assert isinstance(said, redis.ResponseError) and "WRONGTYPE" in str(said)
        assert answer == [b"x"]

    asked(redis_url, work)


def test_who_gives_up_takes_nothing_from_the_others(redis_url: str) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"SET", b"a", b"1"), (b"SET", b"b", b"2")])
        gone, stays = (asyncio.ensure_future(client.ask([(b"GET", key)])) for key in (b"a", b"b"))
        await asyncio.sleep(0)
        gone.cancel()
        assert await stays == [b"2"]
        assert await client.ask([(b"GET", b"a")]) == [b"1"]

    asked(redis_url, work)


def test_reads_go_on_after_a_killed_server_is_up_again(server: OwnRedis) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"SET", b"kept", b"1")])
        server.kill()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                await client.ask([(b"GET", b"kept")])
        server.start()
        assert await asyncio.gather(*(client.ask([(b"GET", b"kept")]) for _ in range(20))) == [[b"1"]] * 20

    asked(server.url(), work)


def test_a_connection_that_broke_meanwhile_costs_nobody_an_answer(server: OwnRedis) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"SET", b"kept", b"1")])
        with redis.Redis(port=server.port, password=PASSWORD) as other:
            other.client_kill_filter(skipme=True, _type="normal")
        assert await client.ask([(b"GET", b"kept")]) == [b"1"]

    asked(server.url(), work)


def test_a_wrong_password_is_said(server: OwnRedis) -> None:
    with pytest.raises(redis.ResponseError, match="WRONGPASS"):
        asked(server.url("wrong"), lambda client: client.ask([(b"GET", b"x")]))


def test_a_server_that_stands_still_is_given_up_and_taken_up_again(server: OwnRedis) -> None:
    async def work(client: PipelinedRedis) -> None:
        await client.ask([(b"SET", b"kept", b"1")])
        server.process.send_signal(signal.SIGSTOP)
        waiting = [client.ask([(b"GET", b"kept")]) for _ in range(3)]
        for said in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(said, redis.TimeoutError) and "0.2 s" in str(said)
        server.process.send_signal(signal.SIGCONT)
        assert await client.ask([(b"GET", b"kept")]) == [b"1"]

    asked(server.url(options="?socket_timeout=0.2"), work)


def test_one_that_never_says_a_word_is_given_up_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}?socket_connect_timeout=0.2"
        with pytest.raises(redis.TimeoutError, match="in time"):
            asked(url, lambda client: client.ask([(b"GET", b"x")]))


def test_what_is_no_redis_is_told() -> None:
    async def work(client: PipelinedRedis) -> None:
        with pytest.raises(redis.ConnectionError, match="no Redis"):
            await client.ask([(b"GET", b"x")])

    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async def run() -> None:
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as other:
            await work(PipelinedRedis(f"redis://127.0.0.1:{other.sockets[0].getsockname()[1]}"))

    asyncio.run(run())


def test_every_event_loop_has_a_connection_of_its_own(redis_url: str) -> None:
    client = PipelinedRedis(redis_url)

    async def work() -> Any:
        try:
            return await client.ask([(b"ECHO", b"here")])
        finally:
            client.close()
            await asyncio.sleep(0)

    assert [asyncio.run(work()) for _ in range(2)] == [[b"here"]] * 2
