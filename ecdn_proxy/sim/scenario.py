"""What is simulated, as a TOML file says it; every mistake is one sentence that names its place.

    load(path) -> Scenario           from a file
    read(text, name) -> Scenario     from its text
    shipped() -> names               scenarios that come with the product; load_shipped(name) reads one

Sites are listed, or drawn log-normal for a company. Defaults are those of the table that the swarm was designed by:
3 Mbit/s in 2 s segments, uplinks of 40 Mbit/s, a site link of 20 Mbit/s, the origin's first byte after 40 ms.
"""

import math
import random
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ecdn_proxy.core.settings import Settings

Percent = Annotated[float, Meta(ge=0, le=100)]
Milliseconds = Annotated[float, Meta(ge=0, le=60_000)]
Mbps = Annotated[float, Meta(gt=0, le=1_000_000)]
_SETTINGS = Settings()


class BadScenario(Exception):
    """The scenario cannot be used; the message says where and why in one sentence."""


class StreamSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is watched."""

    segment_s: Annotated[float, Meta(ge=0.5, le=30)] = 2.0
    segments: Annotated[int, Meta(ge=1, le=10_000)] = 15
    """How many segments are published after everybody has started."""
    bitrates_mbps: Annotated[tuple[Mbps, ...], Meta(min_length=1, max_length=5)] = (3.0,)
    shares_percent: tuple[Percent, ...] = ()
    """The part of the viewers that watches each rendition; without it the viewers are spread evenly."""
    abr: bool = False
    """Players choose the rendition by what they measure."""
    manifest_bytes: Annotated[int, Meta(ge=0, le=1_000_000)] = 1_500
    """Each viewer fetches the playlist from the origin once a segment, and that takes its part of the site's link."""


class ViewersSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How players behave."""

    within_s: Annotated[float, Meta(ge=0, le=86_400)] = 10.0
    """All players start within this time."""
    start: Literal["within", "throughout"] = "within"
    """`within`: in the time above; `throughout`: starts are spread over the whole event."""
    reload: Literal["own", "together"] = "own"
    """`own`: every player reloads the playlist at its own cadence; `together`: every player asks for a segment at the
    moment when it appears, the worst case."""
    behind_segments: Annotated[int, Meta(ge=1, le=20)] = 3
    """How far behind the live edge a player starts."""


class SiteSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One office, or `count` that are alike."""

    name: Annotated[str, Meta(min_length=1, max_length=120)] = "office"
    viewers: Annotated[int, Meta(ge=1, le=100_000)] = 50
    count: Annotated[int, Meta(ge=1, le=100_000)] = 1
    wan_mbps: Mbps = 20.0
    first_byte_ms: Milliseconds = 40.0
    rtt_ms: Milliseconds = 30.0
    loss_percent: Percent = 0.0
    uplink_mbps: Mbps = 40.0
    downlink_mbps: Mbps = 100.0
    lan_delay_ms: Milliseconds = 0.5
    wifi_percent: Percent = 0.0
    wifi_uplink_mbps: tuple[Mbps, Mbps] = (5.0, 10.0)
    """Each host on Wi-Fi has an uplink between these two, at random."""
    wifi_delay_ms: Milliseconds = 3.0
    isolated_percent: tuple[Percent, ...] = ()
    """One number for each access point that keeps its clients apart: the part of the hosts on Wi-Fi (of all hosts where
    none is on Wi-Fi) behind it. These hosts reach everybody but one another."""


class CompanySpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Many sites; their numbers of viewers are log-normal."""

    viewers: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000
    sites: Annotated[int, Meta(ge=1, le=100_000)] = 267
    sigma: Annotated[float, Meta(ge=0, le=3)] = 1.2
    """Standard deviation of the sizes' logarithm; 1.2 puts the largest of 300 sites near twenty times the median."""
    wan_mbps_per_viewer: Annotated[float, Meta(ge=0, le=1_000)] = 0.0
    """A larger site has a larger link: at least the site's `wan_mbps`, and this for each viewer."""
    site: SiteSpec = SiteSpec()


class FaultsSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What goes wrong."""

    peers_failing_percent: Percent = 0.0
    """The part of the hosts that go away in each segment's time, each at a moment of its own."""
    failure: Literal["crash", "silent"] = "crash"
    """`crash`: the others' connections break at once; `silent`: they hear nothing more (a cable was pulled, sleep)."""
    back_after_s: Annotated[float, Meta(ge=0, le=3_600)] = 4.0
    fetcher_dies_every: Annotated[int, Meta(ge=0, le=10_000)] = 0
    """Of every segment whose number is a multiple of this, the fetcher dies when half of it has arrived; 0: of none."""
    home_crashes_at_s: tuple[float, ...] = ()
    """Each time this long after the start a member of the committee crashes."""
    split_percent: Percent = 0.0
    """The part of each host's list of neighbours that is missing."""
    slow_peers_percent: Percent = 0.0
    slow_factor: Annotated[float, Meta(gt=0, le=10)] = 0.3
    """A slow peer's uplink, as a part of the highest bitrate."""
    polluters: Annotated[int, Meta(ge=0, le=1_000)] = 0
    """How many hosts give wrong bytes to others."""
    coordinator_out_s: tuple[float, float] | None = None
    """From when until when the coordinator is away, in seconds after the start."""
    lan_loss_percent: Percent = 0.0
    isolation_s: tuple[float, float] | None = None
    """From when until when access points keep their clients apart (`isolated_percent`); without it, always."""


class AgentSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The settings of every agent."""

    sharing: bool = True
    upload_mbps_max: Mbps = _SETTINGS.upload_mbps_max
    cache_memory_mb: Annotated[int, Meta(ge=0, le=4_096)] = _SETTINGS.cache_memory_mb
    lan_discovery: bool = False
    """Agents find each other by mDNS too; with thousands of hosts at a site this takes much time to simulate."""
    links_max: Annotated[int, Meta(ge=1, le=100_000)] = 2_048
    """How many links an agent keeps at once, as in io/tls_links/hub."""
    tracker_ms: Milliseconds = 20.0
    """One way to the coordinator."""


class Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One simulation."""

    name: Annotated[str, Meta(min_length=1, max_length=120)]
    about: Annotated[str, Meta(max_length=2_000)] = ""
    seed: int = 1
    scale: Annotated[float, Meta(ge=1, le=64)] = 1.0
    """Sizes and rates are divided by this: times stay, segments have fewer pieces, and the run takes less time. A piece
    then stands for `scale` times as many bytes, which makes relaying look a little slower than it is."""
    stream: StreamSpec = StreamSpec()
    viewers: ViewersSpec = ViewersSpec()
    sites: tuple[SiteSpec, ...] = ()
    company: CompanySpec | None = None
    faults: FaultsSpec = FaultsSpec()
    agent: AgentSpec = AgentSpec()

    def offices(self) -> list[SiteSpec]:
        """All sites, one by one: those listed, then those drawn."""
        found = [msgspec.structs.replace(site, count=1) for site in self.sites for _ in range(site.count)]
        if self.company is not None:
            found += _draw(self.company, random.Random(f"{self.seed} company"))
        return found


def _draw(company: CompanySpec, dice: random.Random) -> list[SiteSpec]:
    weights = [math.exp(dice.gauss(0.0, company.sigma)) for _ in range(company.sites)]
    spare = company.viewers - company.sites
    total = sum(weights)
    exact = [1 + spare * weight / total for weight in weights]
    sizes = [int(it) for it in exact]
    by_rest = sorted(range(company.sites), key=lambda at: sizes[at] - exact[at])
    for at in by_rest[: company.viewers - sum(sizes)]:
        sizes[at] += 1
    model = company.site
    return [
        msgspec.structs.replace(
            model,
            name=f"{model.name} {number}",
            viewers=size,
            wan_mbps=max(model.wan_mbps, company.wan_mbps_per_viewer * size),
        )
        for number, size in enumerate(sorted(sizes, reverse=True), 1)
    ]


