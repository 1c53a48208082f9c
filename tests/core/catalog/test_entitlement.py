"""`core.catalog.entitlement`: a timetable of who may be served."""

from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.core.catalog.entitlement import Entitlements

who = Entitlements.credential


def test_a_viewer_is_entitled_from_the_origins_yes_until_the_window_ends() -> None:
    book = Entitlements(window_s=300)
    viewer = who((), "session=a", None)
    assert not book.is_entitled("s", viewer, 0.0).allowed
    book.proven("s", viewer, 0.0)
    assert book.is_entitled("s", viewer, 0.0).allowed
    assert book.is_entitled("s", viewer, 299.9).allowed
    assert book.is_entitled("s", viewer, 299.9).why == "the origin said yes to this viewer 300 s ago"
    late = book.is_entitled("s", viewer, 300.1)
    assert (late.allowed, late.why) == (False, "the origin's last yes to this viewer is 300 s old; 300 s count")
    book.proven("s", viewer, 310.0)
    assert book.is_entitled("s", viewer, 600.0).allowed
    book.proven("s", viewer, 5.0)  # an answer that was long under way takes nothing back
    assert book.is_entitled("s", viewer, 600.0).allowed
    assert book.is_entitled("s", viewer, 290.0).allowed  # the clock was set back
    book.revoked("s", viewer)
    book.revoked("s", viewer)
    assert not book.is_entitled("s", viewer, 600.0).allowed


def test_a_second_user_gets_nothing_out_of_the_firsts_session() -> None:
    book = Entitlements()
    book.proven("s", who((), "session=a", None), 0.0)
    others = [
        who((), None, None),
        who((), "session=b", None),
        who((), "session=a", "B x"),
        who(("t=1",), "session=a", None),
    ]
    for other in others:
        assert not book.is_entitled("s", other, 1.0).allowed
    assert not book.is_entitled("other stream", who((), "session=a", None), 1.0).allowed


def test_the_tokens_that_a_manifest_hands_out_are_proven_with_it() -> None:
    book = Entitlements()
    book.manifest_fetched("s", [("sig=1",), ("sig=2",)], url_tokens=("m=1",), cookie="c", authorization=None, utc=0.0)
    assert len(book) == 3
    for tokens in (("sig=1",), ("sig=2",), ("m=1",)):
        assert book.is_entitled("s", who(tokens, "c", None), 1.0).allowed
        assert not book.is_entitled("s", who(tokens, "d", None), 1.0).allowed
    assert not book.is_entitled("s", who(("sig=3",), "c", None), 1.0).allowed


def test_one_segment_renews_the_whole_session() -> None:
    book = Entitlements(window_s=300)
    book.manifest_fetched("s", [("sig=1",), ("sig=2",)], url_tokens=(), cookie="c", authorization=None, utc=0.0)
    assert not book.is_entitled("s", who(("sig=2",), "c", None), 301.0).allowed
    assert book.forget(301.0) == 1
    book.proven("s", who(("sig=1",), "c", None), 302.0)  # it passed to the origin, which said yes
    assert book.is_entitled("s", who(("sig=2",), "c", None), 600.0).allowed
    assert not book.is_entitled("s", who(("sig=2",), "d", None), 600.0).allowed
    book.revoked("s", who(("sig=2",), "c", None))
    assert not book.is_entitled("s", who(("sig=1",), "c", None), 600.0).allowed


def test_a_session_of_many_signatures_is_bounded() -> None:
    book = Entitlements(max_entries=10)
    book.manifest_fetched(
        "s", [(f"sig={n}",) for n in range(50)] + [()], url_tokens=(), cookie="c", authorization=None, utc=0.0
    )
    assert len(book) == 11
    assert [book.is_entitled("s", who((f"sig={n}",), "c", None), 1.0).allowed for n in (0, 39, 40, 49)] == [
        False,
        False,
        True,
        True,
    ]


def test_it_is_bounded_and_forgets() -> None:
    book = Entitlements(window_s=10, max_entries=3)
    for at in range(5):
        book.proven("s", str(at), float(at))
    assert len(book) == 3
    assert not book.is_entitled("s", "1", 4.0).allowed
    assert book.forget(13.5) == 2
    assert len(book) == 1


fields = st.text(max_size=8)


@given(st.lists(fields, max_size=3), fields, fields, st.lists(fields, max_size=3), fields, fields)
def test_credentials_differ_unless_everything_is_equal(
    t1: list[str], c1: str, a1: str, t2: list[str], c2: str, a2: str
) -> None:
    one, other = who(t1, c1, a1), who(t2, c2, a2)
    assert (one == other) == ((set(t1), c1, a1) == (set(t2), c2, a2))
    assert len(one) == 64
    assert who(reversed(t1), c1, a1) == one
