"""The status as Prometheus reads it: counts only, no stream, host, user or address."""

from ecdn_proxy.agent.status import Status


def metrics(status: Status) -> str:
    """Text exposition format 0.0.4."""
    lines = [
        "# HELP ecdn_info The agent's version.",
        "# TYPE ecdn_info gauge",
        f'ecdn_info{{version="{_escaped(status.version)}"}} 1',
    ]
    sources = ("cache", "lan", "webrtc", "origin", "passed")
    _family(lines, "ecdn_bytes_total", "counter", "Bytes that viewers on this machine got, by source.")
    lines += [f'ecdn_bytes_total{{source="{source}"}} {getattr(status.bytes, source)}' for source in sources]
    _family(lines, "ecdn_segments_total", "counter", "Segments that viewers on this machine got, by source.")
    lines += [f'ecdn_segments_total{{source="{source}"}} {getattr(status.segments, source)}' for source in sources]
    kinds = ("lan", "webrtc")
    _family(lines, "ecdn_peers", "gauge", "Open links to other agents.")
    lines += [f'ecdn_peers{{kind="{kind}"}} {sum(peer.kind == kind for peer in status.peers)}' for kind in kinds]
    _family(lines, "ecdn_condition", "gauge", "1 while something is wrong that has a remedy.")
    lines += [f'ecdn_condition{{code="{_escaped(condition.code)}"}} 1' for condition in status.conditions]
    single = (
        ("ecdn_uploaded_bytes_total", "counter", "Bytes given to other agents.", status.bytes.uploaded),
        ("ecdn_stalls_prevented_total", "counter", "Segments that another source saved.", status.stalls_prevented),
        ("ecdn_streams", "gauge", "Streams watched here.", len(status.streams)),
        ("ecdn_coordinator_connected", "gauge", "1 while connected.", int(status.coordinator.connected)),
        ("ecdn_proxy_listening", "gauge", "1 while the proxy accepts connections.", int(status.proxy.listening)),
        ("ecdn_uptime_seconds", "gauge", "Seconds since start.", round(status.uptime_s, 1)),
    )
    for name, kind, text, value in single:
        _family(lines, name, kind, text)
        lines.append(f"{name} {value}")
    return "\n".join(lines) + "\n"


def _family(lines: list[str], name: str, kind: str, text: str) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
