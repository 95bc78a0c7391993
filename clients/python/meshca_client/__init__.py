"""Has certificates signed by meshca, and watches and confirms its trust bundle."""

from meshca_client._pb import signing_pb2 as messages
from meshca_client.client import Client
from meshca_client.digest import set_digest
from meshca_client.errors import MeshcaError
from meshca_client.source import FileSource, Identity, Source, WorkloadSource
from meshca_client.stream import SignStream, Signed
from meshca_client.watch import Bundle, Holdings

__all__ = [
    "Bundle",
    "Client",
    "FileSource",
    "Holdings",
    "Identity",
    "MeshcaError",
    "SignStream",
    "Signed",
    "Source",
    "WorkloadSource",
    "messages",
    "set_digest",
]
