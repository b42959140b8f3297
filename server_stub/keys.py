"""The keys that viewers' tokens are checked with. Pure.

A key belongs to one algorithm, and a token signed by any other is not its business: a public key
is never taken for the secret of an HMAC (RFC 8725, 3.1).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

HS256 = "HS256"
ALGORITHMS = frozenset({HS256, "RS256", "ES256", "EdDSA"})

PublicKey: TypeAlias = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
_FEWEST_RSA_BITS = 2048
_MOST_KEYS = 32
_READERS: dict[object, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}


class KeyUnusable(ValueError):
    """What cannot be a key here; the text says why and quotes nothing of it."""


class KeysAway(Exception):
    """The key of a token may exist, but cannot be had at the moment."""


@dataclass(frozen=True)
class Key:
    """One key, the one algorithm (RFC 7518, 8037) that it is for, and its id where it has one."""

    algorithm: str
    material: str | PublicKey = field(repr=False)
    key_id: str | None = None

    def may_fit(self, algorithm: str, key_id: str | None) -> bool:
        """Tell whether a token with this header may have been signed by this key."""
        is_named = self.key_id is None or key_id is None or self.key_id == key_id
        return is_named and self.algorithm == algorithm


class KeySource(Protocol):
    """Where keys come from."""

    async def fitting(self, algorithm: str, key_id: str | None) -> Sequence[Key]:
        """Give the keys to try on a token with this header.

        Raises:
            KeysAway: none fits, and the newest ones cannot be had.
        """


@dataclass(frozen=True)
class FixedKeys:
    """Keys from the settings."""

    keys: Sequence[Key]

    async def fitting(self, algorithm: str, key_id: str | None) -> Sequence[Key]:
        """See `KeySource`."""
        return [key for key in self.keys if key.may_fit(algorithm, key_id)]


def secret_key(secret: str) -> Key:
    """Make the one key that signs as well as checks."""
    return Key(HS256, secret)


def keys_of_pem(text: str) -> list[Key]:
    """Read public keys, one or several (RFC 7468).

    Raises:
        KeyUnusable: it holds none, or one of no use.
    """
    keys = []
    for block in _PEM.finditer(text):
        if block[1] != "PUBLIC KEY":
            raise KeyUnusable(f"holds a {block[1].lower()}, where a PUBLIC KEY is needed")
        try:
            material = load_pem_public_key(block[0].encode())
        except (ValueError, UnsupportedAlgorithm) as error:
            raise KeyUnusable("holds a public key that cannot be read") from error
        keys.append(_key(material))
    if not keys:
        raise KeyUnusable("holds no PEM public key")
    return keys


def keys_of_set(text: str | bytes) -> list[Key]:
    """Read the usable signing keys of a JWK set (RFC 7517); the others are left out.

    Raises:
        KeyUnusable: it is no such set, or holds none of use.
    """
    try:
        listed = json.loads(text)["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise KeyUnusable("no JWK set") from error
    if not isinstance(listed, list) or len(listed) > _MOST_KEYS:
        raise KeyUnusable(f"no JWK set of up to {_MOST_KEYS} keys")
    keys = [key for one in listed if (key := _listed_key(one)) is not None]
    if not keys:
        raise KeyUnusable("no RS256, ES256 or EdDSA key in the JWK set")
    return keys


def _listed_key(listed: Any) -> Key | None:
    if not isinstance(listed, dict) or listed.get("use", "sig") != "sig" or "d" in listed:
        return None
    key_id = listed.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        return None
    try:
        key = _key(_READERS[listed.get("kty")].from_jwk(listed), key_id)
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError):
        return None
    return key if listed.get("alg", key.algorithm) == key.algorithm else None


def _key(material: Any, key_id: str | None = None) -> Key:
    match material:
        case RSAPublicKey(key_size=bits) if bits >= _FEWEST_RSA_BITS:
            return Key("RS256", material, key_id)
        case EllipticCurvePublicKey(curve=SECP256R1()):
            return Key("ES256", material, key_id)
        case Ed25519PublicKey():
            return Key("EdDSA", material, key_id)
    raise KeyUnusable(
        f"holds a public key that is neither RSA of {_FEWEST_RSA_BITS} bits or more (RS256), "
        "nor P-256 (ES256), nor Ed25519 (EdDSA)"
    )
