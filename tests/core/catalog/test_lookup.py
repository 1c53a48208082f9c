"""What the catalog tells of a stream: each quality once, in the order in which it became known."""

from ecdn_proxy.core.catalog.index import CatalogEntry, CatalogStream, Computed, Playlist
from ecdn_proxy.core.catalog.lookup import renditions_of
from ecdn_proxy.core.manifest.model import Format, Segment, Template


def test_each_rendition_once_wherever_it_is_named() -> None:
    stream = CatalogStream("id", "unknown|https://h/m", "https://h/m", Format.DASH, 0.0)
    stream.names = {"https://h/high": "high", "https://h/unnamed": ""}
    playlist = Playlist(stream, "", False, 0.0)
    playlist.computed["t",] = Computed(playlist, "low", Template(("p",), duration_ticks=1), ("p",), ())
    for number, rendition in enumerate(("low", "high", "sound")):
        names = (f"https://h/{number}",)
        playlist.entries[names, None] = CatalogEntry(playlist, rendition, Segment(names[0], None, 1.0, number), names)
    stream.playlists["https://h/m"] = playlist
    assert renditions_of(stream) == ("high", "low", "sound")
