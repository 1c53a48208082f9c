"""Settings as IT reads them."""

import msgspec
import pytest

from ecdn_proxy.core.settings import Settings, describe


def test_every_setting_is_described_with_its_default() -> None:
    rows = describe()
    assert [name for name, _, _ in rows] == [field.name for field in msgspec.structs.fields(Settings)]
    assert all(text.endswith((".", "keeps none.")) for _, _, text in rows), [row for row in rows if not row[2]]
    plain = Settings()
    assert all(default == getattr(plain, name) for name, default, _ in rows)


def test_structures_without_defaults_or_words_are_described_too() -> None:
    class Bare(Settings, frozen=True, forbid_unknown_fields=True, kw_only=True):
        needed: int

    assert ("needed", None, "") in describe(Bare)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cache_memory_mb": -1},
        {"cache_disk_mb": 2_000_000},
        {"upload_mbps_max": 0},
        {"upload_mbps_max": 1e9},
        {"share_after_watching_s": -1},
        {"entitlement_window_s": 1},
        {"link": "carrier pigeon"},
        {"log_level": "loud"},
        {"lissen": "127.0.0.1:1"},
    ],
)
def test_what_cannot_be_meant_is_not_taken(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Settings)
