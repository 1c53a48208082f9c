"""Sharing rules: what may be shared although the origin does not say so, by host and path, as IT writes them.

    [[sharing_rules]]              in agent.toml; [[agents.sharing_rules]] in coordinator.toml, and
    name = "town-hall"             [[profile.sharing_rules]] in a file of provider profiles
    hosts = ["*.example.com"]
    path = "/live/"
    ignore_no_store = true
    fresh_s = 60

    read_rules(tables, place, source) -> (rules, mistakes)     a rule with a mistake is left out, the others count
    SharingRule.covers(host, path)                             whether a request is one of the rule's
    RISKS                                                      what each permission may cost, in plain words

A rule is the word of somebody who knows the event: the origin cannot be asked whether its `no-store` was meant. So a
rule names its hosts, and no rule is for all hosts.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Annotated, Final

import msgspec
from msgspec import Meta

RULES_MAX: Final = 100
"""The most rules of one source. An event has one or two; more are a list that nobody has looked through."""
HOSTS_MAX: Final = 32
"""The most hosts of one rule."""
YEAR_S: Final = 31_536_000.0
"""For how long an immutable segment is fresh, in seconds: a year (RFC 9111 section 5.3 advises no more of Expires), and
longer than memory or disk keep any."""
RISKS: Final = {
    "immutable": "A segment that its origin replaces under the same URL stays as it was first, on all machines.",
    "fresh_s": "A segment that its origin replaces under the same URL is played as it was for up to so many seconds.",
    "ignore_no_store": "The segments lie in the memory and on the disks of the office's machines, though their owner "
    "asked that they be kept nowhere.",
    "ignore_private": "If the origin makes these bytes for each viewer (own advertisements, a watermark), a viewer "
    "sees another one's.",
    "ignore_set_cookie": "No viewer gets the cookie. Where a session lives on it, it may end, or the origin may count "
    "its viewers wrongly.",
    "ignore_vary": "If the origin does send other bytes by these request fields (device, language), a viewer gets "
    "another one's.",
    "ignore_authorization": "The origin does not see each viewer's Authorization for each segment. A viewer who has "
    "lost the right to watch may go on for up to entitlement_window_s.",
}
"""By permission: what may go wrong if the rule's author is mistaken."""

_EXAMPLES: Final = {"name": '"town-hall"', "hosts": '["*.example.com"]', "path": '"/live/"', "fresh_s": "60"}
"""By word what a value looks like; all other words are true or false."""
_LEAST: Final = {"name": "", "hosts": ()}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _-]{0,39}")
_LABEL = r"(?!-)[a-z0-9_-]{1,63}(?<!-)"
_HOST = re.compile(rf"(\*\.{_LABEL}\.)?{_LABEL}(\.{_LABEL})*|\[[0-9a-f:.]+\]")


