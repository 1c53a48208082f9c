"""Content codings within bounds."""

import gzip
import zlib

import brotli  # type: ignore[import-untyped]
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from ecdn_proxy.front.http.content_encoding import Undecodable, decode

TEXT = b"#EXTM3U\n" * 1000


def raw_deflate(body: bytes) -> bytes:
    machine = zlib.compressobj(wbits=-15)
    return machine.compress(body) + machine.flush()


CODERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": brotli.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@given(st.binary(max_size=2000), st.sampled_from(sorted(CODERS)))
def test_law_decoding_undoes_coding(body: bytes, coding: str) -> None:
    assert decode(CODERS[coding](body), coding.upper()) == body


def test_identity_two_codings_and_raw_deflate() -> None:
    assert decode(TEXT, "") == decode(TEXT, "identity") == TEXT
    assert decode(brotli.compress(gzip.compress(TEXT)), "gzip, br") == TEXT
    assert decode(raw_deflate(TEXT), "deflate") == TEXT


@pytest.mark.parametrize("coding", sorted(CODERS))
def test_bombs_end_at_the_bound(coding: str) -> None:
    with pytest.raises(Undecodable, match="more than"):
        decode(CODERS[coding](bytes(50_000_000)), coding, 100_000)


@pytest.mark.parametrize("coding", sorted(CODERS))
def test_damage(coding: str) -> None:
    for body in (b"\x00\x01nonsense", b""):
        with pytest.raises(Undecodable):
            decode(body, coding)
    if coding != "zstd":
        with pytest.raises(Undecodable):
            decode(CODERS[coding](TEXT)[:-9], coding)


def test_unknown_and_piled() -> None:
    for coding in ("compress", "gzip,gzip,gzip", "x" * 500):
        with pytest.raises(Undecodable):
            decode(b"", coding)
