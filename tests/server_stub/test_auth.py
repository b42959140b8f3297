"""Who is who: viewers' tokens and devices' secrets."""

import time

import jwt
import pytest

from server_stub.auth import (
    TokenInvalid,
    bearer,
    hash_device_token,
    make_device_token,
    make_token,
    may_connect,
    read_token,
)
from tests.server_stub.peers import SECRET


def test_a_token_speaks_for_its_user() -> None:
    """What was signed comes back: the user, and until when."""
    identity = read_token(SECRET, make_token(SECRET, "\u00fcser", 60))
    assert identity.user_id == "\u00fcser"
    assert 55 < identity.expires_at_s - time.time() <= 60


def test_an_issuer_of_ones_own_may_add_claims() -> None:
    """A token of another program with the same secret needs `sub` and `exp`, and may say more."""
    claims = {"sub": "user", "exp": time.time() + 60, "name": "Somebody", "iss": "home"}
    assert read_token(SECRET, jwt.encode(claims, SECRET, algorithm="HS256")).user_id == "user"


@pytest.mark.parametrize("token", ["", "a.b.c", "\ud800", "\u00fc.\u00fc.\u00fc", "e30.e30."])
def test_what_is_no_token_is_invalid(token: str) -> None:
    """Any text at all is either a token or invalid, and is not quoted."""
    with pytest.raises(TokenInvalid) as invalid:
        read_token(SECRET, token)
    assert not token or token not in str(invalid.value)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("BEARER abc", "abc"),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("abc", None),
        ("", None),
        (None, None),
    ],
)
def test_a_bearer_token_is_found(header: str | None, token: str | None) -> None:
    """The scheme's case and surrounding blanks do not matter; another scheme does."""
    assert bearer(header) == token


def test_a_device_token_opens_its_own_device() -> None:
    """Tokens differ, and only the right one fits; a device without one lets anybody in."""
    token, another = make_device_token(), make_device_token()
    assert token != another
    token_hash = hash_device_token(token)
    assert token not in token_hash
    assert may_connect(token_hash, token)
    for wrong in (None, "", another, token_hash, token + " ", "\udcff"):
        assert not may_connect(token_hash, wrong)
    assert may_connect(None, None)
    assert may_connect(None, another)
