from __future__ import annotations

from uuid import UUID

import pytest
from cryptography.fernet import Fernet
from hypothesis import given, settings
from hypothesis import strategies as st

from postbacks.errors import SettingError
from postbacks.vault import Vault, keyed_hash, token_hash

OLD, NEW, FOREIGN = (Fernet.generate_key().decode() for _ in range(3))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.binary(max_size=200))
def test_what_is_sealed_opens_again_and_cannot_be_read(plain: bytes) -> None:
    vault = Vault([NEW])
    sealed = vault.seal(plain)

    assert vault.open(sealed) == plain
    assert len(plain) < 4 or plain not in sealed.encode()


@settings(max_examples=30)
@given(json_values)
def test_json_comes_back_as_it_was(value: object) -> None:
    vault = Vault([NEW])

    assert vault.open_json(vault.seal_json(value)) == value


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    """Otherwise the database would show which destinations share a token."""
    vault = Vault([NEW])

    assert vault.seal(b"token") != vault.seal(b"token")


def test_an_old_key_behind_the_new_one_still_opens() -> None:
    sealed = Vault([OLD]).seal(b"token")

    assert Vault([NEW, OLD]).open(sealed) == b"token"


def test_the_first_key_seals() -> None:
    sealed = Vault([NEW, OLD]).seal(b"token")

    assert Vault([NEW]).open(sealed) == b"token"
    with pytest.raises(SettingError):
        Vault([OLD]).open(sealed)


def test_after_rotation_the_old_key_can_go() -> None:
    sealed = Vault([OLD]).seal(b"token")

    assert Vault([NEW]).open(Vault([NEW, OLD]).rotate(sealed)) == b"token"


@pytest.mark.parametrize("sealed", ["", "gAAAAA", "no token at all", "ключ", None])
def test_a_missing_key_or_a_damaged_text_names_the_setting_and_no_secret(sealed: str | None) -> None:
    text = Vault([FOREIGN]).seal(b"token") if sealed is None else sealed

    for method in (Vault([NEW]).open, Vault([NEW]).rotate):
        with pytest.raises(SettingError, match="POSTBACKS_ENCRYPTION_KEYS") as caught:
            method(text)
        assert NEW not in str(caught.value)
        assert caught.value.__suppress_context__


def test_a_vault_does_not_show_its_keys() -> None:
    assert NEW not in repr(Vault([NEW]))
    assert NEW not in str(vars(Vault([NEW])))


def test_derived_keys_differ_by_purpose_and_by_key_and_stay_the_same() -> None:
    derived = Vault([NEW]).derive("session")

    assert len(derived) == 32
    assert derived == Vault([NEW, OLD]).derive("session")
    assert len({derived, Vault([NEW]).derive("csrf"), Vault([OLD]).derive("session")}) == 3


@given(st.binary(min_size=1), st.text(st.characters(codec=None)), st.text(st.characters(codec=None)))
def test_a_keyed_hash_depends_on_key_and_value(secret: bytes, one: str, other: str) -> None:
    assert (keyed_hash(secret, one) == keyed_hash(secret, other)) is (one == other)
    assert keyed_hash(secret, one) != keyed_hash(secret + b"x", one)


def test_a_keyed_hash_is_hmac_sha_256_cut_to_16_bytes() -> None:
    """RFC 4231, test case 2."""
    assert keyed_hash(b"Jefe", "what do ya want for nothing?") == UUID("5bdcc146-bf60-754e-6a04-2426089575c7")


def test_a_token_is_stored_as_its_sha_256() -> None:
    assert token_hash("abc").hex() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
