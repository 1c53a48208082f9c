"""One running agent with its front: every part is started in order, and closed in reverse.

Map: `serve` (until a signal) · `CannotStart` (one sentence: what, where, cure) · `prepare_state` · `set_up_logs`.
"""

import asyncio
import errno
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from pathlib import Path
from typing import Final, TextIO

import msgspec
import structlog

from ecdn_proxy.agent.api import StartedAgent
from ecdn_proxy.agent.settings import EffectiveSettings
from ecdn_proxy.core.catalog.providers import BadProfile
from ecdn_proxy.core.http.hosts import HostScope
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.front.mitm.gateway import Gateway
from ecdn_proxy.front.proxy import CannotListen, Proxy
from ecdn_proxy.front.status.server import Page
from ecdn_proxy.front.tls.authority import Authority, write_private
from ecdn_proxy.io import clock
from ecdn_proxy.io.identity import DamagedIdentity

DRAIN_S: Final = 5.0
"""Running requests get this long at the end; a 2 s segment takes less, and service managers wait 10 s and more."""
_FIRST: Final = ("timestamp", "level", "logger", "event")
_log = structlog.get_logger("ecdn")


class CannotStart(Exception):
    """Something on this machine is in the way; the text is for the person who started the agent."""


async def serve(
    effective: EffectiveSettings,
    state_dir: Path,
    system: Callable[[], AbstractAsyncContextManager[StartedAgent]],
    ready_file: Path | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Run until SIGTERM, SIGINT or `stop`.

    Args:
        effective: the settings in force.
        state_dir: where this agent keeps what it must remember.
        system: makes the agent, which is started by entering it.
        ready_file: written as JSON when everything listens, removed at the end.
        stop: ends the run like a signal.

    Raises:
        CannotStart: something on this machine is in the way.
    """
    stop = stop or asyncio.Event()
    for warning in effective.warnings:
        _log.warning("setting", why=warning)
    prepare_state(state_dir)
    async with AsyncExitStack() as stack:
        try:
            agent = await stack.enter_async_context(system())
        except (OSError, DamagedIdentity, BadProfile) as error:
            raise CannotStart(f"The agent cannot start: {error}.") from error
        proxy, page = await _listen(stack, agent, effective.settings, state_dir)
        with _signals(stop):
            if ready_file is not None:
                _ready(ready_file, proxy, page, stack)
            _log.info("ready", proxy=_text(proxy.address), page=_text(page.address))
            await stop.wait()
            _log.info("stopping", within_s=DRAIN_S)
            await proxy.drain_and_close(DRAIN_S)
    _log.info("stopped")


def prepare_state(state_dir: Path) -> None:
    """Make the state directory, readable by this user only.

    Raises:
        CannotStart: it cannot be written.
    """
    try:
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(state_dir / "writable", b"")
        (state_dir / "writable").unlink()
    except OSError as error:
        raise CannotStart(
            f"The state directory {state_dir} cannot be written: {error.strerror}. Give this user the right to write "
            "there, or name another with --state-dir."
        ) from error


async def _listen(
    stack: AsyncExitStack, agent: StartedAgent, settings: Settings, state_dir: Path
) -> tuple[Proxy, Page]:
    try:
        scope = HostScope.of(settings.intercept_domains, settings.bypass_domains)
        authority = Authority.open(state_dir, scope, clock.utc)
        gateway = Gateway(source_headers=settings.source_headers, clock=clock.utc)
        await gateway.start()
        stack.push_async_callback(gateway.close)
        proxy = Proxy(agent.router, settings, state_dir, gateway, authority)
        await proxy.start()
        stack.push_async_callback(proxy.drain_and_close, 0.0)
    except CannotListen as error:
        raise CannotStart(str(error)) from error
    except (OSError, ValueError) as error:
        raise CannotStart(f"The proxy cannot start: {error}.") from error
    page = Page(agent, settings, lambda: _text(proxy.address))
    try:
        await page.start()
    except OSError as error:
        why = "the port is in use" if error.errno == errno.EADDRINUSE else error.strerror
        raise CannotStart(
            f"The status page cannot listen on {settings.page_listen}: {why}. Is another ecdn agent running? Stop "
            "it, or set another address with the setting page_listen."
        ) from error
    stack.push_async_callback(page.close)
    proxy.targets.own_ports.add(page.address[1])
    return proxy, page


def _text(address: tuple[str, int]) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _ready(file: Path, proxy: Proxy, page: Page, stack: AsyncExitStack) -> None:
    facts = {"pid": os.getpid(), "proxy": _text(proxy.address), "page": _text(page.address)}
    try:
        write_private(file, msgspec.json.encode(facts))
    except OSError as error:
        raise CannotStart(f"The ready file {file} cannot be written: {error.strerror}.") from error
    stack.callback(file.unlink, missing_ok=True)


@contextmanager
def _signals(stop: asyncio.Event) -> Iterator[None]:
    """Let SIGTERM and SIGINT set `stop`; a second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    wanted = (signal.SIGTERM, signal.SIGINT)

    def ask(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    if sys.platform == "win32":
        for number in wanted:
            signal.signal(number, lambda got, _: loop.call_soon_threadsafe(ask, got))
        yield
        return
    for number in wanted:
        loop.add_signal_handler(number, ask, number)
    try:
        yield
    finally:
        for number in wanted:
            loop.remove_signal_handler(number)


def set_up_logs(level: str) -> None:
    """Structured lines on stderr, those of libraries among them."""
    shared: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    colours = sys.stderr.isatty()
    last: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer()
        if colours
        else structlog.processors.LogfmtRenderer(key_order=_FIRST, bool_as_flag=False)
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *(() if colours else (structlog.processors.format_exc_info,)),
            last,
        ],
    )
    handler = _Stderr()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("mitmproxy", "aiohttp", "asyncio", "zeroconf"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to whatever `sys.stderr` is at that moment."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        """Nothing: the stream follows `sys.stderr`."""
