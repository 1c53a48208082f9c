"""The PAC file, evaluated by a JavaScript engine."""

import json
import shutil
import subprocess

import pytest

from ecdn_proxy.core.http.hosts import HostScope
from ecdn_proxy.front.status.pac import pac, reachable

SCOPE = HostScope.of(("stream.test", "cdn.test"), ("pinned.stream.test",))
OURS = "PROXY 127.0.0.1:3128; DIRECT"
_RUN = """
const vm = require("vm");
const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const context = vm.createContext({ dnsDomainIs: (host, end) => host.endsWith(end) });
vm.runInContext(given.text, context);
const call = host => `FindProxyForURL("https://${host}/", ${JSON.stringify(host)})`;
const out = given.hosts.map(host => vm.runInContext(call(host), context));
console.log(JSON.stringify({ out, names: Object.keys(context) }));
"""


def evaluate(text: str, *hosts: str) -> tuple[list[str], list[str]]:
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not installed: no JavaScript engine to evaluate a PAC file with")
    given = json.dumps({"text": text, "hosts": hosts})
    done = subprocess.run([node, "-e", _RUN], input=given, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    return answer["out"], answer["names"]


@pytest.mark.node
def test_hosts() -> None:
    cases = {
        "stream.test": OURS,
        "a.b.stream.test": OURS,
        "STREAM.Test": OURS,
        "stream.test.": OURS,
        "x.cdn.test": OURS,
        "evilstream.test": "DIRECT",
        "stream.test.evil.example": "DIRECT",
        "stream.testing": "DIRECT",
        "test": "DIRECT",
        "": "DIRECT",
        "pinned.stream.test": "DIRECT",
        "a.pinned.stream.test": "DIRECT",
        "unpinned.stream.test": OURS,
        "::1": "DIRECT",
        "10.0.0.1": "DIRECT",
    }
    assert evaluate(pac(SCOPE, "127.0.0.1:3128", None), *cases)[0] == list(cases.values())


@pytest.mark.node
def test_the_customers_pac_answers_for_the_rest_and_collides_with_nothing() -> None:
    corporate = """
      var ecdn = "theirs"; var intercept = 1;
      function below(host) { return dnsDomainIs(host, ".corp.test"); }
      function FindProxyForURL(url, host) { return below(host) ? "PROXY proxy.corp.test:8080" : "DIRECT"; } // end"""
    out, names = evaluate(pac(SCOPE, "127.0.0.1:3128", corporate), "stream.test", "a.corp.test", "other.test")
    assert out == [OURS, "PROXY proxy.corp.test:8080", "DIRECT"]
    assert "below" not in names


@pytest.mark.node
@pytest.mark.parametrize("body", ["throw new Error('no');", "return null;", "return 7;", ""])
def test_a_customers_pac_that_fails_means_direct(body: str) -> None:
    text = pac(SCOPE, "127.0.0.1:3128", f"function FindProxyForURL(url, host) {{ {body} }}")
    assert evaluate(text, "other.test", "stream.test")[0] == ["DIRECT", OURS]


@pytest.mark.node
def test_only_the_extended_function() -> None:
    text = pac(SCOPE, "127.0.0.1:3128", "function FindProxyForURLEx(url, host) { return 'PROXY x:1'; }")
    assert evaluate(text, "other.test")[0] == ["PROXY x:1"]


def test_addresses_that_a_browser_can_reach() -> None:
    assert reachable("0.0.0.0:3128") == "127.0.0.1:3128"
    assert reachable("[::]:3128") == "[::1]:3128"
    assert reachable("[::1]:99") == "[::1]:99"


def test_old_engines_can_parse_it() -> None:
    text = pac(SCOPE, "127.0.0.1:3128", None)
    assert text.isascii()
    for new in ("=>", "let ", "const ", "endsWith", "includes(", "`", "indexOf"):
        assert new not in text
