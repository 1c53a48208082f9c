"""Who meets whom: the programme of a segment, which is found in the segment's own identity and nowhere else.

Map: `folder_above` (an identity -> its programme, where no profile knows better) · `folded` (a list's many programmes
-> few) · `place_of`.

Viewers meet under a stream, and a segment's home is chosen among those who watch its stream. So all viewers of one
segment must find the same stream, also those whose playlists have URLs of their own (a session, a token, a personal
master), and those who came late and have seen no master. What they have in common is the segment's identity. Its
programme is the folder above the one in which it stands: packagers write each rendition into a folder of its own, or
all of them into one. Personal advertisements stand in other folders or on other hosts, and are programmes of their own.

Two programmes that lie in one folder count as one, and then more agents meet than share anything: that costs a question
between neighbours, and no byte, since keys are still each segment's own.
"""

from collections.abc import Iterable
from typing import Final

PROGRAMMES_MAX: Final = 8
"""The most programmes that one list has at one host. A list with more puts each of its segments into a folder of its
own: picture, sound, languages and a break's advertisements stay below."""


def place_of(identity: str) -> str:
    """The scheme and the host (or the provider) of an identity."""
    return "/".join(identity.split("/", 3)[:3])


def folder_above(identity: str) -> str:
    """The folder above the folder of a resource; its own folder, if that stands at the root.

    >>> folder_above("https://cdn.test/event/720p/7.ts"), folder_above("https://cdn.test/event/7.ts")
    ('https://cdn.test/event/', 'https://cdn.test/event/')
    """
    place = place_of(identity)
    folders = identity[len(place) :].partition("?")[0].split("/")[1:-1]
    return "/".join((place, *(folders[:-1] or folders), ""))


def folded(programmes: Iterable[str]) -> dict[str, str]:
    """For each programme of one list what it counts as: itself, or where a place has too many, their common folder."""
    by_place: dict[str, list[str]] = {}
    for programme in programmes:
        by_place.setdefault(place_of(programme), []).append(programme)
    found: dict[str, str] = {}
    for several in by_place.values():
        common = _common_folder(several) if len(several) > PROGRAMMES_MAX else None
        found.update((programme, common or programme) for programme in several)
    return found


def _common_folder(programmes: list[str]) -> str:
    first, last = min(programmes).split("/"), max(programmes).split("/")
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return "/".join((*first[:same], ""))
