"""Who somebody is: viewers by a signed token, devices by a secret that only its hash is kept of."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jwt

from server_stub.keys import ALGORITHMS, HS256, Key, KeysAway, KeySource

_LONGEST_USER_ID = 128
_LONGEST_TIMER_S = 86_400.0 * 365
_CLOCKS_APART_S = 5.0
_TOKEN = re.compile(r"[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)


class TokenInvalid(Exception):
    """A viewer's token that is expired, forged or not one of ours."""


class TokenUnchecked(TokenInvalid):
    """A viewer's token that may be good; what would tell is away."""


@dataclass(frozen=True)
class Identity:
    """Who a viewer's token speaks for, and until when (Unix time)."""

    user_id: str
    expires_at_s: float

    @property
    def left_s(self) -> float:
        """How long it lasts from now, a year at most: not every timer can wait for the year 9999."""
        return min(self.expires_at_s - time.time(), _LONGEST_TIMER_S)


class TokenReader:
    """Checks viewers' tokens (RFC 7519) with the keys of `keys`.

    With an issuer or an audience, tokens have to name it; one that names an audience is for others
    where none is ours.
    """

    def __init__(
        self, keys: KeySource, *, issuer: str | None = None, audience: str | None = None
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._audience = audience
        required = (
            {"exp", "sub"} | ({"iss"} if issuer else set()) | ({"aud"} if audience else set())
        )
        self._required = sorted(required)

    async def read(self, token: str) -> Identity:
        """Check a token's signature, its dates and whom it is by, for and about.

        Raises:
            TokenInvalid: it is not good; the text says in what way and quotes nothing of it.
            TokenUnchecked: whether it is good cannot be told now.
        """
        algorithm, key_id = _header_of(token)
        try:
            keys = await self._keys.fitting(algorithm, key_id)
        except KeysAway as error:
            raise TokenUnchecked("KeysAway") from error
        for key in keys:
            try:
                claims = self._claims(token, key)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.PyJWTError, ArithmeticError, ValueError) as error:
                raise TokenInvalid(type(error).__name__) from error
            return _identity(claims)
        raise TokenInvalid("no key fits")

    def _claims(self, token: str, key: Key) -> dict[str, Any]:
        return jwt.decode(
            token,
            key.material,
            algorithms=[key.algorithm],
            issuer=self._issuer,
            audience=self._audience,
            # For who signs with a clock that is ahead of ours; `exp` is exact all the same.
            leeway=_CLOCKS_APART_S,
            options={"require": self._required},
        )


def make_token(
    secret: str,
    user_id: str,
    valid_for_s: float,
    *,
    issuer: str | None = None,
    audience: str | None = None,
) -> str:
    """Sign a token for `user_id`."""
    now_s = time.time()
    claims = {"sub": user_id, "iat": int(now_s), "exp": int(now_s + valid_for_s)}
    named = {"iss": issuer, "aud": audience}
    claims |= {name: value for name, value in named.items() if value is not None}
    return jwt.encode(claims, secret, algorithm=HS256)


def is_user_id(text: str) -> bool:
    """Tell whether `text` can name a user: what a database keeps and a log shows as it is."""
    return 0 < len(text) <= _LONGEST_USER_ID and text.isprintable()


def bearer(header: str | None) -> str | None:
    """Take the token out of an `Authorization: Bearer …` header (RFC 6750)."""
    scheme, _, token = (header or "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def make_device_token() -> str:
    """Draw a device's token: 256 random bits."""
    return secrets.token_urlsafe(32)


def hash_device_token(token: str) -> str:
    """Hash a device's token for keeping. It is random, so a plain digest cannot be guessed."""
    # A header may carry bytes that are no UTF-8; aiohttp hands them on as surrogates.
    return hashlib.sha256(token.encode(errors="surrogateescape")).hexdigest()


def is_one_of(token_hash: str, kept: Iterable[str]) -> bool:
    """Tell whether a hash is among those that are kept, in a time that does not say how nearly."""
    return any(hmac.compare_digest(token_hash, one) for one in kept)


def _header_of(token: str) -> tuple[str, str | None]:
    """Read which algorithm and key a token says that it was signed with; nothing is checked yet."""
    if not _TOKEN.fullmatch(token):  # the library would read past what is no base64
        raise TokenInvalid("not of a token's shape")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, UnicodeError, ValueError) as error:
        raise TokenInvalid(type(error).__name__) from error
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise TokenInvalid("alg is none of ours")
    return algorithm, header.get("kid")


def _identity(claims: dict[str, Any]) -> Identity:
    try:
        user_id, expires_at_s = claims["sub"], float(claims["exp"])
    except OverflowError as error:
        raise TokenInvalid("exp is no date") from error
    if not is_user_id(user_id):
        raise TokenInvalid("sub is no user id")
    if expires_at_s <= time.time():
        raise TokenInvalid("ExpiredSignatureError")
    return Identity(user_id, expires_at_s)
