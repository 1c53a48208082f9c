"""`ecdn-proxy simulate`: a scenario, or a plan for an event from a list of sites.

A mistake in what is given is told in one sentence on stderr, and the exit code is 2.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ecdn_proxy.sim import planning, plot, report
from ecdn_proxy.sim.company import Result, simulate
from ecdn_proxy.sim.scenario import (
    BadScenario,
    Scenario,
    SiteSpec,
    StreamSpec,
    ViewersSpec,
    load,
    load_shipped,
    shipped,
)
from ecdn_proxy.wire.integrity import PIECE_BYTES

PLANNING_SEGMENTS = 10
PLANNING_PIECES = 6
"""Pieces that a segment has in a plan: enough for the figures, and few enough for thousands of viewers in a minute."""


def _stop(sentence: str) -> NoReturn:
    click.echo(f"ecdn-proxy: {sentence}", err=True)
    raise SystemExit(2)


@click.command("simulate")
@click.option("--scenario", "scenario_", metavar="FILE", help="A TOML file, or the name of one that comes with it.")
@click.option("--list", "list_", is_flag=True, help="Name the scenarios that come with it.")
@click.option("--sites", type=click.Path(path_type=Path), help="Plan an event: CSV with group, viewers, wan_mbps, …")
@click.option("--viewers", type=click.IntRange(1, 100_000), help="Viewers at each site whose line does not say.")
@click.option("--bitrate", default="3", show_default=True, help="Mbit/s; several renditions separated by commas.")
@click.option("--segment", type=click.FloatRange(0.5, 30), default=2.0, show_default=True, help="Seconds.")
@click.option("--start", type=click.FloatRange(0, 3_600), default=60.0, show_default=True,
              help="Everybody starts within so many seconds.")  # fmt: skip
@click.option("--wan", type=click.FloatRange(0.1, 100_000), default=20.0, show_default=True,
              help="Mbit/s of a site's link whose line does not say.")  # fmt: skip
@click.option("--segments", type=click.IntRange(1, 10_000), help="How many are simulated after everybody's start.")
@click.option("--scale", type=click.FloatRange(1, 64), help="Coarser and faster; see the scenario format.")
@click.option("--seed", type=int, help="Same seed, same result.")
@click.option("--processes", type=click.IntRange(1, 64), default=min(2, os.cpu_count() or 1), show_default=True)
@click.option("--json", "json_", type=click.Path(path_type=Path), help="Write all figures there; - is stdout.")
@click.option("--svg", type=click.Path(path_type=Path), help="Draw them there.")
def command(scenario_: str | None, list_: bool, sites: Path | None, processes: int, json_: Path | None,
            svg: Path | None, **given: Any) -> None:  # fmt: skip
    """Simulate offices full of viewers, or plan an event: what each link carries, and who would suffer."""
    if list_:
        for name in shipped():
            click.echo(f"{name:24} {load_shipped(name).about}")
        return
    if (scenario_ is None) == (sites is None):
        _stop("Give either --scenario or --sites; --list names the scenarios that come with it.")
    try:
        if sites is not None:
            _plan(sites, given, processes, json_, svg)
        else:
            _simulate(scenario_ or "", given, processes, json_, svg)
    except BadScenario as error:
        _stop(str(error))


def _simulate(name: str, given: dict[str, Any], processes: int, json_: Path | None, svg: Path | None) -> None:
    scenario = load_shipped(name) if name in shipped() else load(Path(name))
    changes = {field: given[field] for field in ("seed", "scale") if given[field] is not None}
    if given["segments"] is not None:
        changes["stream"] = msgspec.structs.replace(scenario.stream, segments=given["segments"])
    scenario = msgspec.structs.replace(scenario, **changes)
    viewers = sum(site.viewers for site in scenario.offices())
    with _progress(viewers) as progress:
        result = simulate(scenario, processes=processes, progress=progress)
    if json_ is None or str(json_) != "-":
        Console().print(report.tables(result))
    _write(result, json_, svg)


def _plan(sites: Path, given: dict[str, Any], processes: int, json_: Path | None, svg: Path | None) -> None:
    scenario = _planned(given)
    found, ignored = planning.read_sites(sites, scenario.sites[0], given["viewers"])
    if ignored:
        known = ", ".join(planning.COLUMNS)
        click.echo(f"{sites}: not used: {', '.join(ignored)}. Columns that mean something: {known}.", err=True)
    with _progress(2 * sum(it.site.viewers for it in found)) as progress:
        done = planning.plan(found, scenario, processes=processes, progress=progress)
    if json_ is None or str(json_) != "-":
        console = Console()
        console.print(planning.table(done))
        for sentence in planning.words(done):
            console.print(sentence, highlight=False)
    _write(done.shared, json_, svg, done.direct)


def _planned(given: dict[str, Any]) -> Scenario:
    try:
        bitrates = tuple(sorted({float(it) for it in given["bitrate"].split(",")}))
    except ValueError:
        bitrates = ()
    if not 1 <= len(bitrates) <= 5 or not all(0 < it <= 1_000 for it in bitrates):
        raise BadScenario(f"--bitrate is {given['bitrate']!r}: one to five numbers of Mbit/s, separated by commas.")
    largest = bitrates[-1] * 1e6 / 8 * given["segment"]
    return Scenario(
        name="plan",
        seed=1 if given["seed"] is None else given["seed"],
        scale=given["scale"] or min(64.0, max(1.0, largest / (PLANNING_PIECES * PIECE_BYTES))),
        stream=StreamSpec(
            segment_s=given["segment"], segments=given["segments"] or PLANNING_SEGMENTS, bitrates_mbps=bitrates
        ),
        viewers=ViewersSpec(within_s=given["start"]),
        sites=(SiteSpec(wan_mbps=given["wan"]),),
    )


def _write(result: Result, json_: Path | None, svg: Path | None, direct: Result | None = None) -> None:
    try:
        if json_ is not None:
            data = report.as_json(result)
            if direct is not None:
                data = b'{"shared": ' + data + b', "direct": ' + report.as_json(direct) + b"}"
            if str(json_) == "-":
                sys.stdout.write(data.decode() + "\n")
            else:
                json_.write_bytes(data + b"\n")
        if svg is not None:
            svg.write_text(plot.svg(result), encoding="utf-8")
    except OSError as error:
        _stop(f"{error.filename} cannot be written: {error.strerror}.")


@contextmanager
def _progress(viewers: int) -> Iterator[Any]:
    columns = (TextColumn("simulating"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("viewers", total=viewers)
        yield lambda done: bar.advance(task, done)
