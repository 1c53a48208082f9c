"""After each test of this floor: no stray task, socket or thread."""

import asyncio
import threading
from collections.abc import AsyncIterator

import psutil
import pytest
import pytest_asyncio

from coordinator.io.ca import Authority
from ecdn_proxy.io.tls_links.sockets import Networks
from tests.io.agents import LOOPBACK, Agent, Start
from tests.io.material import Root, root
from tests.io.switching import authority


@pytest.fixture(scope="session")
def tenant_root() -> Root:
    return root()


@pytest.fixture(scope="module")
def tenant(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """For WebRTC links, whose descriptions devices sign."""
    return authority(tmp_path_factory.mktemp("tenant"))


_LOOP_THREADS = ("asyncio_", "uvloop_")
"""The loop's own executor lives as long as the loop."""


def _sockets() -> int:
    return len(psutil.Process().net_connections(kind="inet"))


def _threads() -> set[str]:
    return {each.name for each in threading.enumerate() if not each.name.startswith(_LOOP_THREADS)}


@pytest_asyncio.fixture
async def nothing_left() -> AsyncIterator[None]:
    sockets, threads, tasks = _sockets(), _threads(), asyncio.all_tasks()
    yield
    for _ in range(200):  # a closed transport lets go of its socket a few turns of the loop later
        if _sockets() <= sockets and not asyncio.all_tasks() - tasks - {asyncio.current_task()}:
            break
        await asyncio.sleep(0.01)
    left = asyncio.all_tasks() - tasks - {asyncio.current_task()}
    assert not left
    assert _sockets() <= sockets
    assert not _threads() - threads


@pytest_asyncio.fixture
async def start(tenant_root: Root) -> AsyncIterator[Start]:
    """Start agents; all are closed afterwards."""
    started: list[Agent] = []

    async def make(device: str, address: str, networks: Networks = LOOPBACK) -> Agent:
        agent = Agent(device, address, tenant_root.contexts(device), networks)
        started.append(agent)
        await agent.hub.start()
        return agent

    yield make
    for agent in started:
        await agent.hub.close()
