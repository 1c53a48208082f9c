"""The status page's HTML, made here from one Status; it works without JavaScript and is live with it.

Map: `render` (the page) · `CONTENT_SECURITY_POLICY` (style and script by their hashes, nothing else) · `_sentence`,
`_sources`, `_conditions`, `_playing`, `_recent`, `_peers`, `_about` (one section each, from top to bottom of the
screen).

Everything that comes from outside goes through `_t`, which escapes.
"""

import base64
import hashlib
import html
from collections.abc import Iterable
from importlib.resources import files
from typing import Final

from ecdn_proxy.agent.status import Status

_STYLE: Final = files("ecdn_proxy.front.status").joinpath("page.css").read_text("utf-8")
_SCRIPT: Final = files("ecdn_proxy.front.status").joinpath("page.js").read_text("utf-8")
_SOURCES: Final = (
    ("cache", "This machine", "was here already"),
    ("lan", "Office", "from colleagues' machines on this network"),
    ("webrtc", "Office, other subnet", "through WebRTC"),
    ("origin", "Internet, shared", "fetched once for this office"),
)
_NAMES: Final = {
    "cache": "this machine",
    "lan": "office",
    "webrtc": "office (WebRTC)",
    "origin": "internet",
    "passed": "internet (not shared)",
}
_STATES: Final = {"working": "Working", "limited": "Limited", "passing": "Passing"}
_SIGNS: Final = {"working": "✓", "limited": "!", "passing": "→"}
_RECENT_MAX: Final = 12
_ID_SHOWN: Final = 8
"""Streams and machines have no names that an agent could know, so ids stand for them, as in every `why`."""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


