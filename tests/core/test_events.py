"""Words between the core and whoever performs: what must not be seen in a log is not."""

from typing import get_args

import pytest

from ecdn_proxy.core import events, values
from tests.core.makers import KEY, stored, wanted

SECRET = "token-4711"


@pytest.mark.parametrize(
    "said",
    [
        wanted(headers=(("cookie", SECRET), ("authorization", SECRET))),
        events.FetchOrigin(1, values.OriginRequest("https://origin.test/1", (("cookie", SECRET),)), 0, None, False),
        events.OriginSent(1, SECRET.encode()),
        events.Deliver(1, SECRET.encode()),
        events.Save(stored(SECRET.encode())),
        events.Loaded(KEY, stored(SECRET.encode())),
    ],
    ids=lambda it: type(it).__name__,
)
def test_neither_cookies_nor_bodies_are_shown(said: object) -> None:
    assert SECRET not in repr(said)


def test_nothing_is_both_an_event_and_an_effect() -> None:
    assert not set(get_args(events.Event)) & set(get_args(events.Effect))


@pytest.mark.parametrize("kind", [*get_args(events.Event), *get_args(events.Effect)], ids=lambda it: it.__name__)
def test_what_is_said_cannot_be_changed(kind: type) -> None:
    assert kind.__hash__ is not None, "only what is frozen has a hash"
    assert kind.__doc__