def read(text: str, name: str) -> Scenario:
    """A scenario from TOML.

    Raises:
        BadScenario: the text is no scenario; says where and why.
    """
    try:
        given: Any = msgspec.toml.decode(text)
    except msgspec.DecodeError as error:
        raise BadScenario(f"{name} is no TOML: {error}.") from error
    if isinstance(given, dict):
        given.setdefault("name", Path(name).stem)
    try:
        scenario = msgspec.convert(given, Scenario)
    except msgspec.ValidationError as error:
        raise BadScenario(f"{name}: {_plain(str(error))}.") from error
    if (why := _contradiction(scenario)) is not None:
        raise BadScenario(f"{name}: {why}.")
    return scenario


def _plain(said: str) -> str:
    what, _, where = said.partition(" - at ")
    return f"{where.strip('`').removeprefix('$.') or 'the file'}: {what}" if where else what


def _contradiction(it: Scenario) -> str | None:
    stream, faults = it.stream, it.faults
    viewers = sum(site.viewers * site.count for site in it.sites)
    smallest = min(stream.bitrates_mbps) * 1e6 / 8 * stream.segment_s / it.scale
    found: list[tuple[bool, str]] = [
        (not it.sites and it.company is None, "it needs [[sites]] or [company]"),
        (
            it.company is not None and it.company.sites > it.company.viewers,
            "company.sites: there are more sites than viewers",
        ),
        (
            bool(stream.shares_percent) and len(stream.shares_percent) != len(stream.bitrates_mbps),
            "stream.shares_percent: one share for each of stream.bitrates_mbps, or none at all",
        ),
        (
            bool(stream.shares_percent) and abs(sum(stream.shares_percent) - 100) > 0.01,
            f"stream.shares_percent: they add up to {sum(stream.shares_percent):g}, not 100",
        ),
        (
            list(stream.bitrates_mbps) != sorted(set(stream.bitrates_mbps)),
            "stream.bitrates_mbps: from the lowest to the highest, each once",
        ),
        (
            faults.coordinator_out_s is not None and faults.coordinator_out_s[0] >= faults.coordinator_out_s[1],
            "faults.coordinator_out_s: it must end after it begins",
        ),
        (
            faults.isolation_s is not None and faults.isolation_s[0] >= faults.isolation_s[1],
            "faults.isolation_s: it must end after it begins",
        ),
        (any(sum(site.isolated_percent) > 100.01 for site in it.sites), "sites: isolated_percent is more than all"),
        (
            any(site.wifi_uplink_mbps[0] > site.wifi_uplink_mbps[1] for site in it.sites),
            "sites: wifi_uplink_mbps goes from the lower to the higher",
        ),
        (smallest < 1_000, f"scale: segments of {smallest:.0f} bytes are too small to mean anything"),
        (viewers > 1_000_000, "sites: more than a million viewers"),
    ]
    return next((why for wrong, why in found if wrong), None)


def load(path: Path) -> Scenario:
    """A scenario from a file.

    Raises:
        BadScenario: the file cannot be read, or is no scenario.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadScenario(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    return read(text, str(path))


def _folder() -> Any:
    return resources.files("ecdn_proxy.sim") / "scenarios"


def shipped() -> list[str]:
    """The names of the scenarios that come with the product."""
    return sorted(it.name.removesuffix(".toml") for it in _folder().iterdir() if it.name.endswith(".toml"))


def load_shipped(name: str) -> Scenario:
    """A scenario that comes with the product.

    Raises:
        BadScenario: there is none of this name.
    """
    if name not in shipped():
        raise BadScenario(f"there is no scenario {name!r}; there are {', '.join(shipped())}.")
    return read((_folder() / f"{name}.toml").read_text(encoding="utf-8"), name)
