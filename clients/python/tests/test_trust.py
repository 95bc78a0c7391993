"""Run by: python -m unittest discover -s tests"""

import datetime
import hashlib
import unittest
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from meshca_client.trust import SERVER_AUTHORITY, normal_fingerprints, verify_server

SERVER = "spiffe://mesh.test/meshca/server"


@dataclass
class Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def fingerprint(self) -> str:
        public = self.key.public_key()
        return hashlib.sha256(
            public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        ).hexdigest()


def issue(
    name: str, above: Authority | None = None, spiffe_id: str | None = None, marked: bool = False
) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.timezone.utc)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.certificate.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
    )
    if spiffe_id is not None:
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(spiffe_id)])
        builder = builder.add_extension(names, critical=False)
    if marked:
        mark = x509.UnrecognizedExtension(SERVER_AUTHORITY, b"\x05\x00")
        builder = builder.add_extension(mark, critical=False)
    return Authority(builder.sign(above.key if above else key, hashes.SHA256()), key)


def verify(chain: list[Authority], fingerprints: frozenset[str] = frozenset()) -> None:
    ders = [each.certificate.public_bytes(Encoding.DER) for each in chain]
    verify_server(ders, SERVER, fingerprints)


class TheServer(unittest.TestCase):
    def setUp(self) -> None:
        self.root = issue("root", marked=True)
        self.issuing = issue("issuing", self.root, marked=True)
        self.downstream = issue("downstream", self.root)

    def test_is_known_by_its_id_and_the_mark_of_its_issuer(self) -> None:
        verify([issue("server", self.issuing, SERVER), self.issuing, self.root])

    def test_is_known_by_the_fingerprint_of_its_issuer(self) -> None:
        chain = [issue("server", self.downstream, SERVER), self.downstream, self.root]
        with self.assertRaisesRegex(ValueError, "no mark"):
            verify(chain)
        verify(chain, frozenset([self.downstream.fingerprint]))
        with self.assertRaisesRegex(ValueError, "was not given"):
            verify(chain, frozenset([self.issuing.fingerprint]))

    def test_with_another_id_is_refused(self) -> None:
        other = issue("server", self.issuing, SERVER + "/x")
        with self.assertRaisesRegex(ValueError, "the server is spiffe://mesh.test/meshca/server/x"):
            verify([other, self.issuing, self.root])

    def test_without_names_is_refused_with_a_reason(self) -> None:
        with self.assertRaisesRegex(ValueError, "without a SPIFFE ID"):
            verify([issue("server", self.issuing), self.issuing, self.root])

    def test_that_is_its_own_root_is_refused_with_a_reason(self) -> None:
        for fingerprints in (frozenset[str](), frozenset([self.issuing.fingerprint])):
            with self.assertRaisesRegex(ValueError, "its own root"):
                verify([issue("server", None, SERVER, marked=True)], fingerprints)


class Fingerprints(unittest.TestCase):
    def test_count_in_each_usual_form(self) -> None:
        plain = "0a" * 32
        for form in (plain, plain.upper(), f"sha256:{plain}", ":".join(["0A"] * 32), f" {plain} "):
            self.assertEqual(normal_fingerprints([form]), frozenset([plain]))

    def test_that_are_none_are_refused(self) -> None:
        for text in ("", "0a" * 31, "0g" * 32):
            with self.assertRaisesRegex(ValueError, "64 hexadecimal digits"):
                normal_fingerprints([text])


if __name__ == "__main__":
    unittest.main()
