"""Which parts of a URL identify a segment, and which differ between viewers, for each provider.

Map: `Profile` and `Drop` (the schema of the TOML files in `profiles/`) · `Profiles.load` (the shipped profiles, then an
administrator's) · `Profiles.canonical` (a URL -> its identity without tokens) · `Canonical` · `Profiles.programme`
(what belongs together).

A part that is dropped by mistake mixes two contents; a part that is kept by mistake only costs offload. So a profile
lists what is dropped, and what no profile names is kept. For an unknown host everything is kept but signatures that are
complete and unmistakable (the generic profiles). The request to the origin always carries the original URL.
"""

import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote, unquote, unquote_plus

import msgspec

from ecdn_proxy.core.catalog.programmes import folder_above, place_of
from ecdn_proxy.core.http import urls

UNKNOWN: Final = "unknown"
"""The provider's name for hosts that no profile names."""
PARAMETERS_MAX: Final = 200
"""The most query parameters of one URL. Of a URL with more nothing is dropped; the longest real ones have about 40."""


class BadProfile(Exception):
    """A provider profile cannot be used. The message names the profile, the fault and the cure."""


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of query parameter that does not identify a segment.

    Attributes:
        name: regular expression for the whole decoded name; case matters.
        value: if given, a regular expression that must be found in the decoded value, else the parameter is kept.
        inside: if given, the value is itself a URL, and only its parameters with names that match are dropped.
        noise: True for a parameter that differs from request to request (tracing numbers), so it is no credential.
    """

    name: str
    value: str = ""
    inside: str = ""
    noise: bool = False


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """How one provider writes its URLs.

    Attributes:
        name: the profile's name, unique; part of the identity of every URL.
        why: the sentence that status page and telemetry show.
        sources: where this knowledge comes from.
        rank: if several profiles match a URL, the one with the highest rank counts.
        generic: True for a profile for any host, which is applied after a provider's own or without one.
        always: True for a generic profile that is applied to every provider's URLs.
        hosts: host names, with `*` for any run of characters; required unless `generic`.
        path: regular expression searched in the path; the profile counts only for URLs in which it is found.
        requires: query parameters that must all be there for the profile to be applied.
        share: False leaves the whole host to the origin.
        pass_path: regular expression; requests whose path contains a match are left to the origin.
        pass_query: by parameter name the decoded values, in lower case, whose requests are left to the origin.
        host_free: True if URLs that differ only in the host, among `hosts`, identify the same segment.
        identity_path: regular expression searched in the path; only what it matches identifies the segment.
        drop_path: regular expressions, each for one whole path segment, decoded, that is dropped.
        drop_path_run: regular expressions, each for several whole path segments in a row that are dropped with the
            slashes between them, as written: a token that holds a path (`acl=/live/*`) may stand there unencoded.
        drop_query: query parameters that are dropped.
        programme_path: regular expression searched in the path; what it matches names the programme, all segments of
            which are shared among the same agents (`programmes`). Without one it is the folder above the segment's.
        also: names of generic profiles that are applied as well.
        sharing_rules: what may be shared although the origin does not say so (`wire/sharing_rules.py`), a table each;
            for `hosts` unless the table names its own.
    """

    name: str
    why: str
    sources: tuple[str, ...] = ()
    rank: int = 50
    generic: bool = False
    always: bool = False
    hosts: tuple[str, ...] = ()
    path: str = ""
    requires: tuple[str, ...] = ()
    share: bool = True
    pass_path: str = ""
    pass_query: dict[str, tuple[str, ...]] = {}
    host_free: bool = False
    identity_path: str = ""
    drop_path: tuple[str, ...] = ()
    drop_path_run: tuple[str, ...] = ()
    drop_query: tuple[Drop, ...] = ()
    programme_path: str = ""
    also: tuple[str, ...] = ()
    sharing_rules: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Canonical:
    """A URL without the parts that differ between viewers.

    Attributes:
        provider: the name of the profile that was applied, or `UNKNOWN`.
        identity: what identifies the bytes; equal for two viewers of one segment.
        tokens: the dropped parts that may be a credential, as `name=value`; they must never be logged.
        share: whether the provider's rules allow sharing at all.
        rule: the reason, in words.
    """

    provider: str
    identity: str
    tokens: tuple[str, ...]
    share: bool
    rule: str


_UNKNOWN = Profile(name=UNKNOWN, why="no profile for this host: everything identifies")


@lru_cache(maxsize=1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _host_pattern(host: str) -> str:
    return re.escape(host.lower()).replace(r"\*", "[a-z0-9._-]*")


class Profiles:
    """All profiles that are applied on this machine; immutable."""

    def __init__(self, profiles: Iterable[Profile], further: Collection[str] = ()) -> None:
        """Take the profiles; those whose names are in `further` are an administrator's, the others shipped."""
        self._further = frozenset(further)
        named = {profile.name: _checked(profile) for profile in profiles}
        self._generic = {p.name: p for p in sorted(named.values(), key=_order) if p.generic}
        self._named = tuple(p for p in sorted(named.values(), key=_order) if not p.generic)
        self._hosts = {p.name: re.compile("|".join(map(_host_pattern, p.hosts))) for p in self._named}
        self._programme_paths = {p.name: p.programme_path for p in self._named if p.programme_path}
        self._for_host = lru_cache(maxsize=512)(self._profiles_of_host)
        wanted = {name for profile in self._named for name in profile.also} - set(self._generic)
        if wanted:
            raise BadProfile(f"no generic profile {sorted(wanted)}; correct `also` in the profile that names it")

    @classmethod
    def load(cls, extra: Iterable[Mapping[str, Any]] = ()) -> "Profiles":
        """The shipped profiles and an administrator's. One of the latter replaces a shipped one with the same name.

        Args:
            extra: the administrator's profiles, as tables of the TOML file.

        Raises:
            BadProfile: a table does not fit the schema, or a pattern in it is no regular expression.
        """
        folder = files("ecdn_proxy.core.catalog").joinpath("profiles")
        shipped = sorted((f for f in folder.iterdir() if f.name.endswith(".toml")), key=lambda f: f.name)
        tables = [tomllib.loads(f.read_text("utf-8")) for f in shipped]
        further = [_from_table(table) for table in extra]
        return cls([*map(_from_table, tables), *further], [profile.name for profile in further])

    def names(self) -> tuple[str, ...]:
        """The names of all profiles, sorted."""
        return tuple(sorted([*self._generic, *(p.name for p in self._named)]))

    def sharing_rules(self, *, shipped: bool) -> Iterator[tuple[str, tuple[dict[str, Any], ...]]]:
        """Names of the shipped profiles, or of an administrator's, that have sharing rules, and their tables."""
        for profile in (*self._named, *self._generic.values()):
            if profile.sharing_rules and (profile.name in self._further) != shipped:
                yield profile.name, tuple({"hosts": profile.hosts, **table} for table in profile.sharing_rules)

    def canonical(self, url: str, byte_range: tuple[int, int | None] | None = None) -> Canonical:
        """A URL's identity, and which parts of the URL were dropped.

        Args:
            url: an http or https URL; it may be a template with `$Number$` in it.
            byte_range: first and last byte, if the identity is that of a byte range.

        Raises:
            BadUrl: as `urls.normal`.
        """
        parts = urls.split(url)
        if parts.host.endswith(".") and not parts.host.endswith(".."):
            parts = replace(parts, host=parts.host[:-1])  # the root's dot names the same host (RFC 1034, 3.1)
        profile = self._named_for(parts)
        pairs = [_pair(piece) for piece in parts.query.split("&")] if parts.query else []
        cut = _Cut(parts.path, pairs)
        rules = [profile.why]
        cut.apply(profile)
        if len(pairs) <= PARAMETERS_MAX:
            rules += [
                f"without {generic.why}"
                for generic in self._generics_for(profile)
                if set(generic.requires) <= cut.names and cut.apply(generic)
            ]
        share = profile.share and not _passes(profile, parts.path, pairs)
        if profile.share and not share:
            rules = [f"{profile.name}: manifests, keys and indexes go to the origin"]
        path = cut.path
        if profile.identity_path and (kept := _compiled(profile.identity_path).search(path)) is not None:
            path = kept[0]
        place = f"{parts.scheme}://({profile.name})" if profile.host_free else parts.origin
        identity = place + path + (f"?{cut.query}" if parts.query is not None and cut.query else "")
        if byte_range is not None:
            identity += f"#bytes={byte_range[0]}-{'' if byte_range[1] is None else byte_range[1]}"
        return Canonical(profile.name, identity, tuple(cut.tokens), share, "; ".join(rules))

    def programme(self, name: str) -> str:
        """To which programme a resource belongs, by its name `provider|identity`; equal on every agent."""
        provider, _, identity = name.partition("|")
        pattern = self._programme_paths.get(provider, "")
        if pattern:
            place = place_of(identity)
            found = _compiled(pattern).search(identity[len(place) :].partition("?")[0])
            if found is not None:
                return f"{place}{found[0]}/"
        return folder_above(identity)

    def _profiles_of_host(self, host: str) -> tuple[Profile, ...]:
        return tuple(p for p in self._named if self._hosts[p.name].fullmatch(host))

    def _named_for(self, parts: urls.Parts) -> Profile:
        for profile in self._for_host(parts.host):
            if not profile.path or _compiled(profile.path).search(parts.path):
                return profile
        return _UNKNOWN

    def _generics_for(self, profile: Profile) -> Iterator[Profile]:
        if profile is _UNKNOWN:
            yield from self._generic.values()
        else:
            yield from (p for p in self._generic.values() if p.always or p.name in profile.also)


