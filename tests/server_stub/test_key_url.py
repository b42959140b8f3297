"""Keys that an identity provider lists at a URL."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from server_stub.auth import TokenInvalid, TokenReader, TokenUnchecked
from server_stub.key_url import keys_at
from tests.server_stub.identity_provider import identity_provider, jwk, signed
from tests.support import until


async def test_a_listed_key_checks_tokens() -> None:
    """The keys are fetched once, at the start, and serve from then on."""
    async with (
        identity_provider(jwk("RS256", "a"), jwk("ES256", "b")) as provider,
        keys_at(provider.url) as keys,
    ):
        reader = TokenReader(keys)
        for _ in range(3):
            assert (await reader.read(signed("RS256", key_id="a"))).user_id == "user"
            assert (await reader.read(signed("ES256", key_id="b"))).user_id == "user"
            assert (await reader.read(signed("ES256"))).user_id == "user"
        assert provider.asked == 1


async def test_a_new_key_is_fetched_when_it_is_met() -> None:
    """A token of a key that is not known yet makes the list be read again, and is then good."""
    async with (
        identity_provider(jwk("RS256", "old")) as provider,
        keys_at(provider.url, pause_s=0) as keys,
    ):
        provider.keys = [jwk("ES256", "new")]
        reader = TokenReader(keys)
        assert await reader.read(signed("ES256", key_id="new"))
        assert provider.asked == 2
        with pytest.raises(TokenInvalid):  # no longer listed
            await reader.read(signed("RS256", key_id="old"))


async def test_unknown_keys_do_not_storm_the_provider() -> None:
    """However many tokens name keys that do not exist, the list is read once in a pause."""
    async with (
        identity_provider(jwk("RS256", "a")) as provider,
        keys_at(provider.url, pause_s=3600) as keys,
    ):
        reader = TokenReader(keys)
        tokens = [signed("ES256", key_id=f"k{number}") for number in range(40)]
        refused = await asyncio.gather(
            *(reader.read(token) for token in tokens), return_exceptions=True
        )
        assert {type(error) for error in refused} == {TokenInvalid}
        assert provider.asked == 1


async def test_who_waits_is_served_by_one_question() -> None:
    """Tokens of one new key that come together cost one look at the list."""
    async with (
        identity_provider(jwk("RS256", "a")) as provider,
        keys_at(provider.url, pause_s=3600) as keys,
    ):
        keys._asked_at_s -= 3600  # the pause after the start is over
        provider.keys.append(jwk("ES256", "new"))
        provider.may_answer.clear()
        reader = TokenReader(keys)
        reading = [
            asyncio.create_task(reader.read(signed("ES256", key_id="new"))) for _ in range(10)
        ]
        await until(lambda: provider.asked == 2)
        provider.may_answer.set()
        assert {(await one).user_id for one in reading} == {"user"}
        assert provider.asked == 2


async def test_old_keys_work_while_the_url_is_away() -> None:
    """What is known goes on; a token that might be good is not called bad."""
    async with (
        identity_provider(jwk("RS256", "a")) as provider,
        keys_at(provider.url, pause_s=0) as keys,
    ):
        provider.answer = web.Response(status=503)
        reader = TokenReader(keys)
        with pytest.raises(TokenUnchecked):
            await reader.read(signed("ES256", key_id="new"))
        assert await reader.read(signed("RS256", key_id="a"))
        with pytest.raises(TokenInvalid) as refused:
            await reader.read("nonsense")
        assert not isinstance(refused.value, TokenUnchecked)


async def test_it_heals_by_itself() -> None:
    """A relay that starts while the URL is away has the keys soon after that is back."""
    async with identity_provider(jwk("RS256", "a")) as provider:
        provider.answer = web.Response(status=502)
        async with keys_at(provider.url, pause_s=0.05) as keys:
            reader = TokenReader(keys)
            with pytest.raises(TokenUnchecked):
                await reader.read(signed("RS256", key_id="a"))
            provider.answer = None
            asked = provider.asked
            await until(lambda: provider.asked > asked and keys._known("RS256", "a"))
            assert await reader.read(signed("RS256", key_id="a"))


async def test_a_key_that_is_taken_off_the_list_stops_working() -> None:
    """The list is read again now and then, without anybody asking."""
    async with (
        identity_provider(jwk("RS256", "a"), jwk("ES256", "b")) as provider,
        keys_at(provider.url, fresh_for_s=0.05, pause_s=0) as keys,
    ):
        reader = TokenReader(keys)
        assert await reader.read(signed("RS256", key_id="a"))
        provider.keys = [jwk("ES256", "b")]
        await until(lambda: not keys._known("RS256", "a"))
        with pytest.raises(TokenInvalid):
            await reader.read(signed("RS256", key_id="a"))


@pytest.mark.parametrize(
    "answer",
    [
        lambda: web.Response(text="<html>"),
        lambda: web.json_response({"keys": []}),
        lambda: web.Response(body=b" " * 300_000),
        lambda: web.Response(status=302, headers={"Location": "/elsewhere"}),
        lambda: web.Response(status=500),
    ],
    ids=["no JSON", "empty", "too large", "elsewhere", "broken"],
)
async def test_a_bad_answer_changes_nothing(answer: Callable[[], web.Response]) -> None:
    """Whatever the URL gives instead of keys, those that are known stay."""
    async with (
        identity_provider(jwk("RS256", "a")) as provider,
        keys_at(provider.url, pause_s=0) as keys,
    ):
        provider.answer = answer()
        await keys.refresh()
        assert provider.asked == 2
        assert await TokenReader(keys).read(signed("RS256", key_id="a"))
