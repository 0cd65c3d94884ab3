"""What of a landing page leaves."""

from __future__ import annotations

import pytest

from postbacks.platforms.sharing import landing_page


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://game.example/lp?email=a%40b.example&fbclid=x#top", "https://game.example/lp"),
        ("HTTPS://user:secret@Game.example:8443/lp", "https://game.example:8443/lp"),
        ("http://[2001:db8::1]:80/lp", "http://[2001:db8::1]:80/lp"),
        ("https://spiele.example/größe/🎮", "https://spiele.example/gr%C3%B6%C3%9Fe/%F0%9F%8E%AE"),
        ("https://game.example/a%20b/c", "https://game.example/a%20b/c"),
        ('https://game.example/a"b<c>', "https://game.example/a%22b%3Cc%3E"),
        ("https://bücher.example/lp", "https://xn--bcher-kva.example/lp"),
        ("https://game.example/u/anna@mail.example/lp", "https://game.example/u/"),
        ("https://game.example/anna%40mail.example", "https://game.example/"),
        ("https://game.example/@studio/lp", "https://game.example/@studio/lp"),
    ],
)
def test_the_page_alone_as_a_browser_would_send_it(url: str, page: str) -> None:
    assert landing_page(url) == page
    assert landing_page(page) == page


@pytest.mark.parametrize(
    "url",
    [
        *(None, "", "game.example/lp", "//game.example", "ftp://game.example/", "android-app://x", "https://"),
        *("https://a b/", "https://game.example/a\x00b", "http://[::1", "https://game.example:99999/", "https://ä..b/"),
    ],
)
def test_what_is_no_address_of_a_page_is_left_out(url: str | None) -> None:
    assert landing_page(url) is None
