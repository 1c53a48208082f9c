"""The command `ecdn-coordinator`: run, token create, tenant create, sites import, migrate.

A mistake of whoever calls it is one sentence on stderr and exit code 2; a traceback is a fault of ours.
"""

import asyncio
import contextlib
import ipaddress
import json
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec
import structlog
from sqlalchemy.exc import DBAPIError

from coordinator.core import registry
from coordinator.core.limits import Settings
from coordinator.core.registry import Token
from coordinator.io import clock
from coordinator.io.db import migrate as migrate_database
from coordinator.io.files import write_private
from coordinator.io.memory import map_large_buffers
from coordinator.io.stun import StunResponder
from coordinator.service import maps
from coordinator.service.gc_tuning import collect_young_objects_only
from coordinator.service.settings import ConfigurationError, host_and_port, load
from coordinator.service.system import ADMIN_TOKEN_FILE, DataDirectory, System, open_data_directory
from coordinator.web.app import WebServer
from coordinator.web.logs import set_up_logs
from ecdn_proxy.sansio.descriptors import raise_descriptor_limit

OTHER_DESCRIPTORS = 64
"""Open files beside the agents' sockets: the database, browsers' connections, agents that are being turned away."""
ANYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  # compared with, not listened on

_data_dir = click.option(
    "--data-dir", required=True, type=click.Path(path_type=Path), help="Folder of database, tenant CA and admin token."
)
_config = click.option("--config", type=click.Path(path_type=Path), help="coordinator.toml.")
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ecdn")
def main() -> None:
    """The coordinator: enrols agents and tells each who is near and watches the same."""


@main.command()
@_data_dir
@_config
@click.option("--listen", help="host:port to listen on.")
@click.option("--public-url", help="URL under which agents reach it.")
@click.option("--sites", help="Site map (CSV) to put in force.")
@click.option("--ready-file", type=click.Path(path_type=Path), help="Written when it answers.")
def run(
    data_dir: Path,
    config: Path | None,
    listen: str | None,
    public_url: str | None,
    sites: str | None,
    ready_file: Path | None,
) -> None:
    """Run until SIGTERM."""
    set_up_logs()
    collect_young_objects_only()
    map_large_buffers()

    def settings() -> Settings:
        return load(config, os.environ, {"listen": listen, "public_url": public_url, "sites": sites})

    _run_command(_run(data_dir, settings, ready_file))


async def _run(data_dir: Path, load_settings: Callable[[], Settings], ready_file: Path | None) -> None:
    log = structlog.get_logger("coordinator")
    settings = _within_descriptor_limit(_with_own_stun(load_settings()), log)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows has no signal handlers on its loop
            loop.add_signal_handler(number, stop.set)
    loop.set_exception_handler(
        lambda _loop, context: log.error("event loop", what=context["message"], exc_info=context.get("exception"))
    )
    host, port = host_and_port(settings.listen)
    async with _opened(data_dir, settings, log, host, port) as (system, server):
        url = _url(settings, host, server.port)
        await system.db.set_url(system.authority.tenant, url)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, _reload, system, load_settings, log)
        ready = {"url": url, "tenant_root_sha256": system.authority.root_sha256}
        if ready_file is not None:
            try:
                write_private(ready_file, json.dumps(ready).encode())
            except OSError as error:
                raise ConfigurationError(f"--ready-file {ready_file} cannot be written: {error.strerror}") from error
        click.echo(f"coordinator         {url}")
        click.echo(f"tenant root SHA-256 {system.authority.root_sha256}")
        click.echo(f"admin token in      {data_dir / ADMIN_TOKEN_FILE}")
        log.info("answering", url=url, tenant=system.authority.tenant)
        await stop.wait()
        log.info("closing", agents=len(system.tracker))


