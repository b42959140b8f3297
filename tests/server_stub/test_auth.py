"""Who is who: viewers' tokens and devices' secrets."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server_stub.auth import (
    TokenInvalid,
    TokenReader,
    bearer,
    hash_device_token,
    is_one_of,
    make_device_token,
    make_token,
)
from server_stub.keys import FixedKeys, keys_of_pem, secret_key
from tests.server_stub.identity_provider import PRIVATE_KEYS, public_pem, signed
from tests.server_stub.peers import SECRET

READER = TokenReader(FixedKeys([secret_key(SECRET)]))


def claimed(**changes: Any) -> str:
    """Sign a token by hand: PyJWT refuses to write some of what others may send."""
    return forged({"alg": "HS256"}, {"sub": "user", "exp": time.time() + 60} | changes)


def forged(header: Any, claims: Any, secret: str = SECRET) -> str:
    signed_part = f"{_encoded(header)}.{_encoded(claims)}"
    digest = hmac.new(secret.encode(), signed_part.encode(), hashlib.sha256).digest()
    return f"{signed_part}.{_encoded(digest)}"


def _encoded(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


async def test_a_token_speaks_for_its_user() -> None:
    """What was signed comes back: the user, and until when."""
    identity = await READER.read(make_token(SECRET, "\u00fcser", 60))
    assert identity.user_id == "\u00fcser"
    assert 55 < identity.expires_at_s - time.time() <= 60


async def test_an_issuer_of_ones_own_may_add_claims() -> None:
    """A token of another program with the same secret needs `sub` and `exp`, and may say more."""
    assert (await READER.read(claimed(name="Somebody", iss="home"))).user_id == "user"


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
async def test_a_public_key_checks_its_own_kind(algorithm: str) -> None:
    """Tokens signed by the private half are good; those of another key of that kind are not."""
    reader = TokenReader(FixedKeys(keys_of_pem(public_pem(algorithm))))
    assert (await reader.read(signed(algorithm))).user_id == "user"
    header, claims, signature = signed(algorithm).split(".")
    middle = len(signature) // 2
    swapped = "A" if signature[middle] != "A" else "B"
    for other in set(PRIVATE_KEYS) - {algorithm}:
        with pytest.raises(TokenInvalid):
            await reader.read(signed(other))
    with pytest.raises(TokenInvalid, match="no key fits"):
        await reader.read(
            f"{header}.{claims}.{signature[:middle]}{swapped}{signature[middle + 1 :]}"
        )


@pytest.mark.parametrize("algorithm", PRIVATE_KEYS)
async def test_a_public_key_is_no_secret(algorithm: str) -> None:
    """A token signed by HMAC with the public key's text, which anybody can have, is refused."""
    pem = public_pem(algorithm)
    claims = {"sub": "user", "exp": time.time() + 60}
    reader = TokenReader(FixedKeys(keys_of_pem(pem)))
    for header in ("HS256", algorithm):
        with pytest.raises(TokenInvalid):
            await reader.read(forged({"alg": header}, claims, pem))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {},
        {"alg": ["HS256"]},
        {"alg": None},
        {"alg": "HS512"},
        {"alg": "RS256"},
        {"alg": "HS256", "kid": 5},
        {"alg": "HS256", "crit": ["exp"]},
        b"[" * 5000,
        b"\xff",
    ],
    ids=str,
)
async def test_a_header_that_is_not_ours_is_refused(header: Any) -> None:
    """Signed with the right secret or not: the algorithm is the key's, not the token's choice."""
    claims = {"sub": "user", "exp": time.time() + 60}
    with pytest.raises(TokenInvalid):
        await READER.read(forged(header, claims))
    with pytest.raises(TokenInvalid):
        await READER.read(forged(header, claims).rpartition(".")[0] + ".")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": time.time() - 1},
        {"exp": None},
        {"exp": float("inf")},
        {"exp": "soon"},
        {"nbf": time.time() + 600},
        {"iat": time.time() + 600},
        {"sub": None},
        {"sub": ""},
        {"sub": 5},
        {"sub": "u" * 129},
        {"sub": "a\nb"},
        {"sub": "\0"},
        {"sub": "\ud800"},
        {"aud": "others"},
        {"aud": 5},
    ],
)
async def test_claims_that_are_not_good_are_refused(changes: dict[str, Any]) -> None:
    """Dates hold, the user has a name, and a token for others is not for us."""
    with pytest.raises(TokenInvalid):
        await READER.read(claimed(**changes))


