"""Every rule of the ledger answers in some case, in its place of the order, and gives its reason."""

from collections.abc import Callable

import pytest

from ecdn_proxy.core.swarm import ledger
from ecdn_proxy.core.swarm.decisions import LeaseDecision, StaleCopy
from ecdn_proxy.core.swarm.lease_case import LeaseCase
from ecdn_proxy.core.swarm.ledger import RULES, LeaseRule
from ecdn_proxy.sansio.machine import Impossible
from ecdn_proxy.wire.integrity import PIECE_BYTES
from tests.core.makers import KEY
from tests.core.swarm.book import FIRST_BYTE_ENDS, Book
from tests.core.world import STREAM

Case = Callable[[Book], LeaseDecision]


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the rules that answered, one for each question."""
    names: list[str] = []

    def noting(rule: LeaseRule) -> LeaseRule:
        def answer(case: LeaseCase, why: str) -> LeaseDecision | None:
            if (decision := rule.answer(case, why)) is not None:
                names.append(rule.answer.__name__)
            return decision

        return LeaseRule(answer, rule.why)

    monkeypatch.setattr(ledger, "RULES", tuple(noting(rule) for rule in RULES))
    return names


def not_found(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    book.finished("dev0", "private", 0.1, status=404, why="the origin answered 404")
    return book.decide("dev1", 0.2)


def fetcher_beside_a_holder(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    book.ledger.segment_held(KEY, STREAM, "dev3")
    return book.decide("dev0", 0.6, "parent slow")


def fetcher_without_neighbour(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    return book.decide("dev0", 0.6, "parent slow")


def fetcher_that_lost_its_way(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    return book.decide("dev0", 0.9, "parent lost")


def stale_copy(book: Book) -> LeaseDecision:
    book.ledger.segment_held(KEY, STREAM, "dev3")
    return book.decide("dev0", 9.0, stale=StaleCopy("g1", 5.0, 0.1))


def origin_that_has_not_begun(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    book.ask("dev1", 0.0)
    return book.decide("dev1", 0.8, "parent slow", avoid=("dev0",))


def origin_that_has_just_begun(book: Book) -> LeaseDecision:
    origin_that_has_not_begun(book)
    book.progress("dev0", 20 * PIECE_BYTES, 0.9)
    return book.decide("dev1", 0.9, "parent slow", avoid=("dev0",))


def gap_just_mended(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    book.progress("dev0", 1, 0.1)
    book.ask("dev1", 0.1)
    book.ask("dev2", 0.1, avoid=("dev0",))
    book.ask("dev3", 0.1, avoid=("dev0", "dev1"))
    book.progress("dev0", 30 * PIECE_BYTES, 0.9)
    book.ask("dev2", 1.0, "parent slow", avoid=("dev1",))
    return book.decide("dev3", 1.0, "parent slow", avoid=("dev2",))


def only_slow_ones_have_it(book: Book) -> LeaseDecision:
    book.ledger.segment_held(KEY, STREAM, "dev0")
    for device, avoid in (("dev1", ()), ("dev2", ("dev1",)), ("dev3", ("dev0",))):
        book.ask(device, 0.0, avoid=avoid)
    book.ask("dev1", 1.0, "parent slow", avoid=("dev0",))
    return book.decide("dev2", 1.0, "parent slow", avoid=("dev0",))


def somebody_fetches(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    return book.decide("dev1", 0.0)


def narrow_line(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    book.ask("dev1", 0.0)
    book.progress("dev0", 10 * PIECE_BYTES, 0.5)
    book.progress("dev0", 14 * PIECE_BYTES, 0.8)
    return book.decide("dev1", 0.8, "parent slow", avoid=("dev0",), have=8)


def first_of_all(book: Book) -> LeaseDecision:
    return book.decide("dev0", 0.0)


def two_silent_fetches(book: Book) -> LeaseDecision:
    book.ask("dev0", 0.0)
    book.ask("dev1", FIRST_BYTE_ENDS + 0.1)
    return book.decide("dev2", 2.9)


def two_fetchers_that_serve_nobody(book: Book) -> LeaseDecision:
    for device in ("dev0", "dev1"):
        book.membership.watching(device, (STREAM,), serves=False)
        book.ask(device, 0.0)
    return book.decide("dev2", 0.0)


CASES: dict[str, tuple[Case, str]] = {
    "let_viewers_go_alone": (not_found, "the origin answered 404"),
    "send_fetcher_to_neighbour": (fetcher_beside_a_holder, "dev3 has it"),
    "let_silent_fetch_go_on": (fetcher_without_neighbour, "its own fetch is silent, but no neighbour can give it"),
    "repeat_grant": (fetcher_that_lost_its_way, "it holds the lease already"),
    "grant_confirmation": (stale_copy, "it knows the newest copy of the office, which the origin must confirm"),
    "stay_until_origin_begins": (
        origin_that_has_not_begun,
        "the origin has not begun to answer, so nobody is to blame",
    ),
    "stay_while_first_bytes_travel": (origin_that_has_just_begun, "the origin has only just begun"),
    "stay_below_mended_gap": (gap_just_mended, "dev2 above it has just been given another parent"),
    "grant_past_slow_sources": (only_slow_ones_have_it, "all who have it or fetch it are slow"),
    "follow_best_parent": (somebody_fetches, "dev0 fetches it from the origin, and gives it to nobody else so far"),
    "follow_avoided_parent": (narrow_line, "dev0 fetches it from the origin, and gives it to 1 of at most 3 others"),
    "grant_free_lease": (first_of_all, "no neighbour can give it, and fewer than two are at the origin for it"),
    "wait_for_silent_fetch": (two_silent_fetches, "dev0 fetches it from the origin"),
    "let_viewers_go_alone_at_last": (two_fetchers_that_serve_nobody, "two are fetching it already and no neighbour"),
}
"""Rule → an office whose last question that rule answers, and how the sentence begins that people read."""


def test_no_rule_is_without_its_case() -> None:
    assert list(CASES) == [rule.answer.__name__ for rule in RULES]


@pytest.mark.parametrize("name", CASES)
def test_each_rule_answers_in_its_case_and_says_why(name: str, answered: list[str]) -> None:
    case, why = CASES[name]
    decision = case(Book())
    assert answered[-1] == name
    assert decision.why.startswith(why)


def test_a_table_without_an_answer_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RULES", ())
    with pytest.raises(Impossible):
        Book().decide("dev0", 0.0)
