"""The PAC file: streaming hosts to the agent, everything else to the customer's own PAC, else DIRECT.

Map: `pac` (its text) · `reachable` (the address that a browser on this machine connects to).

Written for the oldest engines that still evaluate PAC files (JScript in WinHTTP): ECMAScript 3, no library functions.
Hosts are compared, never URLs: browsers strip path and query from https URLs before they ask.
"""

import ipaddress
import json

from ecdn_proxy.core.http.hosts import HostScope, place

TYPE = "application/x-ns-proxy-autoconfig"

_TEXT = """\
// ecdn: streaming hosts go through the agent on this machine; if it is away, DIRECT.
var ecdn = (function () {
  var intercept = %(intercept)s;
  var bypass = %(bypass)s;
  var agent = %(agent)s;
  function below(host, domains) {
    for (var i = 0; i < domains.length; i += 1) {
      var at = host.length - domains[i].length;
      if (at >= 0 && host.substring(at) === domains[i] && (at === 0 || host.charAt(at - 1) === ".")) { return true; }
    }
    return false;
  }
  return function (host) {
    host = String(host).toLowerCase();
    while (host.charAt(host.length - 1) === ".") { host = host.substring(0, host.length - 1); }
    return below(host, intercept) && !below(host, bypass) ? agent : null;
  };
})();
%(corporate)s
function FindProxyForURL(url, host) {
  var answer = ecdn(host);
  if (answer) { return answer; }
  try { answer = corporate(url, host); } catch (error) { answer = null; }
  return typeof answer === "string" && answer ? answer : "DIRECT";
}
"""
_NONE = "var corporate = function () { return null; };"
_WRAPPED = """\
// The customer's own PAC, in a function of its own so that no name collides.
var corporate = (function () {
var FindProxyForURL, FindProxyForURLEx;
%s
;return typeof FindProxyForURL === "function" ? FindProxyForURL : FindProxyForURLEx;
})();
"""


def reachable(listen: str) -> str:
    """The `address:port` that a browser on this machine uses, also when the proxy listens on every interface."""
    host, port = place(listen)
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("127.0.0.1" if address.version == 4 else "::1")
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def pac(scope: HostScope, listen: str, corporate: str | None) -> str:
    """The PAC file's text; `corporate` is the text of the customer's own PAC, None without one."""
    return _TEXT % {
        "intercept": json.dumps(scope.intercept),
        "bypass": json.dumps(scope.bypass),
        "agent": json.dumps(f"PROXY {reachable(listen)}; DIRECT"),
        "corporate": _NONE if corporate is None else _WRAPPED % corporate,
    }