CONTENT_SECURITY_POLICY: Final = (
    f"default-src 'none'; style-src {_hash(_STYLE)}; script-src {_hash(_SCRIPT)}; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def render(status: Status) -> str:
    """The whole page."""
    parts = (
        _sentence(status),
        _conditions(status),
        '<div class="columns"><div>',
        _sources(status),
        _recent(status),
        "</div><div>",
        _playing(status),
        _peers(status),
        _about(status),
        "</div></div>",
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<noscript><meta http-equiv="refresh" content="10"></noscript>'
        f"<title>{_t(_STATES[status.state])} - ecdn on this machine</title>"
        f"<style>{_STYLE}</style></head><body><main>{''.join(parts)}</main>"
        '<p id="away" role="alert" hidden>The agent does not answer. It may be restarting; videos play from the '
        "internet meanwhile. If this stays, restart the service ecdn.</p>"
        f"<script>{_SCRIPT}</script></body></html>\n"
    )


def _sentence(status: Status) -> str:
    return (
        f'<header class="{status.state}"><div class="sign" aria-hidden="true">'
        f"{_SIGNS[status.state]}</div>"
        f'<div><h1 aria-live="polite">{_t(status.sentence)}</h1><p>{_coordinator(status)} · running for '
        f"{_duration(status.uptime_s)}</p></div></header>"
    )


def _coordinator(status: Status) -> str:
    if not status.enrolled:
        return "Not enrolled with a coordinator"
    if not status.coordinator.connected:
        return f"Coordinator away: {_t(status.coordinator.why or status.coordinator.url)}"
    site = status.coordinator.site
    return f"Site {_t(site)}" if site else "Connected to the coordinator"


def _conditions(status: Status) -> str:
    if not status.conditions:
        return ""
    rows = "".join(
        f"<li><h3>{_t(one.title)}</h3><p>{_t(one.text)}</p>"
        f'<p class="remedy"><b>What to do:</b> {_t(one.remedy)} <code>{_t(one.code)}</code></p></li>'
        for one in status.conditions
    )
    return f'<section class="conditions"><h2>Needs attention</h2><ul>{rows}</ul></section>'


def _sources(status: Status) -> str:
    amounts = [(name, label, text, getattr(status.bytes, name)) for name, label, text in _SOURCES]
    total = sum(amount for *_, amount in amounts)
    if not total:
        return '<section><h2>Where video came from</h2><p class="none">Nothing has been watched here yet.</p></section>'
    at = 0.0
    bars = []
    for name, label, _, amount in amounts:
        width = 1000 * amount / total
        bars.append(f'<rect class="{name}" x="{at:.1f}" width="{width:.1f}" height="24"><title>{label}</title></rect>')
        at += width
    rows = "".join(
        f'<tr><th scope="row"><i class="{name}"></i>{label}<small>{text}</small></th>'
        f"<td>{100 * amount / total:.0f} %</td><td>{_size(amount)}</td>"
        f"<td>{getattr(status.segments, name)} segments</td></tr>"
        for name, label, text, amount in amounts
    )
    rest = (
        f'<p class="small">Given to colleagues: <b>{_size(status.bytes.uploaded)}</b> · Passed on untouched: '
        f"{_size(status.bytes.passed)} · Stalls prevented: {status.stalls_prevented}</p>"
    )
    return (
        '<section><h2>Where video came from</h2><svg class="bar" viewBox="0 0 1000 24" preserveAspectRatio="none" '
        f'aria-hidden="true">{"".join(bars)}</svg><table class="sources">{rows}</table>{rest}</section>'
    )


def _playing(status: Status) -> str:
    rows = "".join(
        f'<li><b title="{_t(one.id)}">Stream {_t(one.id[:_ID_SHOWN])}</b> {_t(", ".join(one.renditions))}'
        f"{_watched_by(one.viewers)}</li>"
        for one in sorted(status.streams, key=lambda one: -one.viewers)
    )
    body = f"<ul class='plain'>{rows}</ul>" if rows else '<p class="none">Nothing is playing now.</p>'
    return f"<section><h2>Playing now</h2>{body}</section>"


def _watched_by(viewers: int) -> str:
    if not viewers:
        return " · no longer watched here, still given to colleagues"
    return "" if viewers == 1 else f" · {viewers} viewers"


def _recent(status: Status) -> str:
    if not status.recent:
        return ""
    rows = [
        f'<td class="number">{one.number}</td><td class="short">{_t(one.rendition)}</td>'
        f'<td class="short"><i class="{_t(one.source)}"></i>{_t(_NAMES.get(one.source, one.source))}</td>'
        f'<td class="why">{_t(one.why)}</td><td class="number">{one.ms:.0f} ms</td>'
        f'<td class="number">{_size(one.bytes)}</td>'
        for one in status.recent[:_RECENT_MAX]
    ]
    heads = ("Segment", "Track", "From", "Why", "Took", "Size")
    return f"<section><h2>Latest segments, and why from there</h2>{_table(heads, rows)}</section>"


def _peers(status: Status) -> str:
    if not status.peers:
        return '<section><h2>Colleagues\' machines</h2><p class="none">No link to another agent now.</p></section>'
    rows = [
        f'<td class="address">{_t(one.address)}<small>{_t(one.id[:_ID_SHOWN])}: {_t(one.why)}</small></td>'
        f"<td>{'network' if one.kind == 'lan' else 'WebRTC'}</td>"
        f'<td class="number">{one.rtt_ms:.1f} ms</td><td class="number">{_size(one.bytes_in)}</td>'
        f'<td class="number">{_size(one.bytes_out)}</td>'
        for one in status.peers
    ]
    heads = ("Machine", "Link", "Round trip", "Got", "Gave")
    return f'<section class="peers"><h2>Colleagues\' machines</h2>{_table(heads, rows)}</section>'


def _about(status: Status) -> str:
    rows = [
        f'<th scope="row"><code>{_t(one.name)}</code></th><td>{_t(one.value)}</td><td>{_t(one.source)}</td>'
        for one in status.settings
    ]
    proxy = f"listening on {_t(status.proxy.address)}" if status.proxy.listening else "not listening"
    facts = (
        ("Version", status.version),
        ("Device", status.device or "-"),
        ("Coordinator", status.coordinator.url or "-"),
        ("Sharing here", status.coordinator.p2p or "-"),
        ("Streaming domains", ", ".join(status.proxy.intercept_domains) or "none configured"),
    )
    listed = "".join(f"<div><dt>{name}</dt><dd>{_t(value)}</dd></div>" for name, value in facts)
    return (
        f'<section class="about"><h2>This agent</h2><dl>{listed}<div><dt>Proxy</dt><dd>{proxy}</dd></div></dl>'
        f'<details id="settings"><summary>Settings, and who set them</summary>'
        f"{_table(('Setting', 'Value', 'Set by'), rows)}</details>{_rules(status)}"
        '<p class="small"><a href="/api/status">JSON</a> · <a href="/proxy.pac">PAC file</a> · '
        '<a href="/metrics">Metrics</a></p></section>'
    )


def _rules(status: Status) -> str:
    if not status.sharing_rules:
        return ""
    rows = [
        f'<th scope="row">{_t(one.name)}</th><td>{"<br>".join(map(_t, one.hosts))}<br>{_t(one.path)}</td>'
        f"<td>{'<br>'.join(f'<code>{_t(it)}</code>' for it in one.permits)}<small>{_t(one.risk)}</small></td>"
        f"<td>{_t(one.source)}</td>"
        for one in status.sharing_rules
    ]
    return (
        '<details id="rules"><summary>Sharing rules: what is shared although its origin does not say so</summary>'
        f"{_table(('Rule', 'Counts for', 'Permits, and the risk', 'Set by'), rows)}</details>"
    )


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f'<th scope="col">{one}</th>' for one in heads)
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Table"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table></div>"
    )


def _t(text: str) -> str:
    return html.escape(text, quote=True)


def _size(count: int) -> str:
    if count < 1_000_000:
        return f"{count / 1000:.0f} kB"
    return f"{count / 1e6:.1f} MB" if count < 1_000_000_000 else f"{count / 1e9:.2f} GB"


def _duration(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return "less than a minute"
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 2880 else f"{minutes // 1440} days"
