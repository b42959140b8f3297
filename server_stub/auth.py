"""Who somebody is: viewers by a signed token, devices by a secret that only its hash is kept of."""

import hashlib
import hmac
import secrets
import time
from dataclasses import dataclass

import jwt

_ALGORITHM = "HS256"
_LONGEST_USER_ID = 128


class TokenInvalid(Exception):
    """A viewer's token that is expired, forged or not one of ours."""


@dataclass(frozen=True)
class Identity:
    """Who a viewer's token speaks for, and until when (Unix time)."""

    user_id: str
    expires_at_s: float


def make_token(secret: str, user_id: str, valid_for_s: float) -> str:
    """Sign a token for `user_id`."""
    now_s = time.time()
    claims = {"sub": user_id, "iat": int(now_s), "exp": int(now_s + valid_for_s)}
    return jwt.encode(claims, secret, algorithm=_ALGORITHM)


def read_token(secret: str, token: str) -> Identity:
    """Check a viewer's token (RFC 7519): signature, `exp` and `sub`.

    Raises:
        TokenInvalid: it is not good; the text says in what way and quotes nothing of it.
    """
    try:
        claims = jwt.decode(
            token, secret, algorithms=[_ALGORITHM], options={"require": ["exp", "sub"]}
        )
    except (jwt.PyJWTError, UnicodeError, ValueError) as error:
        raise TokenInvalid(type(error).__name__) from error
    user_id = claims["sub"]
    if not isinstance(user_id, str) or not 0 < len(user_id) <= _LONGEST_USER_ID:
        raise TokenInvalid("sub is no user id")
    return Identity(user_id, float(claims["exp"]))


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


def may_connect(token_hash: str | None, token: str | None) -> bool:
    """Tell whether a device shows the right token, or needs none."""
    if token_hash is None:
        return True
    return token is not None and hmac.compare_digest(hash_device_token(token), token_hash)
