"""What stands in an agent's way on this machine, and what to do about it.

Map: `examine` -> findings in the order in which they matter · one function for each check.

Nothing is changed and nothing is sent anywhere but to the agent's own page on this machine.
"""

import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from cryptography import x509

from ecdn_proxy.agent.status import Status
from ecdn_proxy.core.http.hosts import HostScope, place
from ecdn_proxy.core.settings import Settings
from ecdn_proxy.front.status.pac import reachable
from ecdn_proxy.io import identity

PAGE_WITHIN_S = 3.0
LINKS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at; `cure` is empty when nothing is wrong."""

    name: str
    text: str
    cure: str = ""


def fetch_status(settings: Settings) -> Status | None:
    """The running agent's status; None if none answers at the configured address."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"http://{reachable(settings.page_listen)}/api/status", timeout=PAGE_WITHIN_S) as answer:
            return msgspec.json.decode(answer.read(), type=Status)
    except (OSError, urllib.error.URLError, msgspec.MsgspecError):
        return None


def examine(settings: Settings, state_dir: Path, utc: float) -> Iterator[Finding]:
    """Make all checks, one after the other."""
    status = fetch_status(settings)
    yield _domains(settings)
    yield _running(settings, status)
    if status is None:
        yield from _ports(settings)
    yield _authority(settings, state_dir, utc)
    yield _enrolment(state_dir, utc)
    if status is not None:
        if status.enrolled:
            yield _coordinator(status)
            yield _links(status)
        for condition in status.conditions:
            if condition.code == "not-enrolled":
                continue  # `_enrolment` has said so
            yield Finding(condition.title, condition.text, condition.remedy)


def _domains(settings: Settings) -> Finding:
    if settings.intercept_domains:
        return Finding("Settings", f"Streaming domains: {', '.join(settings.intercept_domains)}.")
    return Finding("Settings", "No streaming domain is configured.", "Set intercept_domains in agent.toml.")


def _running(settings: Settings, status: Status | None) -> Finding:
    if status is not None:
        return Finding("Agent", f"Running, version {status.version}: {status.sentence}")
    where = reachable(settings.page_listen)
    return Finding("Agent", f"No agent answers at {where}.", "Start it: ecdn-proxy run, or the service ecdn.")


def _ports(settings: Settings) -> Iterator[Finding]:
    for name, listen in (
        ("Proxy port", settings.listen),
        ("Page port", settings.page_listen),
        ("Peer port", settings.peer_listen),
    ):
        host, port = place(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                yield Finding(name, f"{listen}: {error.strerror}.", "Stop the program that uses it, or set another.")
            else:
                yield Finding(name, f"{listen} is free.")


def _authority(settings: Settings, state_dir: Path, utc: float) -> Finding:
    file = state_dir / "authority" / "ca.pem"
    try:
        roots = x509.load_pem_x509_certificates(file.read_bytes())
    except FileNotFoundError:
        return Finding("Certificate authority", "None yet.", "It is made when the agent starts for the first time.")
    except (OSError, ValueError) as error:
        return Finding("Certificate authority", f"{file}: {error}.", "Run this as the user of the agent.")
    days = (roots[-1].not_valid_after_utc - datetime.fromtimestamp(utc, UTC)).days
    constraints = roots[0].extensions.get_extension_for_class(x509.NameConstraints).value.permitted_subtrees or []
    domains = {str(name.value) for name in constraints}
    if days < 0:
        return Finding(
            "Certificate authority", "It has ended.", "Start the agent and let this machine trust the new one."
        )
    wanted = set(HostScope.of(settings.intercept_domains, ()).intercept)
    if wanted and domains != wanted:
        cure = "Restart the agent and let this machine trust the new authority: ecdn-proxy ca."
        return Finding("Certificate authority", f"It is for {', '.join(sorted(domains))}.", cure)
    trusted = set(ssl.create_default_context().get_ca_certs(binary_form=True))
    if not any(ssl.PEM_cert_to_DER_cert(_pem(root)) in trusted for root in roots):
        cure = f"Add {file} to the trusted roots of this machine (browsers with a store of their own need it there)."
        return Finding("Certificate authority", f"Valid for {days} days, not trusted by the system.", cure)
    return Finding("Certificate authority", f"Trusted, valid for {days} days.")


def _pem(certificate: x509.Certificate) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding  # noqa: PLC0415

    return certificate.public_bytes(Encoding.PEM).decode()


def _enrolment(state_dir: Path, utc: float) -> Finding:
    try:
        known = identity.load_identity(state_dir)
    except (identity.DamagedIdentity, OSError) as error:
        return Finding("Enrolment", f"The identity cannot be read: {error}.", "Enrol again: ecdn-proxy enrol.")
    if known is None:
        cure = "Enrol with the token from IT: ecdn-proxy enrol. Until then video comes from the internet."
        return Finding("Enrolment", "Not enrolled: nothing is shared.", cure)
    if known.ends_utc < utc:
        return Finding("Enrolment", "The identity has ended.", "Start the agent with the coordinator within reach.")
    return Finding("Enrolment", f"Device {known.device} of {known.coordinator}.")


def _links(status: Status) -> Finding:
    """What carries each link, and why it is not TLS. A link by WebRTC is no fault, but costs ten times the CPU."""
    tls = [link for link in status.peers if link.kind == "lan"]
    webrtc = [link for link in status.peers if link.kind == "webrtc"]
    if not status.peers:
        return Finding("Links", "None now: nobody within reach watches what is watched here.")
    if not webrtc:
        return Finding("Links", f"{len(tls)} by TLS.")
    named = "; ".join(f"{link.address} ({link.why})" for link in webrtc[:LINKS_SHOWN])
    more = f"; and {len(webrtc) - LINKS_SHOWN} more" if len(webrtc) > LINKS_SHOWN else ""
    port = _peer_port(status)
    return Finding(
        "Links",
        f"{len(tls)} by TLS, {len(webrtc)} by WebRTC, which costs ten times the CPU: {named}{more}. "
        f"Where a firewall lets TCP {port} through, they move to TLS by themselves.",
    )


def _peer_port(status: Status) -> int:
    """The port for other agents with which the running agent was started."""
    said = next((it.value for it in status.settings if it.name == "peer_listen"), Settings().peer_listen)
    return place(said)[1]


def _coordinator(status: Status) -> Finding:
    if status.coordinator.connected:
        return Finding("Coordinator", f"Connected to {status.coordinator.url}.")
    cure = "Agents on one link still share. Let this machine reach the coordinator's address and port."
    return Finding("Coordinator", f"Away: {status.coordinator.why or 'no connection'}.", cure)
