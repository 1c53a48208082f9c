"""A status with something in every field, for the page and its tests."""

from ecdn_proxy.agent.status import (
    ConditionStatus,
    CoordinatorStatus,
    PeerStatus,
    ProxyStatus,
    RecentStatus,
    RuleStatus,
    SettingStatus,
    Status,
    StreamStatus,
)
from ecdn_proxy.core.report.usage import BySource, ByteCounts


def filled_status() -> Status:
    """Half an hour into an all-hands, in an office that works."""
    recent = tuple(
        RecentStatus(
            key=f"{number:064x}",
            stream="1f6a",
            rendition="video 1080p",
            number=4_500 - number,
            source=source,
            why=why,
            ms=ms,
            bytes=size,
        )
        for number, (source, why, ms, size) in enumerate(
            (
                ("lan", "10.20.4.17 had it first and has the shortest queue", 31.4, 1_412_096),
                ("lan", "10.20.4.33 is still receiving it; read through", 58.0, 1_380_220),
                ("cache", "already on this machine", 0.8, 1_401_555),
                ("origin", "this machine fetched it for the office (lease)", 212.7, 1_399_010),
                ("lan", "10.20.4.17 had it first and has the shortest queue", 29.9, 1_405_733),
                ("webrtc", "10.31.0.8 through the coordinator; no agent on this link had it", 96.2, 1_388_402),
            )
        )
    )
    return Status(
        version="0.1.0",
        device="7b0c4f0e",
        enrolled=True,
        state="working",
        sentence="Working: 94 % of what was watched here came from your office.",
        uptime_s=5_025.0,
        coordinator=CoordinatorStatus(
            connected=True, url="https://ecdn.example.com:8443", why="", site="Zürich, floor 4", p2p="on"
        ),
        proxy=ProxyStatus(listening=True, address="127.0.0.1:3128", intercept_domains=("stream.test", "cdn.test")),
        peers=(
            PeerStatus("c0ffee12", "10.20.4.17:7688", "lan", 0.9, 812_000_000, 44_000_000, "same subnet, wired"),
            PeerStatus("ab12cd34", "10.20.4.33:7688", "lan", 2.4, 120_000_000, 310_000_000, "same subnet, Wi-Fi"),
            PeerStatus("99ee77aa", "10.31.0.8", "webrtc", 11.0, 18_000_000, 0, "same site, other subnet <b>"),
        ),
        streams=(StreamStatus("all-hands", ("video 1080p", "audio en"), 1),),
        bytes=ByteCounts(
            cache=40_000_000,
            lan=930_000_000,
            webrtc=18_000_000,
            origin=63_000_000,
            passed=2_400_000,
            uploaded=354_000_000,
            uploaded_webrtc=7_000_000,
        ),
        segments=BySource(cache=31, lan=702, webrtc=14, origin=48, passed=2),
        stalls_prevented=3,
        conditions=(
            ConditionStatus(
                code="vpn-active",
                title="A VPN is connected",
                text="Nothing is uploaded while the VPN is up: this machine takes from the office but does not give.",
                remedy="Disconnect the VPN while in the office, or let IT add the office network to peer_networks.",
            ),
        ),
        recent=recent,
        settings=(
            SettingStatus("listen", "127.0.0.1:3128", "default"),
            SettingStatus("intercept_domains", "stream.test, cdn.test", "agent.toml"),
            SettingStatus("upload_mbps_max", "10", "coordinator"),
            SettingStatus("log_level", "debug", "environment (ECDN_LOG_LEVEL)"),
        ),
        sharing_rules=(
            RuleStatus(
                name="town-hall",
                hosts=("*.stream.test", "cdn.test"),
                path="/live/<b>*",
                permits=("fresh_s = 60", "ignore_no_store"),
                risk="The segments lie on the disks of the office's machines.",
                source="agent.toml",
            ),
            RuleStatus("board", ("board.test",), "/", ("share = false",), "", "the coordinator"),
        ),
    )
