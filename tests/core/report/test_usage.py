"""What is declared once: that it adds up, that all of it is explained, and what the coordinator is told of it."""

from typing import get_args

import pytest

from ecdn_proxy.core.report.usage import BySource, ByteCounts, Usage, meaning_of
from ecdn_proxy.core.values import Source
from ecdn_proxy.wire.usage import ReportedUsage

MUCH = Usage(ByteCounts(1, 20, 300, 4_000, 50_000, 600_000, 7_000_000), BySource(1, 2, 3, 4, 5), 9)


def test_there_is_one_number_for_each_source() -> None:
    assert BySource.__struct_fields__ == get_args(Source)


def test_usages_add_up_part_by_part() -> None:
    assert MUCH + Usage() == MUCH
    assert Usage() == MUCH - MUCH
    assert (MUCH + MUCH).bytes.uploaded_webrtc == 14_000_000
    assert (MUCH + MUCH) - MUCH == MUCH


def test_what_comes_from_other_agents_is_one_number_for_the_coordinator_and_webrtc_a_part_of_it() -> None:
    assert MUCH.reported() == ReportedUsage(
        bytes_cache=1,
        bytes_lan=320,
        bytes_webrtc=300,
        bytes_origin=4_000,
        bytes_up=600_000,
        bytes_up_webrtc=7_000_000,
        segments=15,
    )


def test_every_counter_says_what_it_counts() -> None:
    for name in Usage.__struct_fields__:
        assert meaning_of(Usage, name).endswith(".")
    for name in set(ByteCounts.__struct_fields__) - set(BySource.__struct_fields__):
        assert meaning_of(ByteCounts, name).endswith(".")
    with pytest.raises(AttributeError):
        meaning_of(BySource, "lan")
