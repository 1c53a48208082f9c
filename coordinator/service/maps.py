"""Importing a site map: it is read, checked, and compared with where agents were seen last.

read_file(path)             the text of a map file, and the map; mistakes are told
stored(db)                  the map in force
compare(db, new, utc)       the agents that a new map would move
"""

from pathlib import Path

from coordinator.core import sites
from coordinator.core.sites import Address, Interface, MapError, Move, SiteMap
from coordinator.io.db import Database
from coordinator.service.settings import ConfigurationError

SEEN_WITHIN_S = 30 * 86_400
"""Agents that were not seen for a month are left out of a comparison: they may be gone for good."""


def read_file(path: Path) -> tuple[str, SiteMap]:
    """The text of a map file, and the map.

    Raises:
        ConfigurationError: the file cannot be read, or has mistakes; each is told with line, column and cure.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path}: not UTF-8 ({error.reason}); save it as CSV UTF-8") from error
    try:
        return text, sites.read_map(text, path.name)
    except MapError as error:
        raise ConfigurationError(str(error)) from error


async def stored(db: Database) -> tuple[int, SiteMap | None]:
    """Revision of the map in force, and the map; 0 and None without one."""
    found = await db.site_map()
    return (0, None) if found is None else (found.revision, sites.read_map(found.text, found.file))


async def compare(db: Database, new: SiteMap, utc: float) -> tuple[list[Move], int]:
    """The agents that `new` would move, and the number of all that were seen lately."""
    _, old = await stored(db)
    known: list[tuple[str, tuple[Interface, ...], Address]] = [
        (seen.device, sites.read_networks(seen.networks), sites.read_address(seen.remote))
        for seen in await db.sightings(utc - SEEN_WITHIN_S)
    ]
    return sites.moves(old, new, known), len(known)
