import ssl

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from ecdn_proxy.io.tls_links.contexts import Contexts, device_of, peer_identity
from ecdn_proxy.wire.faults import PeerMisbehaved
from tests.io.material import TENANT, Root, _builder


def shake_hands(ours: Contexts, theirs: Contexts) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A whole handshake in memory: the client's and the server's side."""
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ours.client.wrap_bio(to_client, to_server, server_side=False)
    server = theirs.server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(4):
        for side in (client, server):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return client, server


def test_both_ends_know_each_other(tenant_root: Root) -> None:
    client, server = shake_hands(tenant_root.contexts("a"), tenant_root.contexts("b"))
    assert peer_identity(client)[:2] == (TENANT, "b")
    assert peer_identity(server)[:2] == (TENANT, "a")
    assert client.version() == "TLSv1.3"
    assert client.session_reused is False


def test_the_systems_roots_are_not_trusted(tenant_root: Root) -> None:
    for context in (tenant_root.contexts("a").server, tenant_root.contexts("a").client):
        assert len(context.get_ca_certs()) == 1
        assert context.verify_mode is ssl.CERT_REQUIRED


def test_an_end_without_our_application_is_refused(tenant_root: Root) -> None:
    theirs = tenant_root.contexts("b")
    theirs.server.set_alpn_protocols(["h2"])
    client, _ = shake_hands(tenant_root.contexts("a"), theirs)
    with pytest.raises(PeerMisbehaved, match="ecdn/1"):
        peer_identity(client)


def _certificate(root: Root, names: list[x509.GeneralName] | None) -> bytes:
    builder = _builder("x", root.name, ec.generate_private_key(ec.SECP256R1()).public_key())
    if names is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(root.key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    "names",
    [
        None,
        [x509.DNSName("a")],
        [x509.UniformResourceIdentifier("https://t/device/a")],
        [x509.UniformResourceIdentifier("ecdn://t/device/")],
        [x509.UniformResourceIdentifier("ecdn://t/device/a/b")],
        [x509.UniformResourceIdentifier("ecdn://t/device/a"), x509.UniformResourceIdentifier("ecdn://t/device/b")],
        [x509.UniformResourceIdentifier("ecdn://t/device/a"), x509.DNSName("a")],
    ],
)
def test_a_certificate_names_one_device_and_nothing_else(
    tenant_root: Root, names: list[x509.GeneralName] | None
) -> None:
    with pytest.raises(PeerMisbehaved):
        device_of(_certificate(tenant_root, names))


def test_bytes_that_are_no_certificate() -> None:
    with pytest.raises(PeerMisbehaved):
        device_of(b"\x30\x03abc")
