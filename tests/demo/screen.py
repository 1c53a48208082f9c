"""What the demo shows while it runs: a table on a terminal, a line every few seconds elsewhere.

Map:
    guide      how to watch with one's own browser
    table      each desk, and the sums below
    line       the same in one line
    verdict    the end, in sentences
"""

import base64
import hashlib
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from rich.table import Table

from tests.demo.parts import Agent
from tests.demo.stage import Stage
from tests.demo.summary import Result


def megabytes(count: float) -> str:
    return f"{count / 1e6:.1f} MB"


def percent(part: float) -> str:
    return f"{part * 100:.1f} %"


def _key_hash(ca: Path) -> str:
    """The name that Chromium's command line has for a root that is trusted for one run."""
    certificate = x509.load_pem_x509_certificate(ca.read_bytes())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()


def guide(stage: Stage) -> list[str]:
    """Where to look, and how to become one more viewer."""
    rows = [f"origin       {stage.origin.url}  (logs in {stage.directory})"]
    if stage.coordinator_url:
        rows.append(f"coordinator  {stage.coordinator_url}/admin")
    rows += [f"{agent.name:<12} {agent.page_url}" for agent in stage.agents if stage.plan.through == "agents"]
    if stage.agents:
        profile = stage.directory / "browser"
        rows.append("Your own browser, as a user of agent-1 (its PAC file sends demo.test to it, nothing else):")
        rows.append(
            f"  chromium --user-data-dir={profile} --proxy-pac-url={stage.pac_url(0)}"
            f" --ignore-certificate-errors-spki-list={_key_hash(stage.agents[0].ca)} '{stage.page()}'"
        )
    return rows


def _state(line: dict[str, object]) -> str:
    if not line:
        return "starting"
    errors = line.get("errors")
    words = ", ".join(f"{name} x{count}" for name, count in errors.items()) if isinstance(errors, dict) else ""
    return words or ("playing" if line.get("startup_ms") is not None else "waiting")


def table(stage: Stage, result: Result) -> Table:
    """One row per desk; the caption has the sums."""
    shown = Table(
        title=f"{stage.plan.stream} to {result.viewers} viewers, {result.seconds:.0f} s", caption=line(result)
    )
    for name in ("viewer", "from cache", "from peers", "from origin", "delivered", "buffer", "stalls", "state"):
        shown.add_column(name, justify="left" if name in {"viewer", "state"} else "right")
    for watched in stage.viewers:
        latest, agent = watched.latest, watched.agent
        shown.add_row(
            watched.child.name,
            *_sources(agent),
            megabytes(latest.get("bytes", 0)),
            f"{latest.get('buffer_seconds', 0.0):.1f} s",
            f"{latest.get('stalls', 0)} ({latest.get('stall_seconds', 0.0):.1f} s)",
            _state(latest),
        )
    return shown


def _sources(agent: Agent | None) -> tuple[str, str, str]:
    if agent is None or not agent.status:
        return ("-", "-", "-")
    groups = (("cache",), ("lan", "webrtc"), ("origin",))
    cache, peers, origin = (megabytes(agent.bytes_from(*sources)) for sources in groups)
    return cache, peers, origin


def line(result: Result) -> str:
    """The sums so far. A viewer reports once a second, the origin at once: early on that can look like less than 0."""
    return (
        f"{result.seconds:.0f} s: offload {percent(max(0.0, result.offload))} (bound {percent(result.bound)}), "
        f"{result.copies_per_segment:.2f} copies per segment at the origin, "
        f"{megabytes(result.bytes_delivered)} delivered, {megabytes(result.bytes_origin)} from the origin, "
        f"{result.stalls} stalls, {result.sha256_mismatches} wrong bodies"
    )


def trouble(result: Result) -> str | None:
    """What makes a run a failure, however much it saved: a viewer without a picture, or with a wrong one."""
    if result.sha256_mismatches:
        return f"{result.sha256_mismatches} bodies differ from what the origin published."
    if result.startup_ms_p50 is None:
        return "No viewer ever started playing."
    if result.startup_ms_max is None:
        return "Not every viewer started playing."
    return None


def verdict(result: Result) -> list[str]:
    """The run in sentences."""
    startup = "nobody started" if result.startup_ms_p50 is None else f"start-up {result.startup_ms_p50:.0f} ms (median)"
    slowest = "" if result.startup_ms_max is None else f", {result.startup_ms_max} ms (slowest)"
    return [
        f"{result.viewers} viewers got {result.segments} segments, {megabytes(result.bytes_delivered)}.",
        f"The origin sent {megabytes(result.bytes_origin)}: {result.copies_per_segment:.2f} copies per segment.",
        f"Offload {percent(result.offload)}; the bound for {result.viewers} viewers is {percent(result.bound)}.",
        f"Peers gave {megabytes(result.bytes_peers)}, caches {megabytes(result.bytes_cache)}.",
        f"{startup}{slowest}; {result.stalls} stalls, {result.stall_seconds:.1f} s.",
        f"Bodies that differ from the origin's: {result.sha256_mismatches}.",
        f"Manifests: viewers got {result.manifests_total}, the origin answered {result.manifests_from_origin}.",
    ]