class _Cut:
    """A path and a query, from which profiles drop parts one after the other."""

    def __init__(self, path: str, pairs: list[tuple[str, str, str]]) -> None:
        self.path = path
        self.tokens: list[str] = []
        self._pairs = pairs
        self.names = {name for _, name, _ in pairs}

    @property
    def query(self) -> str:
        """What is left of the query, in its original order and spelling."""
        return "&".join(raw for raw, _, _ in self._pairs)

    def apply(self, profile: Profile) -> bool:
        """Drop the parts that a profile names; returns whether there were any."""
        changed = False
        if profile.drop_path:
            expressions = [_compiled(pattern) for pattern in profile.drop_path]
            pieces = self.path.split("/")
            dropped = [piece for piece in pieces if any(e.fullmatch(unquote(piece)) for e in expressions)]
            if dropped:
                self.tokens += dropped
                self.path = "/".join(piece for piece in pieces if piece not in dropped)
                changed = True
        for pattern in profile.drop_path_run:
            expression = _compiled(f"/({pattern})(?=/|$)")
            while (run := expression.search(self.path)) is not None:
                self.tokens.append(run[1])
                self.path = self.path[: run.start()] + self.path[run.end() :]
                changed = True
        if profile.drop_query and 0 < len(self._pairs) <= PARAMETERS_MAX:
            before = self._pairs
            self._pairs = [pair for given in before if (pair := self._kept(given, profile.drop_query)) is not None]
            changed = changed or self._pairs != before
        return changed

    def _kept(self, pair: tuple[str, str, str], drops: tuple[Drop, ...]) -> tuple[str, str, str] | None:
        raw, name, value = pair
        for drop in drops:
            if not _compiled(drop.name).fullmatch(name) or (drop.value and not _compiled(drop.value).search(value)):
                continue
            if drop.inside:
                return self._without_nested(name, value, drop.inside)
            if not drop.noise:
                self.tokens.append(f"{name}={value}")
            return None
        return raw, name, value

    def _without_nested(self, name: str, value: str, inside: str) -> tuple[str, str, str]:
        before, question, query = value.partition("?")
        kept: list[str] = []
        for piece in query.split("&"):
            inner = unquote(piece.partition("=")[0])
            if question and _compiled(inside).fullmatch(inner):
                self.tokens.append(piece)
            else:
                kept.append(piece)
        plain = before + (question + "&".join(kept) if kept else "")
        return f"{name}={quote(plain, safe='')}", name, plain


