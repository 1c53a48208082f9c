"""The systems that `bench proxy` compares, each a process of its own on the measured core.

Map:
    Files           what the origin serves, and where everything lies
    System          how a client reaches one system, and what its processes have used
    nginx, squid, mitmdump, bare    the references; `Absent` says why one cannot run
    pin             binds a process and all its threads to one core
"""

import asyncio
import os
import random
import shutil
import ssl
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.demo import pki
from tests.demo.parts import free_port
from tests.demo.pki import Pki
from tests.demo.processes import Child, Processes
from tests.demo.stage import Stage

HOST = f"bench.{pki.DOMAIN}"
TUNNELLED = f"private.{pki.DOMAIN}"
"""Below the intercepted domain, but bypassed: the agent makes a byte tunnel for it."""
SEGMENT_BYTES = 2_000_000
LISTED = 40
"""Segments in one playlist: it has about the length of a live one, 2 KB."""
_CERTGEN = Path("/usr/lib/squid/security_file_certgen")


class Absent(Exception):
    """A reference that this machine cannot run; the text says why."""


def pin(pid: int, core: int) -> None:
    """All threads of a process, and what it will start."""
    for thread in psutil.Process(pid).threads():
        os.sched_setaffinity(thread.id, {core})
    os.sched_setaffinity(pid, {core})


@dataclass
class Files:
    """One directory for the run."""

    directory: Path
    pki: Pki
    port: int = 0
    """The origin's."""

    @classmethod
    def make(cls, directory: Path, certificates: Pki) -> "Files":
        directory.mkdir()
        directory.chmod(0o755)  # squid reads its files there as a user of its own
        shutil.copy(certificates.ca, directory / "origin-ca.pem")
        files = cls(directory, certificates, free_port())
        www = directory / "www"
        www.mkdir()
        (www / "segment.ts").write_bytes(random.Random(7).randbytes(SEGMENT_BYTES))
        rows = "".join(f"#EXTINF:2.000,\nsegment-of-this-stream-{number:06}.ts\n" for number in range(LISTED))
        head = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        (www / "index.m3u8").write_text(head + rows)
        return files

    def manifest(self, stream: str, host: str = HOST) -> str:
        return f"https://{host}:{self.port}/{stream}/index.m3u8"

    def segments(self, stream: str, host: str = HOST) -> list[str]:
        base = f"https://{host}:{self.port}/{stream}"
        return [f"{base}/segment-of-this-stream-{number:06}.ts" for number in range(LISTED)]


@dataclass
class System:
    """One way to the origin."""

    name: str
    pid: int
    ca: Path
    proxy: str | None = None
    host: str = HOST

    def _family(self) -> list[psutil.Process]:
        process = psutil.Process(self.pid)
        return [process, *process.children(recursive=True)]

    def cpu(self) -> float:
        """User and system seconds of the process and its children so far."""
        return sum(sum(each.cpu_times()[:2]) for each in self._family())

    def rss_mb(self) -> float:
        return sum(int(each.memory_info().rss) for each in self._family()) / 1e6


def _program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Absent(
            f"{name} is not installed (on Debian: apt-get install {'squid-openssl' if name == 'squid' else name})"
        )
    return found


async def _listening(child: Child, port: int, core: int) -> int:
    await child.listening("127.0.0.1", port, 20)
    for process in [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]:
        pin(process.pid, core)
    return child.pid


async def nginx(files: Files, processes: Processes, core: int) -> System:
    """The origin, and the way without any proxy.

    Raises:
        Absent: it is not installed; without an origin there is no measurement.
    """
    directory = files.directory
    configuration = directory / "nginx.conf"
    configuration.write_text(f"""
daemon off; user root; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/nginx.err warn;
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; keepalive_requests 1000000; keepalive_timeout 600s;
  types {{ video/mp2t ts; application/vnd.apple.mpegurl m3u8; }}
  client_body_temp_path {directory}/t1; proxy_temp_path {directory}/t2; fastcgi_temp_path {directory}/t3;
  uwsgi_temp_path {directory}/t4; scgi_temp_path {directory}/t5;
  server {{
    listen 127.0.0.1:{files.port} ssl; ssl_certificate {files.pki.certificate}; ssl_certificate_key {files.pki.key};
    root {directory}/www; add_header Cache-Control "public, max-age=3600";
    location ~ \\.ts$ {{ rewrite ^ /segment.ts break; }}
    location ~ \\.m3u8$ {{ rewrite ^ /index.m3u8 break; }}
  }}
}}
""")
    child = await processes.start("nginx", [_program("nginx"), "-p", str(directory), "-c", str(configuration)])
    return System("nginx direct", await _listening(child, files.port, core), files.pki.ca)


