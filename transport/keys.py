"""Keys: an agent's Ed25519 key pair in a file, the CURVE pair derived from it, and the one that a secret gives to all.

A key is 32 random bytes, the seed of an Ed25519 pair (RFC 8032). It signs; and the X25519 pair derived from it encrypts
and proves who is at the other end of a connection (CURVE, RFC 26 of ZeroMQ). So the 43 characters of its public half,
base64url, are all that others need to know of an agent.
"""

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path

from nacl import bindings
from nacl.exceptions import CryptoError

from topology.errors import GossamerError
from transport.addresses import is_key
from transport.edited import write_in_place, write_new

SEED_BYTES = 32
SECRET_CHARS = 32
"""A shared secret has so many characters at least: who records a connection can try out short ones at leisure."""

VOUCHED = "vouched"
HEADER = "# Secret, for --key, or for --secret on all machines alike. The public key that belongs to it: "


class KeyFileError(GossamerError, ValueError):
    """A file of a key or secret can't be used. One line: what was expected, what came, what to do."""

    code = "G309"


@dataclass(frozen=True)
class Key:
    """An Ed25519 key pair and the X25519 pair derived from it.

    seed: (32,) bytes, secret. vouch: what who invited us says of our public key (`vouching`), "" for nothing.
    """

    seed: bytes = field(repr=False)
    vouch: str = ""

    @property
    def text(self) -> str:
        """The seed, 43 characters of base64url: `key_of_text` reads it. Secret."""
        return _text(self.seed)

    @cached_property
    def _pair(self) -> tuple[bytes, bytes]:
        return bindings.crypto_sign_seed_keypair(self.seed)

    @cached_property
    def public(self) -> str:
        """The public key, 43 characters of base64url."""
        return _text(self._pair[0])

    @cached_property
    def curve_public(self) -> bytes:
        """The public key of CURVE, (32,) bytes: `curve_of` the public key."""
        return bindings.crypto_sign_ed25519_pk_to_curve25519(self._pair[0])

    @cached_property
    def curve_secret(self) -> bytes:
        """The secret key of CURVE, (32,) bytes."""
        return bindings.crypto_sign_ed25519_sk_to_curve25519(self._pair[1])

    def sign(self, message: bytes) -> str:
        """The signature, 86 characters of base64url."""
        return _text(bindings.crypto_sign(message, self._pair[1])[: bindings.crypto_sign_BYTES])


def new_key() -> Key:
    """A key that nobody has had before. Its public half doesn't begin as a flag of a command does."""
    while (key := Key(os.urandom(SEED_BYTES))).public.startswith("-"):
        continue
    return key


def signed_by(public: str, message: bytes, signature: str) -> bool:
    """Whether the owner of this public key has signed this; False for what is no key or no signature."""
    try:
        bindings.crypto_sign_open(_bytes(signature) + message, _bytes(public))
    except (CryptoError, ValueError, binascii.Error):
        return False
    return True


@lru_cache(maxsize=4096)
def curve_of(public: str) -> bytes:
    """The CURVE key, (32,) bytes, that belongs to a public key. Raises KeyFileError if that is none."""
    try:
        if is_key(public):
            return bindings.crypto_sign_ed25519_pk_to_curve25519(_bytes(public))
    except (CryptoError, ValueError):
        pass  # 32 bytes that are no point of the curve.
    raise KeyFileError(f"a public key is the 43 characters that `agent keygen` prints: got {public!r:.60}")


def write_key(path: Path, key: Key) -> None:
    """Into a new file that its owner alone can read, on the disk at the end. Raises KeyFileError if it can't be."""
    try:
        write_new(path, _file(key), 0o600)
    except FileExistsError:
        raise KeyFileError(f"{path} exists: expected a new file, as a key that is overwritten is lost") from None
    except FileNotFoundError:
        raise KeyFileError(
            f"there is no folder {path.parent} for {path.name}: make it first, or give another"
        ) from None


def rewrite_key(path: Path, key: Key) -> None:
    """In place of the same key with another `vouch`, whole or not at all, on the disk at the end."""
    write_in_place(path.resolve(), _file(key), 0o600)


def _file(key: Key) -> str:
    return f"{HEADER}{key.public}\n{key.text}\n" + (f"{VOUCHED} {key.vouch}\n" if key.vouch else "")


def read_key(path: Path) -> Key:
    """The key in a file that `write_key` made. Raises KeyFileError."""
    lines = [line.split() for line in _read(path, "a key").splitlines() if line.strip() and not line.startswith("#")]
    match lines:
        case [[seed]] if is_key(seed):
            return key_of_text(seed)
        case [[seed], [mark, vouch]] if is_key(seed) and mark == VOUCHED:
            return key_of_text(seed, vouch)
    raise KeyFileError(f"{path} holds no key: expected a file made by `agent keygen --out {path}`")


def key_of_text(seed: str, vouch: str = "") -> Key:
    """The key of this seed, 43 characters of base64url."""
    return Key(_bytes(seed), vouch)


def read_secret(path: Path) -> Key:
    """The key pair that every agent derives from the secret in this file. Raises KeyFileError.

    What it derives is BLAKE2b of the text, so the text must be as hard to guess as a key: `agent keygen` makes one.
    """
    text = _read(path, "a secret").strip()
    if len(text) < SECRET_CHARS:
        raise KeyFileError(
            f"{path} holds a secret of {len(text)} characters: expected {SECRET_CHARS} at least, which nobody can "
            f"guess; `agent keygen --out {path.with_suffix('.new')}` makes one"
        )
    return Key(hashlib.blake2b(text.encode(), digest_size=SEED_BYTES, person=b"gossamer secret").digest())


def _read(path: Path, what: str) -> str:
    """The text of a file that must be its owner's alone."""
    try:
        with open(path, encoding="utf-8") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if os.name == "posix" and mode & 0o077:
                raise KeyFileError(
                    f"{path} can be read or written by others (mode {mode:04o}): expected {what} that is its owner's "
                    f"alone; `chmod 600 {path}`, and make a new one if somebody may have read it"
                )
            return file.read(1 << 16)
    except FileNotFoundError:
        raise KeyFileError(f"there is no file {path}: `agent keygen --out {path}` makes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} can't be read: {error}; expected {what}, made by `agent keygen`") from None


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
