"""MPD patches: from the last MPD and a `Patch` document to the MPD that a player makes of both.

Map: limits · `PatchBases` (the MPDs that can be patched, of all streams) · `apply` (one patch) · `_place` (selectors) ·
`_add`, `_replace`, `_remove` (operations).

The standards are ISO/IEC 23009-1, 5.15 and annex C for the document, and RFC 5261 for its operations. A selector is
the part of XPath that both allow: a path of names from /MPD on, each with a position or an attribute's value, and at
its end an attribute or text(). Namespaces are not compared, as players do not compare them.

@ttl of PatchLocation is not read: it tells the player how long to ask. Whether a patch fits is said by the patch
itself, which names the publish time of the MPD that it changes.
"""

import re
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final
from xml.etree.ElementTree import Element

from ecdn_proxy.core.manifest.model import ManifestError, PatchBase
from ecdn_proxy.core.manifest.xml import instant, local

BASE_BYTES_MAX: Final = 1024 * 1024
"""The most bytes of an MPD that is kept for patches. The most timeline entries that are read, 20,000 of 30 characters,
take 0.6 MB."""
BASES_BYTES_MAX: Final = 16 * 1024 * 1024
"""The most bytes of all MPDs kept for patches: a third of what the catalog may take beside."""
VERSIONS_MAX: Final = 4
"""The most versions of one MPD that are kept. Two players on this machine may be an update apart."""
OPERATIONS_MAX: Final = 2_000
"""The most operations of one patch: one for each representation of a long MPD."""
SELECTOR_CHARACTERS_MAX: Final = 1_024
"""The most characters of one selector. Real ones have about 100."""
VISITED_MAX: Final = 250_000
"""The most elements that all selectors of one patch look at, and again for each condition: 0.2 s of work."""

_CURE: Final = "its segments come from the origin until the player fetches the whole MPD again"
_STEP = re.compile(r"""/(?:[\w.-]+:)?([\w.-]+|\*)((?:\[(?:[^\]'"]|'[^']*'|"[^"]*")*\])*)""")
_PREDICATE = re.compile(r"""\[\s*(?:(\d{1,6})|@(?:[\w.-]+:)?([\w.-]+)\s*=\s*(?:'([^']*)'|"([^"]*)"))\s*\]""")
_ENDING = re.compile(r"/(?:@(?:[\w.-]+:)?([\w.-]+)|(text\(\)))$")


class PatchBases:
    """The last versions of MPDs that can be patched, by stream. The oldest are dropped first."""

    def __init__(self) -> None:
        self._bases: OrderedDict[tuple[str, str], PatchBase] = OrderedDict()
        self._bytes = 0

    def keep(self, stream: str, base: PatchBase) -> None:
        """Keep one version of a stream's MPD; an MPD of more than `BASE_BYTES_MAX` is not kept."""
        if len(base.text) > BASE_BYTES_MAX:
            return
        self._drop((stream, base.published))
        self._bases[stream, base.published] = base
        self._bytes += len(base.text)
        versions = [name for name in self._bases if name[0] == stream]
        for name in versions[:-VERSIONS_MAX]:
            self._drop(name)
        while self._bytes > BASES_BYTES_MAX:
            self._drop(next(iter(self._bases)))

    def of(self, stream: str) -> tuple[PatchBase, ...]:
        """The kept versions of a stream's MPD, the newest first."""
        return tuple(base for (name, _), base in reversed(self._bases.items()) if name == stream)

    def _drop(self, name: tuple[str, str]) -> None:
        gone = self._bases.pop(name, None)
        if gone is not None:
            self._bytes -= len(gone.text)


def base_for(patch: Element, bases: Iterable[PatchBase]) -> tuple[PatchBase, bool]:
    """The MPD that a patch belongs to, and whether the patch is still to be applied.

    It is not to be applied if it leads to a version that is known already, as for the second player of a machine.

    Raises:
        ManifestError: no such MPD is among `bases`.
    """
    known = tuple(bases)
    mine = [base for base in known if base.id == patch.get("mpdId", "")]
    before, after = patch.get("originalPublishTime", ""), patch.get("publishTime", "")
    for base in mine:
        if after and _same_time(base.published, after):
            return base, False
    for base in mine:
        if _same_time(base.published, before):
            return base, True
    if not known:
        what = "a patch of an MPD that was not fetched through this agent, or is too long to be kept"
    elif not mine:
        what = f"a patch of another MPD ({patch.get('mpdId', '')[:40]!r})"
    else:
        what = f"a patch of a version that was not seen ({before[:40]!r})"
    raise ManifestError(what, "Patch", _CURE)


def apply(patch: Element, root: Element) -> None:
    """Apply a patch to the root element of its MPD, in place. Names lose their namespaces.

    Raises:
        ManifestError: an operation cannot be done, and then the patch is void (RFC 5261, section 5), or there are too
            many.
    """
    if len(patch) > OPERATIONS_MAX:
        raise ManifestError(f"{len(patch)} operations; the limit is {OPERATIONS_MAX}", "Patch", _CURE)
    for document in (patch, root):
        for element in document.iter():
            element.tag = local(element)
    left = VISITED_MAX
    published = root.get("publishTime")
    for place, operation in enumerate(patch):
        try:
            left = _operate(root, operation, left)
        except ValueError as error:
            raise ManifestError(str(error), f"operation {place + 1} of a patch", _CURE) from error
    if root.get("publishTime") == published and "publishTime" in patch.attrib:
        root.set("publishTime", patch.attrib["publishTime"])


