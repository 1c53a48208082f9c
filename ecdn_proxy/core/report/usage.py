"""Everything that this machine counts, declared once: `Usage`.

    BySource      one number for each source that a viewer's bytes come from (`core.values.Source`)
    ByteCounts    bytes by source, and bytes given to other agents
    Usage         the whole; `reported()` is the part of it that the coordinator is told
    meaning_of    what one field counts, in a sentence

Usages add up (`+`), and one minus an earlier one (`-`) is what came in between. A new counter is declared here, and
`agent.status.Status` shows each field of `Usage` under the same name; `front.status.metrics` writes whatever is in it.
What the coordinator shall be told as well also becomes a field of `Beat` (wire/tracker) and of `ReportedUsage`
(wire/usage).
"""

from typing import Annotated, get_type_hints

from msgspec import Meta

from ecdn_proxy.wire.usage import Counters, ReportedUsage


def _counts(what: str) -> Meta:
    return Meta(description=what)


class BySource(Counters, frozen=True):
    """One number for each `Source`."""

    cache: int = 0
    """From this machine's own memory or disk."""
    lan: int = 0
    """From other agents by TLS. In a `Beat`, `bytes_lan` is all that came from other agents: `lan` and `webrtc`."""
    webrtc: int = 0
    """From other agents by WebRTC."""
    origin: int = 0
    """From the origin, fetched once for all agents."""
    passed: int = 0
    """From the origin straight to the viewer, untouched by this agent."""


class ByteCounts(BySource, frozen=True):
    """Bytes that viewers on this machine got, by source; and bytes that other agents got from this machine."""

    uploaded: Annotated[int, _counts("Bytes given to other agents, by TLS and by WebRTC.")] = 0
    uploaded_webrtc: Annotated[int, _counts("Of the bytes given to other agents, those by WebRTC.")] = 0


class Usage(Counters, frozen=True):
    """What this machine has counted since the agent was started."""

    bytes: Annotated[
        ByteCounts,
        _counts("Bytes that viewers on this machine got, by source; from other agents: lan by TLS, webrtc by WebRTC."),
    ] = ByteCounts()
    segments: Annotated[
        BySource, _counts("Segments that viewers on this machine got, by the source of most of their bytes.")
    ] = BySource()
    stalls_prevented: Annotated[
        int, _counts("Segments for which a source that was lost or slow was replaced in time.")
    ] = 0

    def reported(self) -> ReportedUsage:
        """What the coordinator is told: all but the bytes that passed untouched and the stalls prevented."""
        counted = self.bytes
        return ReportedUsage(
            bytes_cache=counted.cache,
            bytes_lan=counted.lan + counted.webrtc,
            bytes_origin=counted.origin,
            bytes_up=counted.uploaded,
            segments=sum(getattr(self.segments, name) for name in BySource.__struct_fields__),
            bytes_webrtc=counted.webrtc,
            bytes_up_webrtc=counted.uploaded_webrtc,
        )


def meaning_of(kind: type[Counters], field: str) -> str:
    """What a field of `Usage` or `ByteCounts` counts, as it is declared above.

    Raises:
        AttributeError: the field has no sentence of its own, such as the sources of `BySource`.
    """
    declared: Meta = get_type_hints(kind, include_extras=True)[field].__metadata__[0]
    assert declared.description is not None
    return declared.description
