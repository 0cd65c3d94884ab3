"""Encryption at rest, and hashes that cannot be reversed by trying all inputs."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from postbacks.domain.ids import uuid_from
from postbacks.errors import SettingError


class Vault:
    """Seals and opens secrets with the operator's keys: the first encrypts, all decrypt."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])
        self._root = hashlib.sha256(b"postbacks|" + keys[0].encode()).digest()

    def __repr__(self) -> str:
        return "Vault(…)"

    def seal(self, plain: bytes) -> str:
        return self._fernet.encrypt(plain).decode()

    def open(self, sealed: str) -> bytes:
        """Raises `SettingError` where no configured key fits."""
        try:
            return self._fernet.decrypt(sealed.encode())
        except InvalidToken:
            raise SettingError(
                "A stored secret cannot be decrypted: POSTBACKS_ENCRYPTION_KEYS lacks the key it was sealed with. "
                "Add the old key behind the new one."
            ) from None

    def seal_json(self, value: Any) -> str:
        return self.seal(orjson.dumps(value))

    def open_json(self, sealed: str) -> Any:
        return orjson.loads(self.open(sealed))

    def rotate(self, sealed: str) -> str:
        """The same secret under the first key. Raises `SettingError` as `open` does."""
        try:
            return self._fernet.rotate(sealed.encode()).decode()
        except InvalidToken:
            raise SettingError("A stored secret cannot be decrypted with any of POSTBACKS_ENCRYPTION_KEYS.") from None

    def derive(self, purpose: str) -> bytes:
        """32 bytes for another purpose (signing session cookies), tied to the first key."""
        return hmac.digest(self._root, purpose.encode(), "sha256")


def keyed_hash(secret: bytes, value: str) -> UUID:
    """HMAC-SHA-256, cut to the 16 bytes that the database stores compactly."""
    return uuid_from(hmac.digest(secret, value.encode("utf-8", "surrogatepass"), "sha256")[:16])


def user_hash(secret: bytes, user_id: str) -> UUID:
    """What is kept of a player whose data is gone: BLAKE2b, keyed, 16 bytes. `secret` has at most 64 bytes.

    Not `keyed_hash`, because it is worked out for every event, and this takes a third of the time.
    """
    begun = _user_hasher(secret).copy()
    begun.update(user_id.encode("utf-8", "surrogatepass"))
    return uuid_from(begun.digest())


@lru_cache(maxsize=256)
def _user_hasher(secret: bytes) -> hashlib.blake2b:
    return hashlib.blake2b(digest_size=16, key=secret, person=b"user")


def token_hash(token: str) -> bytes:
    """What is stored of an API key. The keys are 256 random bits: a plain hash cannot be searched."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
