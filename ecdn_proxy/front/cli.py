"""The command `ecdn-proxy`: run, enrol, status, ca, pac, doctor, simulate, replay.

A mistake of whoever calls is one sentence on stderr and exit code 2; a traceback is a fault of ours.
"""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console
from rich.table import Table

from ecdn_proxy.agent import settings as agent_settings
from ecdn_proxy.agent.api import StartedAgent
from ecdn_proxy.agent.recorder import RECORD_MB, RecordFile
from ecdn_proxy.agent.status import Status
from ecdn_proxy.core.http.hosts import HostScope
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.front import service
from ecdn_proxy.front.status import doctor, pac
from ecdn_proxy.front.status.server import read_corporate
from ecdn_proxy.front.tls.authority import Authority
from ecdn_proxy.io import clock, coordinator_client, identity, settings_loader
from ecdn_proxy.sansio.descriptors import raise_descriptor_limit
from ecdn_proxy.wire.faults import Fault

DESCRIPTORS = 8_192
"""Files and sockets that may be open at once: 2,048 links (`io/tls_links/hub.py`), their dials, browsers, and room."""
_COLOURS = {"working": "green", "limited": "yellow", "passing": "blue"}


def default_folders() -> tuple[Path, Path]:
    """Where agent.toml and the state directory are when nobody says otherwise."""
    match sys.platform:
        case "win32":
            data = Path(os.environ.get("PROGRAMDATA", r"C:\ProgramData")) / "Ecdn"
            return data / "agent.toml", data / "state"
        case "darwin":
            data = Path("/Library/Application Support/Ecdn")
            return data / "agent.toml", data / "state"
        case _:
            return Path("/etc/ecdn/agent.toml"), Path("/var/lib/ecdn")


def _common[**P, R](command: Callable[P, R]) -> Callable[P, R]:
    config, state = default_folders()
    for option in (
        click.option("--config", type=click.Path(path_type=Path), help=f"agent.toml; else {config} if it is there."),
        click.option("--state-dir", type=click.Path(path_type=Path), default=state, show_default=True),
    ):
        command = option(command)
    return command


def _effective(
    config: Path | None, state_dir: Path, flags: dict[str, Any] | None = None
) -> agent_settings.EffectiveSettings:
    usual = default_folders()[0]
    chosen = config if config is not None else usual if usual.is_file() else None
    try:
        known = identity.load_identity(state_dir)
    except (identity.DamagedIdentity, OSError):
        known = None  # `run` and `doctor` say so; settings do not depend on it
    given = known.settings if known is not None else {}
    try:
        return agent_settings.load(chosen, os.environ, flags or {}, given)
    except settings_loader.BadSettings as error:
        _stop(str(error))


def _stop(sentence: str) -> NoReturn:
    click.echo(f"ecdn-proxy: {sentence}", err=True)
    raise SystemExit(2)


