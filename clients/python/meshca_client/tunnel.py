"""The TLS connection to the server. The library of gRPC for Python compares only DNS names and has no
hook for another check, so that its channel runs through a socket of this process, behind which TLS
is spoken and the server is verified."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import ssl
import tempfile
import threading
from collections.abc import Collection

from meshca_client.source import Identity, Source
from meshca_client.trust import normal_fingerprints, verify_server

_CHUNK = 65536


class Tunnel:
    """Owner of the socket and of the thread that moves bytes."""

    def __init__(
        self, address: str, trust_domain: str, source: Source, issuer_fingerprints: Collection[str]
    ) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._server_id = f"spiffe://{trust_domain}/meshca/server"
        self._source = source
        self._fingerprints = normal_fingerprints(issuer_fingerprints)
        self._tasks: set[asyncio.Task[None]] = set()
        self.error: Exception | None = None
        # only this user can reach the socket
        self._folder = tempfile.mkdtemp(prefix="meshca-")
        self.target = f"unix:{self._folder}/s"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        listening = asyncio.start_unix_server(self._accept, f"{self._folder}/s")
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _stop(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._join(reader, writer)
        except asyncio.CancelledError:
            pass
        except Exception as error:  # the call that waits for this connection tells it
            self.error = error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        remote_reader, remote_writer = await asyncio.open_connection(
            self._host, self._port, ssl=_context(self._source.identity), server_hostname=""
        )
        try:
            # TLS has verified the chain
            chain = _verified_chain(remote_writer.get_extra_info("ssl_object"))
            verify_server(chain, self._server_id, self._fingerprints)
            self.error = None
            moving = [
                asyncio.ensure_future(_move(reader, remote_writer)),
                asyncio.ensure_future(_move(remote_reader, writer)),
            ]
            try:
                # TLS knows no half of a connection: the end of one side is that of both
                await asyncio.wait(moving, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for each in moving:
                    each.cancel()
                await asyncio.gather(*moving, return_exceptions=True)
        finally:
            remote_writer.close()


def _verified_chain(connection: ssl.SSLObject) -> list[bytes]:
    if hasattr(connection, "get_verified_chain"):
        return list(connection.get_verified_chain())
    # before Python 3.13 only the object inside has it
    chain = connection._sslobj.get_verified_chain()  # type: ignore[attr-defined]
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain]


def _context(identity: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    context.load_verify_locations(cadata=identity.roots_pem.decode())
    # the key is never on a disk
    with _memory_file(identity.chain_pem) as chain, _memory_file(identity.key_pem) as key:
        context.load_cert_chain(chain, key)
    return context


@contextlib.contextmanager
def _memory_file(content: bytes):
    descriptor = os.memfd_create("meshca", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


async def _move(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK):
        writer.write(chunk)
        await writer.drain()