def _pair(piece: str) -> tuple[str, str, str]:
    name, _, value = piece.partition("=")
    return piece, unquote_plus(name), unquote_plus(value)


def _passes(profile: Profile, path: str, pairs: list[tuple[str, str, str]]) -> bool:
    if profile.pass_path and _compiled(profile.pass_path).search(path):
        return True
    return any(value.lower() in profile.pass_query.get(name, ()) for _, name, value in pairs)


def _order(profile: Profile) -> tuple[int, str]:
    return -profile.rank, profile.name


def _from_table(table: Mapping[str, Any]) -> Profile:
    if not isinstance(table, Mapping):
        raise BadProfile(f"{table!r} where a profile is meant; write [[profile]] and its lines below")
    try:
        return msgspec.convert(dict(table), Profile)
    except msgspec.ValidationError as error:
        raise BadProfile(f"profile {table.get('name', '?')!r}: {error}; compare it with a shipped profile") from error


def _checked(profile: Profile) -> Profile:
    if profile.generic == bool(profile.hosts):
        raise BadProfile(f"profile {profile.name!r}: give `hosts`, or set `generic`, and not both")
    if profile.generic and profile.host_free:
        raise BadProfile(f"profile {profile.name!r}: `host_free` without `hosts` would mix all hosts; remove it")
    inner = [pattern for drop in profile.drop_query for pattern in (drop.name, drop.value, drop.inside)]
    whole = (profile.path, profile.pass_path, profile.identity_path, profile.programme_path)
    for pattern in (*whole, *profile.drop_path, *profile.drop_path_run, *inner):
        try:
            re.compile(pattern)
        except re.error as error:
            raise BadProfile(f"profile {profile.name!r}: {pattern!r} is no regular expression: {error}") from error
    return profile
