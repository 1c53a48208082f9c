import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sockets are not counted there")


@pytest.mark.parametrize(("soft", "hard", "then"), [(64, 4_096, 4_096), (64, 1_000_000, 8_192), (9_000, 9_000, 9_000)])
def test_the_limit_of_open_files_is_lifted_as_far_as_it_may(soft: int, hard: int, then: int) -> None:
    import resource  # noqa: PLC0415 - not on Windows

    if hard > resource.getrlimit(resource.RLIMIT_NOFILE)[1]:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        then = min(then, hard)
    program = (
        "import resource; from ecdn_proxy.sansio.descriptors import raise_descriptor_limit as lift; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); told = lift(8_192); "
        "print(told, resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    out = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert [int(figure) for figure in out.split()] == [then, then]
