"""Bringing a site map in: read, checked, compared with where agents were last seen, stored."""

from pathlib import Path

from coordinator.core import sites
from coordinator.core.sites import Address, Interface, MapError, Move, SiteMap
from coordinator.io.db import Database
from coordinator.service.settings import Unusable

SEEN_WITHIN_S = 30 * 86_400
"""A machine that has been away for a month says nothing about a new map."""


def read_file(path: Path) -> tuple[str, SiteMap]:
    """Text and content of a map.

    Raises:
        Unusable: cannot be read, or has mistakes; each with line, column and cure.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Unusable(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise Unusable(f"{path}: not UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    try:
        return text, sites.read_map(text, path.name)
    except MapError as error:
        raise Unusable(str(error)) from error


async def stored(db: Database) -> tuple[int, SiteMap | None]:
    """Revision and content of the map in force."""
    found = await db.site_map()
    return (0, None) if found is None else (found.revision, sites.read_map(found.text, found.file))


async def compare(db: Database, new: SiteMap, utc: float) -> tuple[list[Move], int]:
    """Which agents `new` would move, and of how many seen lately."""
    _, old = await stored(db)
    known: list[tuple[str, tuple[Interface, ...], Address]] = [
        (seen.device, sites.read_networks(seen.networks), sites.read_address(seen.remote))
        for seen in await db.sightings(utc - SEEN_WITHIN_S)
    ]
    return sites.moves(old, new, known), len(known)
