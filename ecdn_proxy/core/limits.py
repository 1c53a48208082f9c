"""Numbers of the swarm that decide something: each with its name, unit, bound and reason, declared once.

What we measured and do not offer as a setting; what IT may set is in `settings`.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of the swarm; times in seconds. Each stands with its reason."""

    join_wait_s: float = 0.15
    """A stream's first segment waits this long for the tracker or mDNS to name the neighbours, once."""
    join_wait_tracker_s: float = 0.3
    """The same while the coordinator is connected: its list is worth more than the wait, as one copy serves all."""
    home_answer_s: float = 0.04
    """A LAN round trip is 1 ms; after 40 ms the home is presumed busy or gone and the second rank is asked too."""
    home_answer_max_s: float = 0.4
    """The same where answers are usually late (machines under load): their mean and four times its variation."""
    home_ranks: int = 3
    """How many homes are tried before the node goes to the origin by itself."""
    first_byte_grace_s: float = 0.3
    """A lease without response headers ends this long after the origin's usual first byte."""
    first_byte_unknown_s: float = 0.7
    """Taken as an origin's usual first byte until one has been measured."""
    silence_s: float = 0.25
    """A parent or lease that has begun and then says nothing for this long is replaced."""
    slack_floor_s: float = 1.0
    slack_floor_segments: float = 2.0
    """The least slack, in durations of a segment. With one, an office of slow uplinks spends them on changing parents:
    3.1 copies and 889 stalls in simulation, against 1.02 and 71."""
    slack_ceiling_s: float = 6.0
    soft_share: float = 0.15
    """Part of the slack after which another parent is asked for, if at this rate the rest would come too late."""
    hard_share: float = 0.5
    """Part of the slack after which, in the same case, the hedge lease is asked for."""
    batch_wait_s: float = 0.1
    """Hashed pieces wait at most this long for their batch to fill before it is signed."""
    fan_out_wired: int = 3
    fan_out_wifi: int = 2
    fan_out_webrtc: int = 4
    """Segments given over WebRTC at once, whoever gets them: at 3 Mbit/s each costs half a percent of a core, and ten
    to twenty times what TLS costs."""
    webrtc_overhead: float = 1.1
    """Bytes on the wire for each byte of a piece: SCTP, DTLS, UDP and IP around every 1,160 (1.03 over TLS)."""
    uplink_wired_mbps: float = 100.0
    uplink_wifi_mbps: float = 20.0
    """What parent choice assumes of a link until it knows better."""
    hop_s: float = 0.01
    """Added latency per relay, measured with 32 KiB pieces."""
    slow_parent_s: float = 0.3
    """Added to a parent's predicted finish for each child that found it slow lately: about the silence it cost."""
    suspect_s: float = 4.0
    """A device that did not answer in time is asked nothing for so long; any word of it ends that at once."""
    unsettled_s: float = 2.0
    """So long after a stream's committee has changed, a home asks the homes of older lists before it fetches."""
    give_way_s: float = 0.25
    """So long a machine that gives nothing to others, but asks first, lets one fetch that does."""
    committee_max: int = 7
    """Seven ledgers are enough for 200 viewers and survive deaths (simulation)."""
    gone_s: float = 0.2
    """404 and 410 are told to waiters, not remembered longer: at the live edge the segment may appear at any time."""
    private_s: float = 600.0
    """How long a rendition that the origin marked as not shareable is not asked about again."""
    ban_s: float = 600.0
    """How long a device that broke the protocol is not spoken to."""
    dial_retry_s: float = 5.0
    """A device that could not be reached is not tried again before."""
    keys_remembered: int = 4_096
    """Entries of a ledger; a two-hour event of 2 s segments in two tracks is 7,200, of which the oldest go first."""
    acquisitions_max: int = 256
    """Segments being fetched at once; beyond it viewers go to the origin."""
    in_flight_bytes_max: int = 256 * 1024 * 1024
    """Bytes of unfinished segments in memory; beyond it viewers go to the origin."""
    neighbours_max: int = 4_096
    """Devices remembered; those only heard of through others go first."""
    gets_per_device_max: int = 64
    """Segments that one device may be reading from here at once: a player asks for two or three."""
    recent_max: int = 50
    """Served segments that the status page explains."""
    piece_burst: int = 32
    """Pieces (1 MiB) handed to links in one go before other work has its turn."""
    upload_burst_s: float = 2.0
    """The host-wide upload cap may be used this far ahead: a segment must not be spread over its own duration."""
    progress_s: float = 0.1
    """A lease holder reports to the home this often while bytes arrive."""
