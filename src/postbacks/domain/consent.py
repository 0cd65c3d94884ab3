"""What a player's consent permits."""

from __future__ import annotations

from postbacks.domain.model import Consent


def narrower(one: Consent, other: Consent) -> Consent:
    """For each flag: a "no" of either wins, then a "yes" of either, then unknown."""
    if one is other:
        return one
    return Consent(
        attribution=_narrower(one.attribution, other.attribution),
        postbacks=_narrower(one.postbacks, other.postbacks),
        ad_personalization=_narrower(one.ad_personalization, other.ad_personalization),
    )


def _narrower(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return one if other is None else other


_LETTERS = {True: "y", False: "n", None: "-"}
_FLAGS = {letter: flag for flag, letter in _LETTERS.items()}


def written(consent: Consent) -> str:
    """The three flags as three letters, in the order of `Consent`: `y`, `n`, or `-` for unknown."""
    return _LETTERS[consent.attribution] + _LETTERS[consent.postbacks] + _LETTERS[consent.ad_personalization]


def read(text: str) -> Consent:
    """What `written` wrote. Raises `KeyError` or `TypeError` for other texts."""
    return Consent(*(_FLAGS[letter] for letter in text))


def may_match(consent: Consent) -> bool:
    """Whether a click or event may be used for attribution at all. Unknown is no refusal."""
    return consent.attribution is not False


def may_send(consent: Consent, *, require_consent: bool) -> bool:
    """Whether anything of it may go to a platform. With `require_consent` unknown counts as refused."""
    if consent.postbacks is None:
        return not require_consent
    return consent.postbacks
