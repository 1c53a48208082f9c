"""The numbers by which the swarm decides, each declared once with its name, unit, bound and reason.

The unit stands at the end of a name: `_s` seconds, `_bytes`, `_mbps` megabits a second; a name without a unit is a
count or a factor. These numbers were measured and are no settings; what IT may set stands in `settings`. A recording
holds all of them, so that it is replayed by the numbers of the agent that recorded it.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers by which the swarm decides."""

    join_wait_s: float = 0.15
    """The longest that a stream's first segment waits for mDNS or the coordinator to name the neighbours. Only the
    first segment waits."""
    join_wait_tracker_s: float = 0.3
    """The same while the coordinator is connected: its list is worth the longer wait, because one copy then serves
    all."""
    home_answer_s: float = 0.04
    """The shortest wait for a home's answer before the next home is asked too. A round trip in a LAN takes 1 ms, so a
    home that has said nothing after 40 ms is taken for busy or gone."""
    home_answer_max_s: float = 0.4
    """The longest wait for a home's answer. Between the two, the wait is the mean of the answers' times and four times
    their variation, so it grows where machines are under load."""
    home_ranks: int = 3
    """How many homes are asked for the lease before this machine's own ledger decides."""
    first_byte_grace_s: float = 0.3
    """How much later than usual an origin's first byte may come. Then the lease of a fetch without response headers
    ends."""
    first_byte_unknown_s: float = 0.7
    """What counts as an origin's usual time to its first byte until that has been measured."""
    silence_s: float = 0.25
    """How long a parent or a lease holder that has begun may say nothing. Then it is replaced."""
    slack_floor_s: float = 1.0
    """The least slack that a viewer is taken to have, in seconds; the larger of this and the next number counts."""
    slack_floor_segments: float = 2.0
    """The least slack, in durations of a segment. With one duration an office of slow uplinks spends that time on
    changing parents: 3.1 copies and 889 stalls in simulation, against 1.02 copies and 71 stalls with two."""
    slack_ceiling_s: float = 6.0
    """The most slack that a viewer is taken to have, however much it has asked for ahead."""
    soft_share: float = 0.15
    """The part of the slack after which the soft deadline stands. At the soft deadline another parent is asked for, if
    at the present rate the rest of the segment would come too late."""
    hard_share: float = 0.5
    """The part of the slack after which the hard deadline stands. At the hard deadline the hedge lease is asked for, in
    the same case."""
    batch_wait_s: float = 0.1
    """The longest that the fetcher keeps hashed pieces until their batch is full. Then it signs those that it has."""
    fan_out_wired: int = 3
    """The most children that a machine on a cable has for one segment."""
    fan_out_wifi: int = 2
    """The most children that a machine on Wi-Fi has for one segment."""
    fan_out_webrtc: int = 4
    """The most segments that a machine sends over WebRTC at once, to all its children together. At 3 Mbit/s each of
    them costs half a percent of a core, which is ten to twenty times what it costs over TLS."""
    webrtc_overhead: float = 1.1
    """How many bytes go over the wire for each byte of a piece that is sent by WebRTC; the upload cap counts these.
    SCTP, DTLS, UDP and IP stand around every 1,160 bytes. Over TLS the factor is 1.03."""
    uplink_wired_mbps: float = 100.0
    """The uplink that the choice of a parent assumes of a machine on a cable."""
    uplink_wifi_mbps: float = 20.0
    """The uplink that the choice of a parent assumes of a machine on Wi-Fi."""
    hop_s: float = 0.01
    """The delay that each relay between the fetcher and a child adds, measured with pieces of 32 KiB."""
    slow_parent_s: float = 0.3
    """What is added to a parent's predicted time for each child that found that parent slow lately. It is about the
    silence that each of these children waited through."""
    suspect_s: float = 4.0
    """How long a device that did not answer in time is asked nothing. Any word from the device ends this at once."""
    unsettled_s: float = 2.0
    """How long after a change of a stream's committee a new home asks the homes of the older lists before it fetches:
    other machines may still ask by an older list."""
    give_way_s: float = 0.25
    """How long a machine that serves nobody waits after it has handed a lease back. Meanwhile another machine may
    fetch, which then serves the first one too; otherwise the first one asks for the lease again."""
    committee_max: int = 7
    """The most devices that keep one stream's ledgers. Seven are enough for 200 viewers, and some may die
    (simulation)."""
    gone_s: float = 0.2
    """How long a home tells its askers that the origin answered 404 or 410. The time is short because at the live edge
    the segment may appear at any moment."""
    private_s: float = 600.0
    """How long no lease is asked for a rendition that the origin has marked as not to be shared."""
    ban_s: float = 600.0
    """How long a device that broke the protocol is not spoken to."""
    dial_retry_s: float = 5.0
    """The shortest time until a device is dialled again after a link to it has ended or could not be made."""
    keys_remembered: int = 4_096
    """The most segment keys in a ledger; the oldest are forgotten first. An event of two hours in segments of 2 s and
    two tracks has 7,200."""
    acquisitions_max: int = 256
    """The most downloads at once. Beyond it viewers go to the origin."""
    in_flight_bytes_max: int = 256 * 1024 * 1024
    """The most bytes of unfinished segments in memory. Beyond it viewers go to the origin."""
    neighbours_max: int = 4_096
    """The most devices that are remembered. Those that are known only from other devices' words are forgotten first."""
    gets_per_device_max: int = 64
    """The most segments that one device may read from here at once. A player asks for two or three."""
    recent_max: int = 50
    """How many of the segments served last the status page explains."""
    piece_burst: int = 32
    """The most pieces (1 MiB together) that are handed to links in one go, before other work has its turn."""
    upload_burst_s: float = 2.0
    """How far ahead the machine's upload cap may be used, so that a segment need not be spread over its own
    duration."""
    progress_s: float = 0.1
    """How often a lease holder reports to the home while bytes arrive: once in this time."""
