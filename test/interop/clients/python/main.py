"""A workload on the Python library spiffe.

README.md of the folder above says what it prints and reads. TLS is pyOpenSSL with a context for
each connection: spiffe-tls 0.4 changes the context that its listener uses, which pyOpenSSL 26
refuses, so that its servers never present a renewed certificate.
"""

import hashlib
import json
import socket
import sys
import threading

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier
from OpenSSL import SSL
from OpenSSL.crypto import X509
from spiffe import WorkloadApiClient, X509Source

output = threading.Lock()


def say(event, **fields):
    with output:
        print(json.dumps({"event": event, **fields}), flush=True)


def report(source):
    svid = source.get_x509_context().default_svid
    bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    ders = [root.public_bytes(Encoding.DER) for root in bundle.x509_authorities]
    say(
        "identity",
        spiffeId=str(svid.spiffe_id),
        serial=format(svid.leaf.serial_number, "x"),
        roots=sorted(hashlib.sha256(der).hexdigest() for der in ders),
    )


def line_from(connection):
    text = b""
    while not text.endswith(b"\n"):
        part = connection.recv(100)
        if part == b"":
            break
        text += part
    return text


def connection_over(source, raw, is_server):
    """An mTLS connection with the identity and the roots of this moment."""
    svid = source.get_x509_context().default_svid
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate(svid.leaf)
    for certificate in svid.cert_chain[1:]:
        context.add_extra_chain_cert(certificate)
    context.use_privatekey(svid.private_key)
    bundle = source.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    for root in bundle.x509_authorities:
        context.get_cert_store().add_cert(X509.from_cryptography(root))
    context.set_verify(
        SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
        lambda _connection, _certificate, _error, _depth, accepted: bool(accepted),
    )
    connection = SSL.Connection(context, raw)
    if is_server:
        connection.set_accept_state()
    else:
        connection.set_connect_state()
    connection.do_handshake()
    return connection


def answer(source, raw):
    try:
        connection = connection_over(source, raw, is_server=True)
        line_from(connection)
        connection.sendall(b"hello\n")
        connection.shutdown()
    except SSL.Error as error:
        print("server:", error, file=sys.stderr)
    finally:
        raw.close()


def serve(source):
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            raw, _ = listener.accept()
            threading.Thread(target=answer, args=(source, raw), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def dialed(source, port):
    try:
        with socket.create_connection(("127.0.0.1", int(port))) as raw:
            connection = connection_over(source, raw, is_server=False)
            connection.sendall(b"hello\n")
            if line_from(connection) == b"":
                raise ValueError("the peer closed without an answer")
            leaf = connection.get_peer_certificate().to_cryptography()
        names = leaf.extensions.get_extension_for_class(SubjectAlternativeName).value
        say("dialed", port=port, peer=names.get_values_for_type(UniformResourceIdentifier)[0])
    except Exception as error:  # every failure is the caller's to judge
        say("dialed", port=port, error=repr(error))


def jwt(client, audience):
    try:
        token = client.fetch_jwt_svid({audience}).token
        say("jwt", subject=str(client.validate_jwt_svid(token, audience).spiffe_id))
    except Exception as error:  # every failure is the caller's to judge
        say("jwt", error=repr(error))


def main():
    client = WorkloadApiClient()
    source = X509Source(client)
    report(source)
    source.subscribe_for_updates(lambda: report(source))
    say("ready", port=serve(source))
    for line in sys.stdin:
        command, _, argument = line.strip().partition(" ")
        if command == "dial":
            dialed(source, argument)
        elif command == "jwt":
            jwt(client, argument)


main()
