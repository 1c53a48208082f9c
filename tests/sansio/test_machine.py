"""What every machine of ours shares."""

import pytest

from ecdn_proxy.sansio.machine import Instant, Story, earliest


@pytest.mark.parametrize(
    ("times", "first"),
    [([], None), ([None, None], None), ([None, 3.0, 0.0, None, 2.0], 0.0), ([-1.0, None], -1.0)],
)
def test_never_is_later_than_any_time(times: list[Instant | None], first: Instant | None) -> None:
    assert earliest(times) == first


def test_a_story_is_of_the_last_events() -> None:
    story = Story(length=2)
    for number in range(3):
        story.tell(float(number), f"step {number}")
    assert str(story) == "       1.000  step 1\n       2.000  step 2"