async def squid(files: Files, processes: Processes, core: int) -> System:
    """ssl-bump with everything kept in memory.

    Raises:
        Absent: it is not installed, or was built without OpenSSL.
    """
    program = _program("squid")
    if not await asyncio.to_thread(_CERTGEN.exists):
        raise Absent(f"{_CERTGEN} is missing: this squid was built without OpenSSL")
    directory, port = files.directory / "squid", free_port()
    directory.mkdir()
    authority = _authority(directory)
    (directory / "hosts").write_text(f"127.0.0.1 {HOST}\n")
    configuration = directory / "squid.conf"
    configuration.write_text(f"""
http_port 127.0.0.1:{port} ssl-bump generate-host-certificates=on dynamic_cert_mem_cache_size=4MB \
tls-cert={directory}/authority.pem
sslcrtd_program {_CERTGEN} -s {directory}/certificates -M 4MB
sslcrtd_children 1
ssl_bump bump all
tls_outgoing_options cafile={files.directory}/origin-ca.pem
hosts_file {directory}/hosts
http_access allow all
cache_mem 256 MB
maximum_object_size_in_memory 64 MB
cache_log {directory}/cache.log
access_log none
pid_filename {directory}/squid.pid
coredump_dir {directory}
pinger_enable off
shutdown_lifetime 1 seconds
max_filedescriptors 1024
""")
    made = await asyncio.create_subprocess_exec(
        str(_CERTGEN), "-c", "-s", str(directory / "certificates"), "-M", "4MB", stdout=asyncio.subprocess.DEVNULL
    )
    await made.wait()
    if os.geteuid() == 0:  # started by root it becomes this user
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, "proxy", "proxy")
    child = await processes.start("squid", [program, "-N", "-n", f"bench{os.getpid()}", "-f", str(configuration)])
    pid = await _listening(child, port, core)
    return System("squid ssl-bump, memory hit", pid, authority, f"http://127.0.0.1:{port}")


def _authority(directory: Path) -> Path:
    """A signing certificate for squid, with its key in one file; returns the certificate's."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "bench authority")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "authority.pem").write_bytes(secret + certificate)
    (directory / "ca.pem").write_bytes(certificate)
    return directory / "ca.pem"


async def mitmdump(files: Files, processes: Processes, core: int) -> System:
    """Stock mitmproxy as it comes, intercepting and buffering. It is given the address: it has no list of hosts.

    Raises:
        Absent: it is not installed beside this Python.
    """
    program = Path(sys.executable).with_name("mitmdump")
    if not program.exists():
        raise Absent("mitmdump is not installed beside this Python")
    port, state = free_port(), files.directory / "mitmdump"
    command = [str(program), "-q", "--listen-host", "127.0.0.1", "-p", str(port)]
    for setting in (f"confdir={state}", f"ssl_verify_upstream_trusted_ca={files.pki.ca}"):
        command += ["--set", setting]
    pid = await _listening(await processes.start("mitmdump", command), port, core)
    return System(
        "stock mitmdump, intercept", pid, state / "mitmproxy-ca-cert.pem", f"http://127.0.0.1:{port}", "127.0.0.1"
    )


async def bare(files: Files, processes: Processes, core: int) -> System:
    """CONNECT, TLS and one body from memory by asyncio's streams: what Python itself costs."""
    port = free_port()
    www = files.directory / "www"
    arguments = ["tests.bench.proxies", str(port), str(www), str(files.pki.certificate), str(files.pki.key)]
    pid = await _listening(await processes.python("bare", *arguments), port, core)
    return System("bare asyncio CONNECT and TLS", pid, files.pki.ca, f"http://127.0.0.1:{port}")


def ours(stage: Stage, core: int) -> System:
    """The stage's one agent, enrolled and running."""
    agent = stage.agents[0]
    assert agent.child is not None
    pin(agent.child.pid, core)
    return System("agent", agent.child.pid, agent.ca, agent.proxy_url)


async def _serve_bare(port: int, www: Path, certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    bodies = {path: (www / path).read_bytes() for path in ("segment.ts", "index.m3u8")}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.start_tls(context)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = bodies["segment.ts" if b".ts " in head else "index.m3u8"]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                view = memoryview(body)
                for at in range(0, len(body), 262_144):
                    writer.write(view[at : at + 262_144])
                    await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve_bare(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4]))
