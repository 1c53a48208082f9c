"""The status as Prometheus reads it: numbers only, no stream, host, user or address.

Map: `metrics` (the whole text) · `_usage` (one metric for each number in `core.report.usage.Usage`, under its name).
"""

from ecdn_proxy.agent.status import Status
from ecdn_proxy.core.report.usage import BySource, ByteCounts, Usage, meaning_of

_SOURCES = BySource.__struct_fields__


def metrics(status: Status) -> str:
    """Text exposition format 0.0.4 (Prometheus)."""
    lines = [
        "# HELP ecdn_info The agent's version.",
        "# TYPE ecdn_info gauge",
        f'ecdn_info{{version="{_escaped(status.version)}"}} 1',
    ]
    _usage(lines, status)
    kinds = ("lan", "webrtc")
    _family(lines, "ecdn_peers", "gauge", "Open links to other agents: lan by TLS, webrtc by WebRTC.")
    lines += [f'ecdn_peers{{kind="{kind}"}} {sum(peer.kind == kind for peer in status.peers)}' for kind in kinds]
    _family(lines, "ecdn_condition", "gauge", "1 while something is wrong that has a remedy.")
    lines += [f'ecdn_condition{{code="{_escaped(condition.code)}"}} 1' for condition in status.conditions]
    gauges = (
        ("ecdn_streams", "Streams watched here.", len(status.streams)),
        ("ecdn_coordinator_connected", "1 while connected.", int(status.coordinator.connected)),
        ("ecdn_proxy_listening", "1 while the proxy accepts connections.", int(status.proxy.listening)),
        ("ecdn_uptime_seconds", "Seconds since start.", round(status.uptime_s, 1)),
    )
    for name, text, value in gauges:
        _family(lines, name, "gauge", text)
        lines.append(f"{name} {value}")
    return "\n".join(lines) + "\n"


def _usage(lines: list[str], status: Status) -> None:
    """`ecdn_…_total` for each field of `Usage`, with a label for the source where there is one number for each."""
    for name in Usage.__struct_fields__:
        counted = getattr(status, name)
        metric = f"ecdn_{name}_total"
        _family(lines, metric, "counter", meaning_of(Usage, name))
        if isinstance(counted, BySource):
            lines += [f'{metric}{{source="{source}"}} {getattr(counted, source)}' for source in _SOURCES]
        else:
            lines.append(f"{metric} {counted}")
    for name in ByteCounts.__struct_fields__:
        if name not in _SOURCES:
            metric = f"ecdn_{name}_bytes_total"
            _family(lines, metric, "counter", meaning_of(ByteCounts, name))
            lines.append(f"{metric} {getattr(status.bytes, name)}")


def _family(lines: list[str], name: str, kind: str, text: str) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