def _run_async(work: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop  # noqa: PLC0415 - it does not exist for Windows
    except ImportError:
        asyncio.run(work)
    else:
        asyncio.run(work, loop_factory=uvloop.new_event_loop)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ecdn")
def main() -> None:
    """Shares streams with the neighbours: one copy enters the office, every player there gets it."""
    service.set_up_logs("warning")


@main.command()
@_common
@click.option("--ready-file", type=click.Path(path_type=Path), help="Written as JSON when everything listens.")
@click.option("--listen", help="address:port of the proxy.")
@click.option("--page-listen", help="address:port of the status page.")
@click.option("--peer-listen", help="address:port for other agents.")
@click.option("--intercept-domains", help="Streaming domains, separated by commas.")
@click.option("--log-level", help="debug, info, warning or error.")
@click.option("--record", type=click.Path(path_type=Path), help="Write there what is decided, for `replay`; no URLs.")
@click.option(
    "--record-mb", type=click.IntRange(1, 4_096), default=RECORD_MB, show_default=True, help="At most so much."
)
def run(
    config: Path | None,
    state_dir: Path,
    ready_file: Path | None,
    record: Path | None,
    record_mb: int,
    **flags: str | None,
) -> None:
    """Run the agent until it is told to stop."""
    effective = _effective(config, state_dir, dict(flags))
    service.set_up_logs(effective.settings.log_level)
    raise_descriptor_limit(DESCRIPTORS)

    def system() -> AbstractAsyncContextManager[StartedAgent]:
        from ecdn_proxy.agent.system import System  # noqa: PLC0415 - the other commands do without it

        return System(settings=effective, state_dir=state_dir, record=recording)

    try:
        recording = None if record is None else RecordFile(record, record_mb * 1_000_000)
    except OSError as error:
        _stop(f"The recording {record} cannot be written: {error.strerror}.")
    try:
        _run_async(service.serve(effective, state_dir, system, ready_file))
    except service.CannotStart as error:
        _stop(str(error))


@main.command()
@_common
@click.option("--coordinator", "url", required=True, help="URL, as in https://ecdn.example.com:8443.")
@click.option("--tenant-root-sha256", required=True, help="SHA-256 of the tenant root, from IT.")
@click.option("--token", required=True, envvar="ECDN_TOKEN", help="Enrolment token, from IT.")
def enrol(config: Path | None, state_dir: Path, url: str, tenant_root_sha256: str, token: str) -> None:
    """Make this machine a device of its organisation."""
    del config
    try:
        service.prepare_state(state_dir)
        version = metadata.version("ecdn")
        enrolled = asyncio.run(coordinator_client.enrol(url, tenant_root_sha256, token, state_dir, version))
    except service.CannotStart as error:
        _stop(str(error))
    except (Fault, OSError) as error:
        _stop(f"Enrolment did not succeed: {error}.")
    click.echo(f"Enrolled as device {enrolled.device}. A running agent uses it after a restart.")


@main.command()
@_common
@click.option("--json", "as_json", is_flag=True, help="The whole status as JSON.")
def status(config: Path | None, state_dir: Path, *, as_json: bool) -> None:
    """Show what the running agent does, from where, and why."""
    settings = _effective(config, state_dir).settings
    found = doctor.fetch_status(settings)
    if found is None:
        _stop(f"No agent answers at {pac.reachable(settings.page_listen)}. Start it, or see ecdn-proxy doctor.")
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        _print_status(found)


def _print_status(found: Status) -> None:
    console = Console()
    console.print(found.sentence, style=f"bold {_COLOURS[found.state]}", markup=False)
    for condition in found.conditions:
        console.print(f"! {condition.title}: {condition.text}", style="yellow", markup=False)
        console.print(f"  What to do: {condition.remedy}", markup=False)
    sources = Table("From", "MB", "Segments", title="Where video came from", title_justify="left")
    for source in ("cache", "lan", "webrtc", "origin", "passed"):
        amount, count = getattr(found.bytes, source), getattr(found.segments, source)
        sources.add_row(source, f"{amount / 1e6:.1f}", str(count))
    console.print(sources)
    peers = Table("Machine", "Link", "ms", "MB got", "MB gave", "Why", title="Other agents", title_justify="left")
    for peer in found.peers:
        peers.add_row(
            peer.address, peer.kind, f"{peer.rtt_ms:.1f}", f"{peer.bytes_in / 1e6:.1f}", f"{peer.bytes_out / 1e6:.1f}",
            peer.why,
        )  # fmt: skip
    if found.peers:
        console.print(peers)
    recent = Table("Segment", "Track", "From", "ms", "Why", title="Latest segments", title_justify="left")
    for one in found.recent[:8]:
        recent.add_row(str(one.number), one.rendition, one.source, f"{one.ms:.0f}", one.why)
    if found.recent:
        console.print(recent)
    settings = Table("Setting", "Value", "Set by", title="Settings", title_justify="left")
    for row in found.settings:
        settings.add_row(row.name, row.value, row.source)
    console.print(settings)


@main.command()
@_common
def ca(config: Path | None, state_dir: Path) -> None:
    """Print the certificate authority of this machine (PEM), for its trusted roots; made if there is none."""
    settings = _effective(config, state_dir).settings
    existing = state_dir / "authority" / "ca.pem"
    try:
        if not existing.exists():
            service.prepare_state(state_dir)
            Authority.open(state_dir, _scope(settings), clock.utc)
        click.echo(existing.read_text("ascii"), nl=False)
    except service.CannotStart as error:
        _stop(str(error))
    except OSError as error:
        _stop(f"{existing} cannot be read: {error.strerror}. Run this as the user of the agent.")


@main.command(name="pac")
@_common
def print_pac(config: Path | None, state_dir: Path) -> None:
    """Print the PAC file."""
    settings = _effective(config, state_dir).settings
    click.echo(pac.pac(_scope(settings), settings.listen, read_corporate(settings)), nl=False)


@main.command(name="doctor")
@_common
def examine(config: Path | None, state_dir: Path) -> None:
    """Say what is wrong on this machine and what to do; exit code 1 if anything is."""
    settings = _effective(config, state_dir).settings
    wrong = 0
    for finding in doctor.examine(settings, state_dir, clock.utc()):
        wrong += bool(finding.cure)
        click.secho("! " if finding.cure else "+ ", fg="yellow" if finding.cure else "green", nl=False, bold=True)
        click.echo(f"{finding.name}: {finding.text}")
        if finding.cure:
            click.echo(f"  What to do: {finding.cure}")
    raise SystemExit(1 if wrong else 0)


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def simulate(arguments: tuple[str, ...]) -> None:
    """Plan an event: what each office's link will carry, with and without sharing (--help for more)."""
    from ecdn_proxy.sim.command import command  # noqa: PLC0415 - the agent does without it

    command.main(args=list(arguments), prog_name="ecdn-proxy simulate")


@main.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def replay(arguments: tuple[str, ...]) -> None:
    """Replay what an agent recorded (run --record) and say whether this version decides the same."""
    from ecdn_proxy.sim.replay import command  # noqa: PLC0415 - the agent does without it

    command.main(args=list(arguments), prog_name="ecdn-proxy replay")


def _scope(settings: Settings) -> HostScope:
    return HostScope.of(settings.intercept_domains, settings.bypass_domains)
