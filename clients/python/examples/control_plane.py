"""A control plane in miniature. It watches the bundle and confirms it, and has one certificate
signed for each line of its input: a SPIFFE ID. It writes a line of JSON for all that it does.

    control_plane.py --server ca.mesh.example.org:8443 --trust-domain mesh.example.org --instance pod-0

It takes its own certificate from the agent of SPIFFE_ENDPOINT_SOCKET.
"""

import argparse
import json
import os
import sys
import threading
import uuid

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meshca_client import (
    Bundle,
    Client,
    Holdings,
    MeshcaError,
    Signed,
    SignStream,
    WorkloadSource,
    messages,
)

_output = threading.Lock()


def say(**fields: object) -> None:
    with _output:
        print(json.dumps(fields), flush=True)


def apply(bundle: Bundle) -> Holdings:
    # a real control plane hands the roots to its proxies here, before it confirms
    say(
        event="bundle",
        roots=len(bundle.trust.roots_der),
        sequence=bundle.trust.sequence,
        renewOwn=bundle.renew_now.own_certificate,
    )
    return Holdings()


def request_for(spiffe_id: str) -> messages.SignRequest:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    csr = builder.sign(key, hashes.SHA256())
    return messages.SignRequest(
        request_id=str(uuid.uuid4()),
        spiffe_id=spiffe_id,
        csr_der=csr.public_bytes(serialization.Encoding.DER),
    )


class Signer:
    """Opens the stream again if it has ended, and repeats the same request."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._stream: SignStream | None = None

    def sign(self, request: messages.SignRequest) -> Signed:
        for _ in range(2):
            stream = self._stream or self._client.sign_stream()
            self._stream = stream
            try:
                return stream.sign(request)
            except (MeshcaError, EOFError):
                if stream.error is None:
                    raise
                self._stream = None
        return self._client.sign_stream().sign(request)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("--server", "--trust-domain", "--instance"):
        parser.add_argument(name, required=True)
    options = parser.parse_args()
    source = WorkloadSource(os.environ["SPIFFE_ENDPOINT_SOCKET"])
    client = Client(options.server, options.trust_domain, source)
    threading.Thread(
        target=client.watch,
        args=(options.instance, apply),
        kwargs={"on_error": lambda error: say(event="watch-ended", error=str(error))},
        daemon=True,
    ).start()
    signer = Signer(client)
    for line in sys.stdin:
        try:
            signed = signer.sign(request_for(line.strip()))
            say(
                event="signed",
                spiffeId=signed.svid.spiffe_id,
                serial=signed.svid.serial,
                roots=len(signed.roots_der),
            )
        except MeshcaError as error:
            say(event="refused", code=error.code, refusalId=error.refusal_id, text=str(error))


if __name__ == "__main__":
    main()