async def test_a_clock_may_be_a_little_ahead() -> None:
    """A token that was made a moment from now is good, but none that has expired."""
    ahead_s = time.time() + 3
    assert await READER.read(claimed(iat=ahead_s, nbf=ahead_s))
    with pytest.raises(TokenInvalid, match="Expired"):
        await READER.read(claimed(exp=time.time() - 0.5))


async def test_an_end_that_no_clock_can_tell_is_refused() -> None:
    """Whoever signed it: a number too large for a date is no fault of ours."""
    token = jwt.encode({"sub": "user", "exp": 10**400}, SECRET, algorithm="HS256")
    with pytest.raises(TokenInvalid):
        await READER.read(token)


@pytest.mark.parametrize(
    ("claims", "is_good"),
    [
        ({"iss": "us", "aud": "relay"}, True),
        ({"iss": "us", "aud": ["others", "relay"]}, True),
        ({"iss": "them", "aud": "relay"}, False),
        ({"iss": "us", "aud": "others"}, False),
        ({"iss": "us"}, False),
        ({"aud": "relay"}, False),
        ({"iss": ["us"], "aud": "relay"}, False),
    ],
)
async def test_issuer_and_audience_are_held_to(claims: dict[str, Any], *, is_good: bool) -> None:
    """Where they are set, a token has to name both."""
    reader = TokenReader(FixedKeys([secret_key(SECRET)]), issuer="us", audience="relay")
    if is_good:
        assert await reader.read(claimed(**claims))
    else:
        with pytest.raises(TokenInvalid):
            await reader.read(claimed(**claims))
    assert await reader.read(make_token(SECRET, "user", 60, issuer="us", audience="relay"))


@pytest.mark.parametrize("token", ["", "a.b.c", "\ud800", "\u00fc.\u00fc.\u00fc", "e30.e30."])
async def test_what_is_no_token_is_invalid(token: str) -> None:
    """Any text at all is either a token or invalid, and is not quoted."""
    with pytest.raises(TokenInvalid) as invalid:
        await READER.read(token)
    assert not token or token not in str(invalid.value)


@pytest.mark.parametrize("more", ["=", "==", "\n", ".", " "])
async def test_a_token_has_one_spelling(more: str) -> None:
    """What a lenient reader of base64 would overlook is no part of a token."""
    token = make_token(SECRET, "user", 60)
    assert await READER.read(token)
    with pytest.raises(TokenInvalid):
        await READER.read(token + more)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(("alg", "kid", "typ", "sub", "exp", "aud", "iat")), inner)
    ),
)
GOOD_HEADER = st.just({"alg": "HS256"})


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_signed_nonsense_is_a_token_or_invalid(data: st.DataObject) -> None:
    """Even who has the secret can make nothing that is neither."""
    token = data.draw(
        st.builds(
            forged, GOOD_HEADER | JSON | st.binary(max_size=30), JSON | st.binary(max_size=30)
        )
        | st.builds(claimed, exp=JSON, sub=st.just("user") | JSON, aud=JSON)
        | st.text(max_size=60)
        | st.from_regex(r"[\w-]*\.[\w-]*\.[\w-]*", fullmatch=True)
    )
    try:
        identity = asyncio.run(READER.read(token))
    except TokenInvalid:
        return
    assert 0 < len(identity.user_id) <= 128
    assert identity.expires_at_s > time.time()


def test_what_pyjwt_writes_is_what_is_read_here() -> None:
    """The tokens forged here are those that others make."""
    assert jwt.decode(claimed(), SECRET, algorithms=["HS256"])["sub"] == "user"


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


def test_a_device_token_is_known_by_its_hash() -> None:
    """Tokens have 256 bits and differ; only the right one is found again."""
    token, another = make_device_token(), make_device_token()
    assert token != another
    assert len(base64.urlsafe_b64decode(token + "=")) == 32
    kept = [hash_device_token(make_device_token()), hash_device_token(token)]
    assert not any(token in one for one in kept)
    assert is_one_of(hash_device_token(token), kept)
    for wrong in ("", another, kept[1], token + " ", "\udcff"):
        assert not is_one_of(hash_device_token(wrong), kept)
    assert not is_one_of(hash_device_token(token), [])
