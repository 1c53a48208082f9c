"""Every source file has its test file: `ecdn_proxy/io/tls_links/contexts.py` has `tests/io/tls_links/test_contexts.py`.

The coordinator's lie flat (`tests/coordinator/test_tls.py`) or by floor (`tests/coordinator/web/test_tls.py`); a test
file may also carry a suffix (`test_node_faults.py`). What is covered elsewhere stands in `ELSEWHERE`, with where.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest

from tests.repository.files import ROOT, text, tracked

ELSEWHERE: dict[str, tuple[str, str]] = {
    # The command lines are tried as processes.
    "ecdn_proxy/__main__.py": ("tests/product/test_demo.py", "run and enrol, as processes"),
    "ecdn_proxy/front/cli.py": ("tests/front/test_service.py", "each command's words and exit code"),
    "ecdn_proxy/front/status/doctor.py": ("tests/front/test_service.py", "what it finds on a machine"),
    "coordinator/__main__.py": ("tests/coordinator/test_cli.py", "every command, as processes"),
    # Declarations that the core decides with.
    "ecdn_proxy/core/swarm/decisions.py": ("tests/core/swarm/test_ledger.py", "each of them, as the ledger's answer"),
    # Parts of the proxy that mitmproxy calls: tried through real sockets.
    "ecdn_proxy/front/mitm/addon.py": ("tests/front/test_proxy.py", "sorting, routing, manifests held"),
    "ecdn_proxy/front/intercept/listener.py": (
        "tests/front/intercept/test_connection.py",
        "who is opened here, and who is mitmproxy's",
    ),
    "ecdn_proxy/front/intercept/mitm_transport.py": (
        "tests/front/intercept/test_connection.py",
        "both directions, held back, ended",
    ),
    "ecdn_proxy/front/intercept/origin_connection.py": (
        "tests/front/intercept/test_direct.py",
        "origins that close, break off, are not there",
    ),
    "ecdn_proxy/front/intercept/mitm_relay.py": (
        "tests/front/intercept/test_connection.py",
        "requests in their order, handed over, broken off",
    ),
    "ecdn_proxy/front/http/responses.py": ("tests/front/mitm/test_gateway.py", "every kind of answer"),
    "ecdn_proxy/front/intercept/tls_stream.py": ("tests/front/intercept/test_connection.py", "TLS, good and broken"),
    "ecdn_proxy/front/mitm_patches.py": ("tests/front/test_proxy.py", "every request"),
    "ecdn_proxy/front/tls/policy.py": ("tests/front/test_proxy.py", "leaves, tunnels, hosts let go"),
    "ecdn_proxy/front/status/metrics.py": ("tests/front/status/test_server.py", "/metrics"),
    "ecdn_proxy/front/status/html.py": ("tests/front/status/test_server.py", "the page's text"),
    # Messages: every one has a golden frame and laws.
    "ecdn_proxy/wire/faults.py": ("tests/wire/test_codec.py", "whose fault a bad frame is"),
    "ecdn_proxy/wire/ids.py": ("tests/wire/test_frames.py", "names inside messages"),
    "ecdn_proxy/wire/integrity.py": ("tests/wire/test_frames.py", "vouchers inside messages"),
    "ecdn_proxy/wire/peer.py": ("tests/wire/test_frames.py", "every message"),
    "ecdn_proxy/wire/signalling.py": ("tests/wire/test_frames.py", "every message"),
    "ecdn_proxy/wire/tracker.py": ("tests/wire/test_frames.py", "every message"),
    "ecdn_proxy/wire/version.py": ("tests/wire/test_frames.py", "golden frames carry it"),
    "ecdn_proxy/core/catalog/lookup.py": ("tests/core/catalog/test_catalog.py", "each field of what is found"),
    # Links through NATs are tried as pairs of real agents' links.
    "ecdn_proxy/io/webrtc/channel.py": ("tests/io/webrtc/test_hub.py", "frames on a data channel"),
    "ecdn_proxy/io/webrtc/ice.py": ("tests/io/webrtc/test_hub.py", "addresses that are offered"),
    "ecdn_proxy/io/webrtc/engine.py": ("tests/io/webrtc/test_wrtc_engine.py", "both engines"),
    "ecdn_proxy/io/webrtc/aiortc_engine.py": ("tests/io/webrtc/test_hub.py", "every link"),
    "ecdn_proxy/io/webrtc/aiortc_patches.py": ("tests/io/webrtc/test_hub.py", "aiortc as we need it"),
    # The simulator: an office is run whole.
    "ecdn_proxy/sim/company.py": ("tests/sim/test_command.py", "many offices"),
    "ecdn_proxy/sim/faults.py": ("tests/sim/test_office.py", "what goes wrong"),
    "ecdn_proxy/sim/figures.py": ("tests/sim/test_office.py", "the sums"),
    "ecdn_proxy/sim/planning.py": ("tests/sim/test_command.py", "a plan from a list of sites"),
    "ecdn_proxy/sim/plot.py": ("tests/sim/test_command.py", "pictures"),
    "ecdn_proxy/sim/report.py": ("tests/sim/test_command.py", "what is printed"),
    "ecdn_proxy/sim/seal.py": ("tests/sim/test_office.py", "signatures that cost nothing"),
    "ecdn_proxy/sim/live_stream.py": ("tests/sim/test_player.py", "segments, and when they appear"),
    "ecdn_proxy/sim/player_request.py": ("tests/sim/test_office.py", "every byte, compared"),
    "ecdn_proxy/sim/tracker.py": ("tests/sim/test_office.py", "the coordinator's lists"),
    "ecdn_proxy/sim/virtual_clock.py": ("tests/sim/test_links.py", "the virtual clock"),
    # The coordinator's shell: tried through its web server.
    "coordinator/core/neighbours.py": ("tests/coordinator/test_tracker.py", "lists and committees"),
    "coordinator/io/clock.py": ("tests/coordinator/test_cli.py", "certificates and tokens that end"),
    "coordinator/io/tables.py": ("tests/coordinator/test_db.py", "every table"),
    "coordinator/service/maps.py": ("tests/coordinator/test_cli.py", "sites import"),
    "coordinator/service/performer.py": ("tests/coordinator/test_web.py", "what agents are sent"),
    "coordinator/service/system.py": ("tests/coordinator/test_web.py", "the whole, with real TLS"),
    "coordinator/web/responses.py": ("tests/coordinator/test_web.py", "refusals"),
    "coordinator/web/api.py": ("tests/coordinator/test_web.py", "agents, deny, allow"),
    "coordinator/web/app.py": ("tests/coordinator/test_web.py", "the route table, walked"),
    "coordinator/web/enrol.py": ("tests/coordinator/test_web.py", "enrol and renew"),
    "coordinator/web/health.py": ("tests/coordinator/test_web.py", "health, readiness, metrics"),
    "coordinator/web/app_keys.py": ("tests/coordinator/test_web.py", "used by every handler"),
    "coordinator/web/logs.py": ("tests/coordinator/test_cli.py", "lines on stderr"),
    "coordinator/web/idle_timeouts.py": ("tests/coordinator/test_web.py", "connections that ask nothing"),
    "coordinator/web/protocol_switch.py": (
        "tests/coordinator/test_web.py",
        "openings whole and in pieces, and what is none",
    ),
    "coordinator/web/socket.py": ("tests/coordinator/test_web.py", "an agent's conversation"),
    "coordinator/web/tls.py": ("tests/coordinator/test_web.py", "who is let in"),
    # Tried only as running agents so far; each is owed a test file of its own.
    "ecdn_proxy/agent/viewer_response.py": ("tests/product/test_demo.py", "players get every byte"),
    "ecdn_proxy/agent/api.py": ("tests/front/filled.py", "the front's tests stand in for an agent by it"),
    "ecdn_proxy/agent/performer.py": ("tests/product/test_demo.py", "running agents"),
    "ecdn_proxy/agent/addresses.py": ("tests/product/test_demo.py", "running agents"),
    "ecdn_proxy/agent/status.py": ("tests/front/status/test_server.py", "the structure, shown"),
    "ecdn_proxy/agent/coordinator_session.py": ("tests/product/test_loss.py", "agents with and without a coordinator"),
    "ecdn_proxy/agent/signer.py": ("tests/product/test_demo.py", "pieces between agents"),
    "ecdn_proxy/agent/disk_cache.py": ("tests/io/test_disk_store.py", "the store below it"),
    "ecdn_proxy/agent/classifier.py": ("tests/product/test_privacy.py", "whose session gets what"),
    "ecdn_proxy/agent/status_builder.py": ("tests/product/test_demo.py", "the demo's sums are read from it"),
    "ecdn_proxy/agent/system.py": ("tests/product/test_demo.py", "running agents"),
}
"""Source file: the test file that covers it, and what of it."""

WORDS = {"__init__", "limits", "values", "seal"}
"""Packages' docstrings, and declarations that are tested by their readers (settings, generated pages, every room)."""


