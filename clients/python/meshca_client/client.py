"""The signing API of meshca."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from meshca_client._pb import signing_pb2, signing_pb2_grpc
from meshca_client.errors import MeshcaError
from meshca_client.source import Source
from meshca_client.stream import SignStream
from meshca_client.tunnel import Tunnel
from meshca_client.watch import Apply, Watcher


class Generation:
    """One connection. It ends when a newer one has taken over and its calls are done."""

    def __init__(self, target: str) -> None:
        self.channel = grpc.insecure_channel(
            target,
            options=(("grpc.use_local_subchannel_pool", 1), ("grpc.default_authority", "localhost")),
        )
        self.api = signing_pb2_grpc.SigningStub(self.channel)
        self.calls = 0
        self.retired = threading.Event()


class Client:
    """Safe for use by many threads.

    `issuer_fingerprints`: SHA-256 (hex) of the public keys of the server's issuing authorities;
    upper case, colons and the prefix `sha256:` may stand in them. Without any, the issuer must have
    the mark of such an authority.
    """

    def __init__(
        self,
        address: str,
        trust_domain: str,
        source: Source,
        issuer_fingerprints: Collection[str] = (),
    ) -> None:
        self._tunnel = Tunnel(address, trust_domain, source, issuer_fingerprints)
        self._lock = threading.Lock()
        self._present = Generation(self._tunnel.target)
        source.on_change(self._renew)
        self._closed = False

    def close(self) -> None:
        with self._lock:
            self._closed = True
            present = self._present
        present.channel.close()
        self._tunnel.close()

    def sign(
        self, request: signing_pb2.SignRequest, timeout: float = 10.0
    ) -> signing_pb2.SignResponse:
        return self._call("Sign", request, timeout)

    def sign_batch(
        self, request: signing_pb2.SignBatchRequest, timeout: float = 10.0
    ) -> signing_pb2.SignBatchResponse:
        """Up to 500 items. Each has its own outcome, an SVID or a refusal."""
        return self._call("SignBatch", request, timeout)

    def delegation(self, timeout: float = 10.0) -> signing_pb2.DelegationView:
        return self._call("GetDelegation", signing_pb2.GetDelegationRequest(), timeout)

    def sign_stream(self) -> SignStream:
        """Open a new one after it has ended, and repeat what has no answer."""
        generation = self._take()
        return SignStream(generation.api, self.error_of, lambda: self._release(generation))

    def watch(
        self,
        instance: str,
        apply: Apply,
        *,
        version: str = "",
        without_crls: bool = False,
        without_jwt: bool = False,
        on_error: Callable[[MeshcaError], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Follows the bundle until `stop` is set, over new connections when the certificate was
        renewed. What `apply` took without an exception is confirmed."""
        hello = signing_pb2.WatchHello(
            instance=instance, version=version, without_crls=without_crls
        )
        Watcher(self, hello, apply, without_jwt, on_error).run(stop or threading.Event())

    @contextmanager
    def generation(self) -> Iterator[Generation]:
        generation = self._take()
        try:
            yield generation
        finally:
            self._release(generation)

    def error_of(self, error: grpc.RpcError) -> MeshcaError:
        return MeshcaError.of_call(error, self._tunnel.error)

    def _call(self, method: str, request: Any, timeout: float) -> Any:
        with self.generation() as generation:
            try:
                return getattr(generation.api, method)(request, timeout=timeout)
            except grpc.RpcError as error:
                raise self.error_of(error) from error

    def _renew(self) -> None:
        """The server ends a connection with its certificate: later calls take a new one."""
        with self._lock:
            if self._closed:
                return
            before, self._present = self._present, Generation(self._tunnel.target)
            before.retired.set()
            idle = before.calls == 0
        if idle:
            before.channel.close()

    def _take(self) -> Generation:
        with self._lock:
            if self._closed:
                raise RuntimeError("the client is closed")
            self._present.calls += 1
            return self._present

    def _release(self, generation: Generation) -> None:
        with self._lock:
            generation.calls -= 1
            done = generation.retired.is_set() and generation.calls == 0
        if done:
            generation.channel.close()
