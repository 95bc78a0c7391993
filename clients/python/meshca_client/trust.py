"""Whether the server is the CA: its exact SPIFFE ID, and who issued its certificate."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

# The mark that a root of a server puts into its own issuing authorities, and into no CA downstream.
SERVER_AUTHORITY = x509.ObjectIdentifier(
    "1.2.840.113556.1.8000.2554.14914.56170.64652.20426.42641.10257499.7236474"
)


def normal_fingerprints(fingerprints: Collection[str]) -> frozenset[str]:
    """Lower-case hex. Also taken: upper case, colons, and the prefix `sha256:`."""
    normal = [
        re.sub("^sha256:", "", each.strip().lower()).replace(":", "") for each in fingerprints
    ]
    for given, each in zip(fingerprints, normal):
        if re.fullmatch("[0-9a-f]{64}", each) is None:
            raise ValueError(f"the fingerprint {given!r} is not 64 hexadecimal digits")
    return frozenset(normal)


def verify_server(
    chain_der: Sequence[bytes], server_id: str, fingerprints: Collection[str]
) -> None:
    """The chain is verified, from the leaf to the root. Raises ValueError with the reason."""
    chain = [x509.load_der_x509_certificate(der) for der in chain_der]
    ids = _uris(chain[0])
    if ids != [server_id]:
        shown = ", ".join(ids) or "a certificate without a SPIFFE ID"
        raise ValueError(f"the server is {shown}, not {server_id}")
    if len(chain) < 2:
        raise ValueError("the certificate of the server is its own root")
    spki = chain[1].public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    fingerprint = hashlib.sha256(spki).hexdigest()
    if fingerprints:
        if fingerprint not in fingerprints:
            raise ValueError(
                f"the issuer of the server has the fingerprint {fingerprint}, which was not given"
            )
    elif len(chain) < 3 or not all(_is_marked(above) for above in chain[1:]):
        raise ValueError(
            "the issuer of the server has no mark of an authority of the server; "
            f"give its fingerprint if you know it: {fingerprint}"
        )


def _uris(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.UniformResourceIdentifier)


def _is_marked(certificate: x509.Certificate) -> bool:
    return any(each.oid == SERVER_AUTHORITY for each in certificate.extensions)
