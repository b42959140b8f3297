"""Somebody who signs viewers' tokens elsewhere: key pairs of each kind, and a URL that lists them."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import jwt
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PRIVATE_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(65537, 2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}
_WRITERS: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}


def public_pem(algorithm: str) -> str:
    key = PRIVATE_KEYS[algorithm].public_key()
    return str(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def jwk(algorithm: str, key_id: str) -> dict[str, Any]:
    public = PRIVATE_KEYS[algorithm].public_key()
    return json.loads(_WRITERS[algorithm].to_jwk(public)) | {"kid": key_id, "use": "sig"}


def signed(algorithm: str, *, key_id: str | None = None, **claims: Any) -> str:
    """Sign a token for `user` that is good for a minute, or whose claims say otherwise."""
    everything = {"sub": "user", "exp": int(time.time()) + 60} | claims
    headers = None if key_id is None else {"kid": key_id}
    return jwt.encode(everything, PRIVATE_KEYS[algorithm], algorithm=algorithm, headers=headers)


class IdentityProvider:
    """Lists keys at `url`, counts how often it is asked, and can be made to fail."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.answer: web.StreamResponse | None = None
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.url = ""

    async def list_keys(self, _request: web.Request) -> web.StreamResponse:
        self.asked += 1
        await self.may_answer.wait()
        return self.answer or web.json_response({"keys": self.keys})


@asynccontextmanager
async def identity_provider(*keys: dict[str, Any]) -> AsyncIterator[IdentityProvider]:
    provider = IdentityProvider()
    provider.keys = list(keys)
    application = web.Application()
    application.router.add_get("/keys", provider.list_keys)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}/keys"
    try:
        yield provider
    finally:
        provider.may_answer.set()
        await runner.cleanup()
