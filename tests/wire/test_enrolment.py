"""The one name in a device's certificate."""

from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.wire.enrolment import device_uri, parse_device_uri

NAMES = st.text("0123456789abcdef-", min_size=1, max_size=36)


@given(NAMES, NAMES)
def test_a_uri_says_tenant_and_device(tenant: str, device: str) -> None:
    assert parse_device_uri(device_uri(tenant, device)) == (tenant, device)


@given(st.text(max_size=60))
def test_any_other_text_is_no_device(text: str) -> None:
    parsed = parse_device_uri(text)
    assert parsed is None or device_uri(*parsed) == text
