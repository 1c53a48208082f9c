"""What the agent learns from a passing answer, and that no fault of its own holds the answer up."""

import asyncio
import gzip
from pathlib import Path

import pytest

from ecdn_proxy.agent.api import ViewerRequest
from ecdn_proxy.core.http.hosts import HostScope
from ecdn_proxy.front.http import observed as module
from ecdn_proxy.front.http.content_encoding import MANIFEST_BYTES_MAX
from ecdn_proxy.front.http.observed import HELD_BYTES_MAX, ObservedAnswer, ObservedAnswers
from ecdn_proxy.front.tls.authority import Authority
from ecdn_proxy.front.tls.policy import Interception
from ecdn_proxy.io import clock
from tests.front.rig import ToldAgent

URL = "https://video.stream.test/live.m3u8"
PLAYLIST = b"#EXTM3U\n"
KIND = (b"Content-Type", b"application/vnd.apple.mpegurl")


def books(directory: Path) -> tuple[ToldAgent, ObservedAnswers]:
    agent, scope = ToldAgent(), HostScope.of(("stream.test",), ())
    return agent, ObservedAnswers(
        agent, Interception(scope, Authority.open(directory, scope, clock.utc), lambda *_: None)
    )


def asked(method: str = "GET") -> ObservedAnswer:
    return ObservedAnswer(ViewerRequest(method, URL, ()))


def answered(book: ObservedAnswers, one: ObservedAnswer, status: int, *fields: tuple[bytes, bytes]) -> bool:
    return book.head_came(one, "video.stream.test", status, fields)


def test_what_is_held_and_what_is_copied(tmp_path: Path) -> None:
    _, book = books(tmp_path)
    for length, held in ((b"8", True), (b"%d" % HELD_BYTES_MAX, True), (b"%d" % (HELD_BYTES_MAX + 1), False)):
        one = asked()
        assert answered(book, one, 200, KIND, (b"content-length", length)) is held
        assert one.copy is not None
    one = asked()
    assert not answered(book, one, 200, KIND)
    assert one.copy is not None
    for status, method in ((204, "GET"), (304, "GET"), (404, "GET"), (200, "HEAD")):
        one = asked(method)
        assert not answered(book, one, status, *(() if status == 404 else (KIND,)))
        assert one.copy is None


def test_a_copy_has_an_end(tmp_path: Path) -> None:
    _, book = books(tmp_path)
    one = asked()
    answered(book, one, 200, KIND)
    chunk = bytes(MANIFEST_BYTES_MAX)
    kept = []
    for data in (chunk, b"x"):
        assert one.body_came(data) is data
        kept.append(None if one.copy is None else len(one.copy))
    assert kept == [MANIFEST_BYTES_MAX, None]
    assert one.received_bytes == MANIFEST_BYTES_MAX + 1


@pytest.mark.asyncio
async def test_a_coded_copy_is_learnt_plain_and_once_in_the_books(tmp_path: Path) -> None:
    agent, book = books(tmp_path)
    one, coded = asked(), gzip.compress(PLAYLIST)
    answered(book, one, 200, KIND, (b"Content-Encoding", b"gzip"))
    one.body_came(coded)
    await book.ended(one)
    book.over(one)
    assert agent.learnt == [(URL, PLAYLIST)]
    assert agent.books == [(URL, 200, len(coded))]
    broken = asked()
    answered(book, broken, 200, KIND, (b"Content-Encoding", b"gzip"))
    broken.body_came(b"not gzip")
    await book.ended(broken)
    assert len(agent.learnt) == 1
    unanswered = asked()
    book.over(unanswered)
    assert len(agent.books) == 2


@pytest.mark.asyncio
async def test_a_no_is_told_with_its_head(tmp_path: Path) -> None:
    agent, book = books(tmp_path)
    one = asked()
    answered(book, one, 403)
    assert agent.books == [(URL, 403, 0)]


@pytest.mark.asyncio
async def test_the_answer_goes_on_whatever_the_agent_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, book = books(tmp_path)
    monkeypatch.setattr(module, "LEARNING_MAX_S", 0.0)

    def fail(*_: object) -> None:
        raise RuntimeError("broken")

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    one = asked()
    answered(book, one, 200, KIND)
    monkeypatch.setattr(agent, "manifest_arrived", never)
    await book.ended(one)
    await book.close()
    for broken in ("may_be_manifest", "passed_to_origin"):
        monkeypatch.setattr(agent, broken, fail)
        assert not answered(book, asked(), 200, KIND)
        one = asked()
        answered(book, one, 403)
        await book.ended(one)
