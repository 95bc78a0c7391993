"""The digest by which a set of authorities is confirmed."""

import hashlib
from collections.abc import Iterable


def set_digest(encodings: Iterable[bytes]) -> bytes:
    """SHA-256 over the sorted SHA-256 digests of root certificates (DER), or of the
    SubjectPublicKeyInfo of JWT keys."""
    digests = sorted(hashlib.sha256(encoding).digest() for encoding in encodings)
    return hashlib.sha256(b"".join(digests)).digest()
