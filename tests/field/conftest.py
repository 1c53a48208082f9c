"""One office for all tests of this folder that need no other: three desks that share, disk on.

It starts once, which takes seconds, and ends after the last test here. So each test keeps to a folder of its own at the
origin (`folder`).
"""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.field.office import Office, desks


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def office() -> AsyncIterator[Office]:
    async with desks(3, settings={"cache_disk_mb": 256}) as office:
        yield office


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> str:
    """A folder at the origin that no other test uses: `/` and the test's name."""
    return "/" + re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_").lower()).strip("-")