@asynccontextmanager
async def _opened(
    data_dir: Path, settings: Settings, log: Any, host: str, port: int
) -> AsyncIterator[tuple[System, WebServer]]:
    async with System.opened(data_dir, settings, log) as system:
        server = WebServer(system, host, port, _names(settings, host))
        stun = StunResponder(*host_and_port(settings.stun_listen)) if settings.stun_listen else None
        try:
            await server.open()
            if stun is not None:
                await _start(stun, settings.stun_listen)
                log.info("STUN responder", listen=settings.stun_listen)
            yield system, server
        finally:
            await server.close()
            if stun is not None:
                await stun.close()


async def _start(stun: StunResponder, listen: str) -> None:
    try:
        await stun.start()
    except OSError as error:
        raise ConfigurationError(f"stun_listen = {listen!r}: cannot be listened on: {error.strerror}") from error


def _with_own_stun(settings: Settings) -> Settings:
    """The settings that name the coordinator's own STUN responder to agents, unless `[agents]` names servers."""
    if not settings.stun_listen or "stun_servers" in settings.agents:
        return settings
    name = urlsplit(_url(settings, host_and_port(settings.listen)[0], 0)).hostname
    port = host_and_port(settings.stun_listen)[1]
    return msgspec.structs.replace(settings, agents=settings.agents | {"stun_servers": [f"stun:{name}:{port}"]})


def _within_descriptor_limit(settings: Settings, log: Any) -> Settings:
    """The settings with no more agents than this process may have open files.

    Agents above that are then told so; if they were accepted, they would never be answered.

    Raises:
        ConfigurationError: not even one agent fits.
    """
    allowed = raise_descriptor_limit(settings.agents_max + OTHER_DESCRIPTORS)
    fits = min(settings.agents_max, allowed - OTHER_DESCRIPTORS)
    if fits < 1:
        raise ConfigurationError(
            f"this process may open {allowed} files, and needs more than {OTHER_DESCRIPTORS}; raise ulimit -n"
        )
    if fits < settings.agents_max:
        why = f"this process may open {allowed} files; raise ulimit -Hn or LimitNOFILE for agents_max"
        log.warning("fewer agents than agents_max", agents=fits, agents_max=settings.agents_max, why=why)
    return msgspec.structs.replace(settings, agents_max=fits)


def _reload(system: System, load_settings: Callable[[], Settings], log: Any) -> None:
    """On SIGHUP: read the settings again, and send agents the `[agents]` table as it is now."""
    try:
        system.apply_settings(_with_own_stun(load_settings()).agents)
        log.info("settings read again", agents=len(system.settings.agents))
    except ConfigurationError as error:
        log.warning("settings not read again", why=str(error))


def _url(settings: Settings, host: str, port: int) -> str:
    if settings.public_url:
        return settings.public_url.rstrip("/")
    if host in ANYWHERE:
        host = socket.gethostname()
    return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


