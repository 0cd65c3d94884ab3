from __future__ import annotations

import json
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from postbacks.outbound.masking import KEPT, MASK, Mask, is_public, option_secrets

TOKEN = "EAAB/secret+token=="
PRIVATE_KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQ/IBADAN+Bg\n-----END PRIVATE KEY-----\n"


class Options(BaseModel):
    url: str = "https://hook.example/in?api_key=url%2Fsecret&click={click_id}&game=my-game-one"
    headers: dict[str, str] = {"X-Auth": "Bearer header-secret", "Content-Type": "application/json"}
    body: str = '{"token": "body-secret", "event": "{event_name}"}'


class ServiceAccount(BaseModel):
    client_email: str = "sender@project.example"
    private_key: str = PRIVATE_KEY
    private_key_id: str = "key-0001"


class Credentials(BaseModel):
    dataset_id: str = "998877665544332"
    access_token: str = TOKEN
    longer_token: str = f"{TOKEN}-and-more"
    short: str = "abc"
    absent: str | None = None
    service_account: ServiceAccount = ServiceAccount()


mask = Mask(Credentials())


@pytest.mark.parametrize(
    "text",
    [
        TOKEN,
        f"Bearer {TOKEN}, again {TOKEN}",
        json.dumps({"error": {"message": f"Invalid token {TOKEN}"}}),
        json.dumps({"message": TOKEN}).replace("/", "\\/"),
        f"https://graph.example/v1?access_token={quote(TOKEN, safe='')}",
        urlencode({"access_token": TOKEN}),
        f"{TOKEN}-and-more",
    ],
)
def test_a_secret_is_masked_in_whichever_form_it_is_written(text: str) -> None:
    masked = mask(text)

    assert masked is not None
    assert "secret" not in masked
    assert "-and-more" not in masked
    assert MASK in masked


@pytest.mark.parametrize("text", [PRIVATE_KEY, json.dumps({"key": PRIVATE_KEY}), urlencode({"key": PRIVATE_KEY})])
def test_a_key_of_several_lines_is_masked_as_well(text: str) -> None:
    assert "MIIEvQ" not in str(mask(text))


def test_what_an_operator_wrote_into_a_webhook_is_masked_under_a_secret_name_alone() -> None:
    of_webhook = Mask(None, Options())
    url = of_webhook("https://hook.example/in?api_key=url%2Fsecret&click=IwAR&game=my-game-one")

    assert url == f"https://hook.example/in?api_key={MASK}&click=IwAR&game=my-game-one"
    assert of_webhook("no such key: url/secret") == f"no such key: {MASK}"
    assert of_webhook("got Bearer header-secret, or header-secret") == f"got {MASK}, or {MASK}"
    assert of_webhook('{"token": "body-secret", "event": "install"}') == f'{{"token": "{MASK}", "event": "install"}}'
    assert of_webhook("application/json") == "application/json"


@pytest.mark.parametrize(
    "url",
    [
        "https://hook.example/in?token=first-secret",
        "https://hook.example:8443/in?token=first-secret&x=1",
        "https://hook.example/in?x=1&token=first-secret",
        "https://hook.example/in;token=first-secret/more?x=1",
    ],
)
def test_a_secret_is_found_wherever_it_stands_in_a_url(url: str) -> None:
    assert "first-secret" not in str(Mask(None, Options(url=url))(url))


def test_without_webhook_options_there_is_nothing_more_to_hide() -> None:
    assert option_secrets({}) == option_secrets({"headers": None, "url": None, "body": None}) == []


def test_the_rest_of_the_text_stays() -> None:
    text = f'{{"dataset": "998877665544332", "token": "{TOKEN}", "by": "sender@project.example"}}'

    assert mask(text) == text.replace(TOKEN, MASK)


def test_a_proof_made_from_the_secret_is_masked_although_nobody_knows_its_value() -> None:
    proof = "0123456789abcdef" * 4

    assert mask(f"https://graph.example/?appsecret_proof={proof}&x=1") == (
        f"https://graph.example/?appsecret_proof={MASK}&x=1"
    )
    assert mask(f'{{"appsecret_proof": "{proof}"}}') == f'{{"appsecret_proof": "{MASK}"}}'


def test_an_address_is_masked_where_it_is_told() -> None:
    assert mask("client 203.0.113.7 refused", ["203.0.113.7", None, ""]) == f"client {MASK} refused"


def test_a_text_of_a_few_characters_is_no_secret_that_can_be_masked() -> None:
    """Otherwise every "abc" in an answer would turn into asterisks."""
    assert mask("abc") == "abc"


def test_nothing_stays_nothing() -> None:
    assert mask(None) is None
    assert mask("") == ""


def test_without_credentials_there_is_still_a_bound() -> None:
    assert Mask(None)("plain") == "plain"
    assert len(str(Mask(None)("x" * 10_000))) < KEPT + 50


def test_a_long_text_is_cut_after_masking_and_says_how_long_it_was() -> None:
    text = "x" * (KEPT - 5) + TOKEN + "y" * 100
    masked = str(mask(text))

    assert TOKEN[:5] not in masked
    assert masked.endswith(f"… ({len(text) - len(TOKEN) + len(MASK)} characters)")
    assert mask("x" * KEPT) == "x" * KEPT


def test_nul_which_the_database_does_not_take_is_replaced() -> None:
    assert mask("a\x00b") == "a\ufffdb"


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("dataset_id", True),
        ("pixel_code", True),
        ("operating_account_id", True),
        ("client_id", True),
        ("client_email", True),
        ("access_token", False),
        ("access_token_secret", False),
        ("app_secret", False),
        ("private_key", False),
        ("refresh_token", False),
        ("client_secret", False),
        ("signing_secret", False),
        ("pixel_token", False),
        ("consumer_key", False),
    ],
)
def test_names_are_public_and_secrets_are_not(name: str, public: bool) -> None:
    assert is_public(name) is public


@given(st.text(min_size=6, max_size=60))
def test_no_secret_survives_in_plain_json_or_url_form(secret: str) -> None:
    class One(BaseModel):
        access_token: str

    one = Mask(One(access_token=secret))

    for form in (
        secret,
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        quote(secret, safe=""),
    ):
        assert one(f"<{form}>") == f"<{MASK}>"


@given(
    st.lists(st.sampled_from([TOKEN, PRIVATE_KEY, "AppSecret_Proof=" + "0f" * 32, "a\0b", "x" * (KEPT + 1), "{}", ""]))
)
def test_texts_are_masked_together_as_each_by_itself(texts: list[str]) -> None:
    assert list(mask.each(texts)) == [mask(text) for text in texts]
