"""Where the identity of this program comes from. Whoever stands behind a source renews it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)

from meshca_client._pb import workload_pb2, workload_pb2_grpc
from meshca_client.errors import MeshcaError


@dataclass(frozen=True)
class Identity:
    """What this program presents, and the roots under which it verifies the server. All PEM."""

    chain_pem: bytes
    key_pem: bytes
    roots_pem: bytes


class Source:
    """An identity that changes. Owner of the listeners, which are called after each change."""

    def __init__(self) -> None:
        self._identity: Identity | None = None
        self._listeners: list[Callable[[], None]] = []
        self._closed = threading.Event()
        self._known = threading.Event()

    @property
    def identity(self) -> Identity:
        if self._identity is None:
            raise RuntimeError("the source has no identity yet")
        return self._identity

    def on_change(self, listener: Callable[[], None]) -> None:
        self._listeners.append(listener)

    def close(self) -> None:
        self._closed.set()

    def _set(self, identity: Identity) -> None:
        if identity == self._identity:
            return
        self._identity = identity
        self._known.set()
        for listener in list(self._listeners):
            listener()


class WorkloadSource(Source):
    """Takes the identity from an agent's SPIFFE Workload API, which renews it."""

    def __init__(self, address: str, timeout: float = 30.0) -> None:
        super().__init__()
        self._failure: MeshcaError | ValueError | None = None
        self._channel = grpc.insecure_channel(address.replace("unix://", "unix:"))
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        if not self._known.wait(timeout):
            self.close()
            raise TimeoutError(f"the agent gave no identity in time: {self._failure or 'no answer'}")

    def close(self) -> None:
        super().close()
        self._channel.close()
        self._thread.join()

    def _follow(self) -> None:
        api = workload_pb2_grpc.SpiffeWorkloadAPIStub(self._channel)
        wait = 0.5
        while not self._closed.is_set():
            try:
                stream = api.FetchX509SVID(
                    workload_pb2.X509SVIDRequest(), metadata=(("workload.spiffe.io", "true"),)
                )
                for message in stream:
                    wait = 0.5
                    self._set(_identity_of(message))
            except grpc.RpcError as error:
                self._failure = MeshcaError.of_call(error)
            except ValueError as error:
                # the channel was closed, or the agent gave what can not be read
                self._failure = error
            self._closed.wait(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, 60)


def _identity_of(message: workload_pb2.X509SVIDResponse) -> Identity:
    if not message.svids:
        raise ValueError("the agent gave no identity")
    svid = message.svids[0]
    key = load_der_private_key(svid.x509_svid_key, None)
    return Identity(
        _pem_of(svid.x509_svid),
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        _pem_of(svid.bundle),
    )


def _pem_of(certificates: bytes) -> bytes:
    """Certificates one after the other as DER, as PEM."""
    parts: list[bytes] = []
    while certificates:
        size = _der_size(certificates)
        parts.append(x509.load_der_x509_certificate(certificates[:size]).public_bytes(Encoding.PEM))
        certificates = certificates[size:]
    return b"".join(parts)


def _der_size(der: bytes) -> int:
    if len(der) < 4 or der[0] != 0x30:
        raise ValueError("no certificate")
    if der[1] < 0x80:
        return 2 + der[1]
    octets = der[1] & 0x7F
    return 2 + octets + int.from_bytes(der[2 : 2 + octets], "big")


class FileSource(Source):
    """Reads svid.0.pem, svid.0.key and bundle.0.pem of a folder, as
    "meshca agent api fetch --write" writes them, again and again."""

    def __init__(self, folder: str | Path, interval: float = 5.0) -> None:
        super().__init__()
        self._folder = Path(folder)
        self._set(self._read())
        self._thread = threading.Thread(target=self._follow, args=(interval,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        super().close()
        self._thread.join()

    def _follow(self, interval: float) -> None:
        while not self._closed.wait(interval):
            try:
                self._set(self._read())
            except (OSError, ValueError):
                # what was read before goes on counting while files are being replaced
                continue

    def _read(self) -> Identity:
        chain, key, roots = (
            (self._folder / name).read_bytes()
            for name in ("svid.0.pem", "svid.0.key", "bundle.0.pem")
        )
        public = load_pem_private_key(key, None).public_key()
        if x509.load_pem_x509_certificates(chain)[0].public_key() != public:
            raise ValueError("certificate and key are of two different renewals")
        return Identity(chain, key, roots)
