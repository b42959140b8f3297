"""Which keys viewers' tokens are checked with."""

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from server_stub.keys import FixedKeys, KeyUnusable, keys_of_pem, keys_of_set, secret_key
from tests.server_stub.identity_provider import PRIVATE_KEYS, jwk, public_pem


def test_a_file_holds_several_keys() -> None:
    """Each key is for the one algorithm that its kind has here."""
    text = "".join(public_pem(algorithm) for algorithm in PRIVATE_KEYS)
    keys = keys_of_pem(f"our keys, old and new\n{text}")
    assert [key.algorithm for key in keys] == list(PRIVATE_KEYS)


def _pem(key: Any) -> str:
    return str(
        key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no PEM public key"),
        ("-----BEGIN PUBLIC KEY-----\nQUJD\n-----END PUBLIC KEY-----", "cannot be read"),
        (
            PRIVATE_KEYS["ES256"]
            .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            .decode(),
            "holds a private key, where a PUBLIC KEY is needed",
        ),
        (
            _pem(rsa.generate_private_key(65537, 1024)),  # noqa: S505 - that it is refused is the point
            "neither RSA of 2048 bits or more",
        ),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "nor P-256"),
    ],
)
def test_what_is_no_good_key_is_refused(text: str, problem: str) -> None:
    """The complaint says what the file holds, and nothing of it."""
    with pytest.raises(KeyUnusable, match=problem) as refused:
        keys_of_pem(text)
    assert "QUJD" not in str(refused.value)


def test_of_a_listed_set_the_signing_keys_are_taken() -> None:
    """Secrets, private keys, keys to encrypt with and unknown kinds are left out."""
    good = [jwk(algorithm, algorithm.lower()) for algorithm in PRIVATE_KEYS]
    private = json.loads(RSAAlgorithm.to_jwk(PRIVATE_KEYS["RS256"]))
    bad: list[Any] = [
        {"kty": "oct", "k": "c2VjcmV0", "kid": "secret"},
        private | {"kid": "private"},
        jwk("RS256", "encrypts") | {"use": "enc"},
        jwk("RS256", "another") | {"alg": "RS512"},
        jwk("RS256", "x") | {"kid": 5},
        jwk("RS256", "broken") | {"n": "!"},
        {"kty": ["RSA"]},
        {"kty": "RSA"},
        None,
    ]
    keys = keys_of_set(json.dumps({"keys": bad + good}))
    assert [(key.algorithm, key.key_id) for key in keys] == [
        (algorithm, algorithm.lower()) for algorithm in PRIVATE_KEYS
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"keys": {}}',
        '{"keys": []}',
        '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}',
        "[" * 100_000,
        json.dumps({"keys": [jwk("ES256", "a")] * 33}),
        b"\xff",
    ],
)
def test_what_is_no_set_is_refused(text: str | bytes) -> None:
    """A list without a usable key is no list: nobody could sign in."""
    with pytest.raises(KeyUnusable):
        keys_of_set(text)


@settings(max_examples=60, deadline=None)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=12) | st.sampled_from(("RSA", "EC", "OKP")),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(("keys", "kty", "n", "e", "x", "y", "crv", "kid", "alg", "use")),
                inner,
            )
        ),
    )
)
def test_any_answer_is_a_set_or_refused(value: Any) -> None:
    """Whatever stands at the URL, there is one kind of complaint."""
    for document in (value, {"keys": [value]}):
        with contextlib.suppress(KeyUnusable):
            assert keys_of_set(json.dumps(document))


async def test_a_key_is_for_its_own_algorithm() -> None:
    """No key is handed out for a token that names another algorithm, or another key."""
    keys = FixedKeys([*keys_of_pem(public_pem("RS256")), secret_key("s" * 32)])
    assert [key.algorithm for key in await keys.fitting("HS256", "any")] == ["HS256"]
    assert [key.algorithm for key in await keys.fitting("RS256", None)] == ["RS256"]
    assert await keys.fitting("none", None) == []
    named = FixedKeys(keys_of_set(json.dumps({"keys": [jwk("ES256", "a"), jwk("ES256", "b")]})))
    assert [key.key_id for key in await named.fitting("ES256", "b")] == ["b"]
    assert len(await named.fitting("ES256", None)) == 2


def test_keys_do_not_show() -> None:
    """A key in a log would be one too many."""
    assert "sssss" not in repr(secret_key("s" * 32))