def _operate(root: Element, operation: Element, left: int) -> int:
    """Do one operation; returns how many elements may still be looked at."""
    selector = operation.get("sel", "").strip()
    parent, target, ending, left = _place(root, selector, left)
    if operation.tag == "add":
        _add(operation, parent, target, ending)
    elif operation.tag == "replace":
        _replace(operation, parent, target, ending)
    elif operation.tag == "remove":
        _remove(parent, target, ending)
    else:
        raise ValueError(f"an operation that RFC 5261 does not know: {operation.tag[:40]!r}")
    return left


def _place(root: Element, selector: str, left: int) -> tuple[Element | None, Element, str, int]:
    """The one element that a selector names, with its parent, and what of it is meant.

    Returns:
        The parent (None for the root), the element, "" or `@name` or `text()`, and how many elements may still be
        looked at.

    Raises:
        ValueError: the selector names no element or several, cannot be read, or there is too much to look at.
    """
    if len(selector) > SELECTOR_CHARACTERS_MAX:
        raise ValueError(f"a selector of {len(selector)} characters; the limit is {SELECTOR_CHARACTERS_MAX}")
    found = _ENDING.search(selector)
    ending = "" if found is None else "text()" if found[2] else f"@{found[1]}"
    path = selector[: found.start()] if found is not None else selector
    at = 0
    places: list[tuple[Element | None, Element]] = []
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            break
        groups = [(None, [root])] if at == 0 else [(element, list(element)) for _, element in places]
        left -= sum(len(children) for _, children in groups) * (1 + step[2].count("["))
        if left < 0:
            raise ValueError(f"selectors that look at more than {VISITED_MAX} elements")
        places = [(parent, child) for parent, children in groups for child in _chosen(children, step[1], step[2])]
        at = step.end()
    if at == 0 or at < len(path):
        raise ValueError(f"a selector that is not read: {selector[:80]!r}")
    if len(places) != 1:
        raise ValueError(f"a selector that names {len(places)} elements instead of one: {selector[:80]!r}")
    return (*places[0], ending, left)


def _chosen(children: list[Element], name: str, predicates: str) -> list[Element]:
    chosen = [child for child in children if name in {"*", child.tag}]
    at = 0
    while at < len(predicates):
        one = _PREDICATE.match(predicates, at)
        if one is None:
            raise ValueError(f"a condition that is not read: {predicates[:80]!r}")
        if one[1]:
            chosen = chosen[int(one[1]) - 1 : int(one[1])] if int(one[1]) else []
        else:
            value = one[3] if one[3] is not None else one[4]
            chosen = [child for child in chosen if child.attrib.get(_key(child, one[2])) == value]
        at = one.end()
    return chosen


def _key(element: Element, name: str) -> str:
    """The attribute's name as the element has it, be it with a namespace."""
    return next((key for key in element.attrib if key.rpartition("}")[2] == name), name)


def _add(operation: Element, parent: Element | None, target: Element, ending: str) -> None:
    """Add elements, text or an attribute (RFC 5261, 4.3)."""
    kind, where = operation.get("type", ""), operation.get("pos", "")
    text = (operation.text or "").strip()
    if ending:
        raise ValueError("only elements can be added to")
    if kind.startswith("@"):
        target.set(_key(target, kind[1:].rpartition(":")[2]), text)
    elif kind:
        return  # namespace::prefix; namespaces are not compared
    elif where in {"before", "after"}:
        if parent is None:
            raise ValueError("nothing can stand beside the MPD")
        at = list(parent).index(target) + (where == "after")
        parent[at:at] = list(operation)
    elif where == "prepend":
        target[0:0] = list(operation)
    elif where:
        raise ValueError(f"a place that RFC 5261 does not know: {where[:40]!r}")
    else:
        target.extend(list(operation))
        if text and not len(operation):
            target.text = (target.text or "") + text


def _replace(operation: Element, parent: Element | None, target: Element, ending: str) -> None:
    """Replace an element, its text or an attribute's value (RFC 5261, 4.4)."""
    text = (operation.text or "").strip()
    if ending == "text()":
        target.text = text
    elif ending:
        key = _key(target, ending[1:])
        if key not in target.attrib:
            raise ValueError(f"no such attribute: {ending}")
        target.set(key, text)
    elif parent is None or len(operation) != 1:
        raise ValueError("one element can be replaced by one, and the MPD by none")
    else:
        parent[list(parent).index(target)] = operation[0]


def _remove(parent: Element | None, target: Element, ending: str) -> None:
    """Remove an element, its text or an attribute (RFC 5261, 4.5)."""
    if ending == "text()":
        target.text = None
    elif ending:
        if target.attrib.pop(_key(target, ending[1:]), None) is None:
            raise ValueError(f"no such attribute: {ending}")
    elif parent is None:
        raise ValueError("the MPD itself cannot be removed")
    else:
        parent.remove(target)


def _same_time(one: str, other: str) -> bool:
    """Whether two xs:dateTime texts are the same moment; equal texts always are."""
    if one == other:
        return bool(one)
    try:
        return instant(one) == instant(other)
    except ValueError:
        return False