def sources() -> Iterator[str]:
    for name in tracked():
        path = PurePosixPath(name)
        if path.suffix == ".py" and path.parts[0] in {"ecdn_proxy", "coordinator"} and "migrations" not in path.parts:
            yield name


def mirrors_of(source: str) -> list[str]:
    path = PurePosixPath(source)
    floor = path.parts[1:-1]
    places = (
        {("tests", *floor)}
        if path.parts[0] == "ecdn_proxy"
        else {("tests", "coordinator"), ("tests", "coordinator", *floor)}
    )
    own = f"test_{path.stem}"
    candidates = [PurePosixPath(name) for name in tracked()]
    return [str(one) for one in candidates if one.parent.parts in places and (one.stem + "_").startswith(own + "_")]


@pytest.mark.parametrize("source", list(sources()))
def test_every_source_file_has_a_test_file(source: str) -> None:
    if PurePosixPath(source).stem in WORDS:
        return
    assert mirrors_of(source) or source in ELSEWHERE, (
        f"{source} has no test file: write one, or say in ELSEWHERE who covers it"
    )


@pytest.mark.parametrize("source", ELSEWHERE)
def test_what_is_covered_elsewhere_exists(source: str) -> None:
    assert source in sources(), f"{source} is gone; take it out of ELSEWHERE"
    assert (ROOT / ELSEWHERE[source][0]).is_file()


def test_files_stay_readable() -> None:
    """A file opens with its map; 600 lines is the end of what anybody reads (the habit is 400)."""
    for source in sources():
        content = text(source)
        assert content is not None
        assert content.startswith('"""'), f"{source} opens without saying what it is"
        assert content.count("\n") <= 600, f"{source} is too long: part it"
