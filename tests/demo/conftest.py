"""One real origin for the demo's own tests, in its own process."""

import json
import ssl
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from aiohttp.abc import AbstractResolver

from tests.demo.viewer import FixedResolver

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Served:
    """The origin of the tests: its URL, the port behind it and the file with its root certificate."""

    url: str
    port: int
    ca: Path


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("origin")
    ready = directory / "ready.json"
    command = [sys.executable, "-m", "tests.demo.origin", "--pki", str(directory), "--ready-file", str(ready)]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=log, stderr=log)
        try:
            for _ in range(600):
                if ready.exists() or process.poll() is not None:
                    break
                time.sleep(0.05)
            assert ready.exists(), (directory / "log").read_text()
            answer = json.loads(ready.read_text())
            yield Served(answer["url"], answer["port"], directory / "origin-ca.pem")
        finally:
            process.terminate()
            process.wait(30)


@pytest_asyncio.fixture
async def client(served: Served) -> AsyncIterator[aiohttp.ClientSession]:
    resolver: AbstractResolver = FixedResolver({"origin.demo.test": "127.0.0.1"})
    connector = aiohttp.TCPConnector(resolver=resolver, ssl=ssl.create_default_context(cafile=served.ca))
    async with aiohttp.ClientSession(served.url, connector=connector) as session:
        yield session
        await session.get("/_demo/fault?clear=1")