def _names(settings: Settings, host: str) -> list[str]:
    """The names in the coordinator's own certificate."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    names += _own_addresses() if host in ANYWHERE else [host]
    if settings.public_url:
        url = urlsplit(settings.public_url)
        if url.scheme != "https" or not url.hostname:
            raise ConfigurationError(f"public_url = {settings.public_url!r}: write https://name:port")
        names.append(url.hostname)
    return names


def _own_addresses() -> list[str]:
    """The addresses that face the default routes. Connecting a datagram socket finds them, and sends nothing."""
    found = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((far, 9))
            found.append(probe.getsockname()[0].partition("%")[0])
    return found


@main.group()
def token() -> None:
    """Enrolment tokens."""


@token.command("create")
@_data_dir
@_config
@click.option("--max-uses", type=click.IntRange(1, 1_000_000), default=1, show_default=True)
@click.option("--expires-hours", type=click.FloatRange(0, 24 * 366), default=24.0, show_default=True)
@click.option(
    "--cidr", multiple=True, help="Only for machines that come from this network; may be given several times."
)
@_json
def token_create(
    data_dir: Path, config: Path | None, max_uses: int, expires_hours: float, cidr: tuple[str, ...], as_json: bool
) -> None:
    """Make an enrolment token and print it; only its hash is kept."""

    async def create() -> dict[str, str]:
        settings = load(config, os.environ, {})
        networks = " ".join(_network(text) for text in cidr)
        secret = secrets.token_urlsafe(registry.TOKEN_BYTES)
        utc = clock.utc()
        async with open_data_directory(data_dir, utc) as data:
            ends = utc + expires_hours * 3_600
            await data.db.add_token(Token(registry.digest_of(secret), ends, max_uses, 0, networks), utc)
            return {"token": secret} | _enrolment_values(data, settings)

    _print(_run_command(create()), as_json)


@main.group()
def tenant() -> None:
    """The tenant of this data directory."""


@tenant.command("create")
@_data_dir
@_config
@_json
def tenant_create(data_dir: Path, config: Path | None, as_json: bool) -> None:
    """Make the tenant unless there is one, and print it."""

    async def create() -> dict[str, str]:
        settings = load(config, os.environ, {})
        async with open_data_directory(data_dir, clock.utc()) as data:
            return {"tenant": data.authority.tenant} | _enrolment_values(data, settings)

    _print(_run_command(create()), as_json)


@main.command()
@_data_dir
def migrate(data_dir: Path) -> None:
    """Bring the database to the present schema."""

    async def migrated() -> str:
        async with open_data_directory(data_dir, clock.utc()):
            return await asyncio.to_thread(migrate_database, data_dir)

    click.echo(f"database is at {_run_command(migrated())}")


@main.group()
def sites() -> None:
    """The site map."""


@sites.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@_data_dir
@click.option("--dry-run", is_flag=True, help="Say who would move, change nothing.")
def sites_import(file: Path, data_dir: Path, dry_run: bool) -> None:
    """Check a site map and put it in force; a running coordinator takes it within seconds."""

    async def compare_and_store() -> None:
        text, new = await asyncio.to_thread(maps.read_file, file)
        async with open_data_directory(data_dir, clock.utc()) as data:
            moved, seen = await maps.compare(data.db, new, clock.utc())
            if not dry_run:
                await data.db.put_map(file.name, text, clock.utc())
        would = "would move" if dry_run else "move"
        click.echo(f"{len(new.rows)} subnets; of {seen} agents seen in 30 days, {len(moved)} {would}")
        for move in moved:
            before, after = move.before, move.after
            click.echo(f"  {move.device}  {before.site} (P2P {before.p2p}) -> {after.site} (P2P {after.p2p})")

    _run_command(compare_and_store())


def _enrolment_values(data: DataDirectory, settings: Settings) -> dict[str, str]:
    """What `ecdn-proxy enrol` needs beside a token."""
    host, port = host_and_port(settings.listen)
    url = settings.public_url.rstrip("/") or data.url or _url(settings, host, port)
    return {"tenant_root_sha256": data.authority.root_sha256, "coordinator": url}


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as error:
        raise ConfigurationError(f"--cidr {text!r}: {error}; write it as 10.1.0.0/16") from error


def _print(values: dict[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(values))
        return
    for name, value in values.items():
        click.echo(f"{name:20}{value}")


def _run_command[T](work: Coroutine[Any, Any, T]) -> T:
    """Run `work` on an event loop; a mistake of whoever called becomes one sentence on stderr and exit code 2."""
    try:
        import uvloop  # noqa: PLC0415  # absent on Windows

        factory: Callable[[], asyncio.AbstractEventLoop] | None = uvloop.new_event_loop
    except ImportError:
        factory = None
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(work)
    except ConfigurationError as error:
        click.echo(f"ecdn-coordinator: {error}", err=True)
    except DBAPIError as error:
        click.echo(f"ecdn-coordinator: the database cannot be used: {error.orig}", err=True)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(2)


if __name__ == "__main__":
    main()
