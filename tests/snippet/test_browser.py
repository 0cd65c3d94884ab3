"""The snippet in Chromium, on a landing page of another origin than the service."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from postbacks.snippet.serving import integrity, versioned_path
from tests.snippet.conftest import KEY, Site, eventually

pytestmark = pytest.mark.browser

STUB = (
    "<script>window.postbacks=window.postbacks||function(){(postbacks.q=postbacks.q||[]).push(arguments)};%s</script>"
)


def visitor(browser: Chrome) -> str:
    """Asks the snippet for the visitor ID. It answers when nothing is under way, so this is a fence, too."""
    live(browser)
    result: str = browser.execute_async_script("postbacks('visitor', arguments[0])")
    return result


def live(browser: Chrome) -> None:
    eventually(lambda: browser.execute_script("return !!(window.postbacks && postbacks.live)"), "the snippet to load")


def stored_cookie(browser: Chrome) -> dict[str, Any] | None:
    return browser.get_cookie("_pb_vid")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("?fbclid=IwAR0_aB-c.D~9", {"fbclid": "IwAR0_aB-c.D~9"}),
        ("?FBCLID=MiXed&GcLiD=Cj0K", {"fbclid": "MiXed", "gclid": "Cj0K"}),
        ("?gbraid=0A&wbraid=CL&ttclid=E.C.P&rdt_cid=5&twclid=2-x", {
            "gbraid": "0A", "wbraid": "CL", "ttclid": "E.C.P", "rdt_cid": "5", "twclid": "2-x",
        }),
        ("?fbclid=a%2Bb%3D%253D", {"fbclid": "a+b=%3D"}),
        ("?fbclid=a+b==&gclid=", {"fbclid": "a+b=="}),
        ("?x=1&ttclid=%E0%A4%A&fbclid=b%2f#fbclid=no", {"fbclid": "b/"}),
        ("?gclid=1&wbraid=1", {"gclid": "1", "wbraid": "1"}),
    ],
)  # fmt: skip
def test_click_ids_are_read_whatever_their_case_and_decoded_once(
    browser: Chrome, site: Site, query: str, expected: dict[str, str]
) -> None:
    browser.get(site.page(query))

    [click] = site.received(1)
    assert {name: value for name, value in click["click_ids"].items() if name in expected} == expected
    assert set(click["click_ids"]) - set(expected) <= {"ttclid"}, "only the malformed one may be kept as it is"


def test_a_click_is_registered_with_what_the_contract_names_and_no_more(browser: Chrome, site: Site) -> None:
    page = site.page("?fbclid=abc&email=ada%40example.org&utm_source=2S+social&utm_campaign=a%2Bb#secret")
    browser.execute_script("location.href = arguments[0]", page)

    [click] = site.received(1)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22,128}", click.pop("visitor_id"))
    assert click == {
        "key": KEY,
        "url": page.split("?", maxsplit=1)[0],
        "click_ids": {"fbclid": "abc"},
        "utm": {"utm_source": "2S social", "utm_campaign": "a+b"},
        "consent": {},
        "referrer": f"http://localhost:{site.pages_port}/elsewhere",
    }
    assert site.content_types == ["text/plain;charset=UTF-8"]
    assert site.preflights == 0


def test_without_a_click_id_nothing_is_sent(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?utm_source=news"))
    live(browser)
    browser.execute_script("postbacks('identify', 'player-1'); postbacks('consent', {postbacks: true})")
    visitor(browser)

    assert site.clicks == []


def test_commands_given_before_the_script_came_are_part_of_the_first_request(browser: Chrome, site: Site) -> None:
    stub = STUB % (
        "postbacks('consent', {postbacks: true}); postbacks('identify', 42);"
        "postbacks('visitor', function (id) { window.told = id })"
    )
    browser.get(site.page("?gclid=g1", head=stub))
    told = eventually(lambda: browser.execute_script("return window.told"), "the callback")

    [click] = site.clicks
    assert (click["consent"], click["user_id"], click["visitor_id"]) == ({"postbacks": True}, "42", told)


def test_consent_given_later_sends_the_same_click_again_once(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=abc&utm_source=s"))
    visitor(browser)
    for flags in ({"attribution": True}, {"attribution": True}, {"postbacks": False}):
        browser.execute_script("postbacks('consent', arguments[0])", flags)
        visitor(browser)

    first, second, third = site.clicks
    assert [click.pop("consent") for click in (first, second, third)] == [
        {},
        {"attribution": True},
        {"attribution": True, "postbacks": False},
    ]
    assert first == second == third


def test_identify_sends_the_click_again_with_the_player(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=abc"))
    visitor(browser)
    browser.execute_script("postbacks('identify', 'player-1'); postbacks('identify', undefined)")
    visitor(browser)

    first, second = site.clicks
    assert "user_id" not in first
    assert second == {**first, "user_id": "player-1"}


def test_a_new_click_id_is_seen_when_the_page_navigates_by_itself(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=one"))
    site.received(1)
    browser.execute_script(
        """history.pushState({}, '', '?fbclid=one&page=2');
           history.pushState({}, '', '/app?ttclid=two&fbclid=one');
           history.replaceState({}, '', '/app/three?gclid=three')"""
    )
    visitor(browser)

    assert [click["click_ids"] for click in site.clicks] == [{"fbclid": "one"}, {"ttclid": "two"}, {"gclid": "three"}]
    assert site.clicks[1]["url"] == f"http://localhost:{site.pages_port}/app"
    assert len({click["visitor_id"] for click in site.clicks}) == 1


def test_a_new_click_id_is_seen_on_popstate(browser: Chrome, site: Site) -> None:
    browser.get(site.page(body="<p>no click"))
    live(browser)
    # Called past the snippet's wrappers, so that only the event can have told it.
    browser.execute_script(
        """History.prototype.pushState.call(history, {}, '', '?twclid=back');
           History.prototype.pushState.call(history, {}, '', '?');
           history.back()"""
    )

    [click] = site.received(1)
    assert click["click_ids"] == {"twclid": "back"}


def test_a_router_that_replaced_the_address_before_the_script_came_loses_nothing(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=early", head="<script>history.replaceState({}, '', '/clean')</script>"))

    [click] = site.received(1)
    assert click["click_ids"] == {"fbclid": "early"}
    assert "/lp/" in click["url"]


def test_nothing_is_stored_by_default(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=abc"))
    visitor(browser)

    assert browser.execute_script("return [document.cookie, localStorage.length, sessionStorage.length]") == ["", 0, 0]


def test_a_cookie_keeps_the_visitor_where_the_site_wants_it(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=abc", attributes='data-storage="cookie"'))
    [click] = site.received(1)
    cookie = eventually(lambda: stored_cookie(browser), "the cookie")
    lifetime = cookie["expiry"] - browser.execute_script("return Date.now() / 1000")

    assert cookie["value"] == click["visitor_id"]
    assert (cookie["sameSite"], cookie["path"], cookie["secure"]) == ("Lax", "/", False)
    assert lifetime == pytest.approx(90 * 86400, abs=60)

    browser.get(site.page(attributes='data-storage="cookie"'))
    assert visitor(browser) == click["visitor_id"]
    assert len(site.clicks) == 1
    browser.execute_script("postbacks('identify', 'player-1')")
    assert site.received(2)[1] == {
        "key": KEY, "visitor_id": click["visitor_id"], "user_id": "player-1", "consent": {}
    }  # fmt: skip


def test_refused_attribution_removes_the_cookie(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=abc", attributes='data-storage="cookie"'))
    visitor(browser)
    assert stored_cookie(browser)
    browser.execute_script("postbacks('consent', {attribution: false})")
    site.received(2)
    visitor(browser)

    assert stored_cookie(browser) is None


def test_a_page_without_a_click_sets_no_cookie(browser: Chrome, site: Site) -> None:
    browser.get(site.page(attributes='data-storage="cookie"'))
    live(browser)
    browser.execute_async_script("postbacks('consent', {postbacks: true}); setTimeout(arguments[0])")

    assert stored_cookie(browser) is None


def test_global_privacy_control_outweighs_the_banner(browser: Chrome, site: Site) -> None:
    source = "Object.defineProperty(Navigator.prototype, 'globalPrivacyControl', {get: () => true})"
    script = browser.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})
    try:
        browser.get(site.page("?fbclid=abc"))
        visitor(browser)
        browser.execute_script("postbacks('consent', {postbacks: true, ad_personalization: true})")
        visitor(browser)
    finally:
        browser.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", script)

    assert [click["consent"] for click in site.clicks] == [
        {"ad_personalization": False},
        {"ad_personalization": False, "postbacks": True},
    ]


@pytest.mark.parametrize(
    ("href", "expected"),
    [
        ("https://store.steampowered.com/app/1/", "https://store.steampowered.com/app/1/?utm_source=a%20b&utm_campaign=c"),
        ("https://store.steampowered.com/app/1/?l=de&utm_source=own#top",
         "https://store.steampowered.com/app/1/?l=de&utm_source=own&utm_campaign=c#top"),
        ("https://www.epicgames.example/p", "https://www.epicgames.example/p?utm_source=a%20b&utm_campaign=c"),
        ("https://other.example/", "https://other.example/"),
        ("mailto:studio@example.org", "mailto:studio@example.org"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("gesture", ["pointerdown", "click", "auxclick"])
def test_store_links_get_the_campaign_even_when_added_later(
    browser: Chrome, site: Site, href: str, expected: str, gesture: str
) -> None:
    attributes = 'data-decorate="store.steampowered.com  www.epicgames.example "'
    browser.get(site.page("?utm_source=a+b&utm_campaign=c", attributes=attributes))
    live(browser)
    script = """
        document.body.innerHTML = '<a><b>Buy</b></a>';
        const link = document.querySelector('a');
        link.href = arguments[0];
        link.addEventListener('click', (event) => event.preventDefault());
        for (let twice = 0; twice < 2; twice++) {
          document.querySelector('b').dispatchEvent(
            new MouseEvent(arguments[1], {bubbles: true, composed: true, cancelable: true}));
        }
        return link.href"""

    assert browser.execute_script(script, href, gesture) == expected


def test_a_strict_policy_and_an_integrity_value_are_no_obstacle(browser: Chrome, site: Site) -> None:
    policy = f"default-src 'none'; script-src {site.service}; connect-src {site.service}; img-src data:"
    tag = site.tag(f'integrity="{integrity()}" crossorigin="anonymous"', versioned_path())
    browser.get(site.page("?fbclid=abc", tag=tag, csp=policy))

    [click] = site.received(1)
    assert click["click_ids"] == {"fbclid": "abc"}
    assert browser.get_log("browser") == []


def test_a_reload_is_the_visitor_whom_the_service_knows(browser: Chrome, site: Site) -> None:
    site.answer_visitor = "first-visitor"
    browser.get(site.page("?fbclid=abc"))

    assert visitor(browser) == "first-visitor"


def test_a_click_that_the_service_could_not_take_is_sent_again(browser: Chrome, site: Site) -> None:
    site.refuse = 1
    browser.get(site.page("?fbclid=abc"))

    [click] = site.received(1)
    assert click["click_ids"] == {"fbclid": "abc"}


def test_a_request_outlives_the_page(browser: Chrome, site: Site) -> None:
    # Over loopback a request is out before it can be cancelled, so the flag is looked at, too.
    spy = "<script>const f = fetch; window.flags = []; fetch = (u, o) => flags.push(o.keepalive) && f(u, o)</script>"
    browser.get(site.page("?fbclid=abc", head=spy))
    site.received(1)
    assert browser.execute_script("return flags") == [True]
    browser.execute_script("postbacks('identify', 'player-1'); location.href = '/elsewhere'")

    assert site.received(2)[1]["user_id"] == "player-1"


def test_nothing_is_ever_thrown_into_the_page(browser: Chrome, site: Site) -> None:
    head = "<script>window.errors = []; onerror = onunhandledrejection = (e) => errors.push(String(e))</script>"
    browser.get(site.page("?fbclid=abc&%ZZ=%ZZ", head=head))
    live(browser)
    browser.execute_script(
        """postbacks(); postbacks('unknown'); postbacks('consent'); postbacks('identify'); postbacks('visitor');
           postbacks('visitor', () => { throw new Error('of the page') });
           document.body.dispatchEvent(new MouseEvent('click', {bubbles: true}))"""
    )
    visitor(browser)

    assert browser.execute_script("return errors") == []
    assert len(site.received(1)) == 1


def test_a_second_tag_changes_nothing(browser: Chrome, site: Site) -> None:
    browser.get(site.page("?fbclid=abc", tag=site.tag() + site.tag(path=versioned_path())))
    visitor(browser)
    eventually(lambda: browser.execute_script("return document.readyState") == "complete", "the page to load")

    assert len(site.clicks) == 1


def test_the_demo_page_shows_what_was_captured(browser: Chrome, site: Site) -> None:
    browser.get(f"{site.service}/demo?fbclid=IwAR-demo&ttclid=E.C.P")
    shown = browser.find_element(By.ID, "visitor")
    [click] = site.received(1)
    eventually(lambda: shown.text == click["visitor_id"], "the visitor ID on the page")

    assert "IwAR-demo" in browser.find_element(By.ID, "clicks").text
    commands = browser.find_element(By.ID, "curl").text
    assert f'"visitor_id":"{click["visitor_id"]}"' in commands
    install, purchase = (json.loads(found) for found in re.findall(r"-d '(.*)'", commands))
    assert (install["name"], purchase["name"], purchase["currency"]) == ("install", "purchase", "EUR")
    assert install["user_id"] == purchase["user_id"]
    assert browser.get_log("browser") == []


def test_the_demo_page_offers_a_click_where_there_is_none(browser: Chrome, site: Site) -> None:
    browser.get(f"{site.service}/demo")
    browser.find_element(By.ID, "click").click()

    [click] = site.received(1)
    assert set(click["click_ids"]) == {"fbclid", "gclid", "ttclid", "rdt_cid", "twclid"}