class SharingRule(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One rule. What it permits counts for answers to requests whose URL it covers; all else is as the origin says."""

    name: Annotated[str, Meta(description="What the status page calls the rule: letters, digits, space, - and _.")]
    hosts: Annotated[
        tuple[str, ...], Meta(description="Host names: exact, or `*.example.com` for all below example.com.")
    ]
    path: Annotated[
        str,
        Meta(
            description="Path: `/live` is that folder and all below it. With a `*`, which stands for any characters, "
            "it is the whole path."
        ),
    ] = "/"
    share: Annotated[bool, Meta(description="false: these requests go to the origin.")] = True
    immutable: Annotated[
        bool, Meta(description="A segment is fresh for as long as it is kept; the origin is not asked about it again.")
    ] = False
    fresh_s: Annotated[
        float | None,
        Meta(description="A segment is fresh for so many seconds after it was fetched, 1 to 31536000."),
    ] = None
    ignore_no_store: Annotated[bool, Meta(description="Share although the origin said `no-store`.")] = False
    ignore_private: Annotated[bool, Meta(description="Share although the origin said `private`.")] = False
    ignore_set_cookie: Annotated[
        bool, Meta(description="Share, without the cookie, although the origin set one and did not say `public`.")
    ] = False
    ignore_vary: Annotated[bool, Meta(description="Share although the answer varies by request fields.")] = False
    ignore_authorization: Annotated[
        bool, Meta(description="Share although the request carried Authorization and the origin did not say `public`.")
    ] = False
    source: str = ""
    """Who set the rule, as the status page says it; not a word of the table."""

    @property
    def said(self) -> str:
        """The rule as a reason names it. No host stands in it, because reasons are recorded, and hosts are not."""
        return f"rule {self.name} of {self.source}"

    @property
    def permits(self) -> tuple[str, ...]:
        """The words in `RISKS` that this rule says."""
        return tuple(word for word in RISKS if getattr(self, word))

    @property
    def kept_fresh_s(self) -> float | None:
        """For how many seconds after its fetch a segment is fresh; None: as the origin says."""
        return YEAR_S if self.immutable else self.fresh_s

    def covers(self, host: str, path: str) -> bool:
        """Whether a request is one of this rule's.

        Args:
            host: of its URL, in lower case, without a final dot.
            path: of its URL, without dot segments.
        """
        return any(_is_of(host, pattern) for pattern in self.hosts) and _is_below(path, self.path)


WORDS: Final = tuple(name for name in SharingRule.__struct_fields__ if name != "source")
"""The words that a rule's table may have."""


def read_rules(tables: object, place: str, source: str) -> tuple[tuple[SharingRule, ...], tuple[str, ...]]:
    """The rules in a list of tables, and a sentence for each table that is no rule.

    Args:
        tables: what the file or the coordinator says, of any type.
        place: what mistakes are told with, such as `agent.toml, sharing_rules`.
        source: who set the rules, in the reader's words: `agent.toml`, `the coordinator`.
    """
    if not isinstance(tables, list | tuple):
        return (), (f"{place}: {str(tables)[:40]!r} is no list of rules; write each as a table, [[sharing_rules]].",)
    rules: dict[str, SharingRule] = {}
    mistakes: list[str] = []
    for number, table in enumerate(tables[:RULES_MAX], 1):
        where = f"{place} {number}"
        if isinstance(table, Mapping) and isinstance(table.get("name"), str):
            where += f" ({table['name'][:40]!r})"
        try:
            rule = _rule(table, source)
            if rule.name in rules:
                raise ValueError("a second rule of this name; give each its own, or make one rule of both")
        except ValueError as error:
            mistakes.append(f"{where}: {error}.")
        else:
            rules[rule.name] = rule
    if len(tables) > RULES_MAX:
        mistakes.append(
            f"{place}: {len(tables)} rules; the first {RULES_MAX} count. Put hosts of equal rules into one."
        )
    return tuple(rules.values()), tuple(mistakes)


def _rule(table: object, source: str) -> SharingRule:
    """One rule.

    Raises:
        ValueError: the table is no rule; the message says why, and what to write.
    """
    if not isinstance(table, Mapping):
        raise ValueError(f"{table!r} is no table; write [[sharing_rules]] and its lines below")
    for word in table:
        if word not in WORDS:
            near = difflib.get_close_matches(str(word), WORDS, n=1, cutoff=0.6)
            raise ValueError(
                f"there is no {word!r} in a rule; "
                + (f"perhaps {near[0]!r} is meant" if near else f"the words are {_all(WORDS)}")
            )
    if absent := [word for word in ("name", "hosts") if word not in table]:
        raise ValueError(f"{' and '.join(absent)} missing; write for example {absent[0]} = {_EXAMPLES[absent[0]]}")
    for word, value in table.items():
        try:
            msgspec.convert({**_LEAST, word: value}, SharingRule)
        except msgspec.ValidationError as error:
            raise ValueError(f"{word} = {str(value)[:40]}; write {_EXAMPLES.get(word, 'true or false')}") from error
    rule = msgspec.convert({**table, "source": source}, SharingRule)
    if not _NAME.fullmatch(rule.name):
        raise ValueError(f"{rule.name!r} is no name; write 1 to 40 letters, digits, spaces, - and _")
    if not 0 < len(rule.hosts) <= HOSTS_MAX:
        raise ValueError(f"{len(rule.hosts)} hosts; write 1 to {HOSTS_MAX}, and further ones into another rule")
    hosts = tuple(map(_host, rule.hosts))
    if not rule.path.startswith("/") or len(rule.path) > 400 or set("?#") & set(rule.path):
        raise ValueError(f"{rule.path[:80]!r} is no path; write it as in /live/ or /event/*.m4s, without a query")
    _check_permissions(rule)
    return msgspec.structs.replace(rule, hosts=hosts)


def _check_permissions(rule: SharingRule) -> None:
    if rule.fresh_s is not None and not 1 <= rule.fresh_s <= YEAR_S:
        raise ValueError(f"fresh_s = {rule.fresh_s:g}; write seconds from 1 to {YEAR_S:.0f}")
    if not rule.share and rule.permits:
        raise ValueError(f"share = false and {_all(rule.permits)} contradict each other; leave one out")
    if rule.share and not rule.permits:
        raise ValueError(f"it permits nothing; write one of {_all(RISKS)}, or share = false to share nothing there")
    if rule.immutable and rule.fresh_s is not None:
        raise ValueError("immutable and fresh_s contradict each other; leave one out")


def _host(text: str) -> str:
    """A host pattern in lower case and as A-labels (RFC 5890), without a final dot."""
    host = text.strip().lower().rstrip(".")
    if not host.isascii():
        try:
            host = ("*." if host.startswith("*.") else "") + host.removeprefix("*.").encode("idna").decode("ascii")
        except UnicodeError:
            host = ""
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise ValueError(
            f"{text[:80]!r} is no host of a rule; write stream.example.com, or *.example.com for all below it, "
            "without scheme, port and path, and never * alone or before a single name"
        )
    return host


def _is_of(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


@lru_cache(maxsize=1024)
def _compiled(glob: str) -> re.Pattern[str]:
    """A glob as an expression; each piece is taken where it comes first, so that no path takes long."""
    first, *between, last = map(re.escape, glob.split("*"))
    return re.compile(first + "".join(f"(?>.*?{piece})" for piece in between) + f".*{last}", re.DOTALL)


def _is_below(path: str, pattern: str) -> bool:
    if "*" in pattern:
        return _compiled(pattern).fullmatch(path) is not None
    return path == pattern or path.startswith(pattern if pattern.endswith("/") else pattern + "/")


def _all(words: Iterable[str]) -> str:
    return ", ".join(words)
