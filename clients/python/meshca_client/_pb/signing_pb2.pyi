from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignDownstreamAuthorityRequest(_message.Message):
    __slots__ = ("request_id", "csr_der", "ttl_seconds")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    csr_der: bytes
    ttl_seconds: int
    def __init__(self, request_id: _Optional[str] = ..., csr_der: _Optional[bytes] = ..., ttl_seconds: _Optional[int] = ...) -> None: ...

class SignDownstreamAuthorityResponse(_message.Message):
    __slots__ = ("serial", "chain_der", "not_after", "authority_id", "roots_der")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_ID_FIELD_NUMBER: _ClassVar[int]
    ROOTS_DER_FIELD_NUMBER: _ClassVar[int]
    serial: str
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    not_after: int
    authority_id: str
    roots_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, serial: _Optional[str] = ..., chain_der: _Optional[_Iterable[bytes]] = ..., not_after: _Optional[int] = ..., authority_id: _Optional[str] = ..., roots_der: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SignRequest(_message.Message):
    __slots__ = ("request_id", "spiffe_id", "dns_names", "csr_der", "ttl_seconds", "ips", "profile")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    CSR_DER_FIELD_NUMBER: _ClassVar[int]
    TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    IPS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    spiffe_id: str
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    csr_der: bytes
    ttl_seconds: int
    ips: _containers.RepeatedScalarFieldContainer[str]
    profile: str
    def __init__(self, request_id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., dns_names: _Optional[_Iterable[str]] = ..., csr_der: _Optional[bytes] = ..., ttl_seconds: _Optional[int] = ..., ips: _Optional[_Iterable[str]] = ..., profile: _Optional[str] = ...) -> None: ...

class SignResponse(_message.Message):
    __slots__ = ("request_id", "spiffe_id", "serial", "chain_der", "not_before", "not_after", "authority_id", "roots_der")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    CHAIN_DER_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_ID_FIELD_NUMBER: _ClassVar[int]
    ROOTS_DER_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    spiffe_id: str
    serial: str
    chain_der: _containers.RepeatedScalarFieldContainer[bytes]
    not_before: int
    not_after: int
    authority_id: str
    roots_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, request_id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., serial: _Optional[str] = ..., chain_der: _Optional[_Iterable[bytes]] = ..., not_before: _Optional[int] = ..., not_after: _Optional[int] = ..., authority_id: _Optional[str] = ..., roots_der: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SignBatchRequest(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[SignRequest]
    def __init__(self, items: _Optional[_Iterable[_Union[SignRequest, _Mapping]]] = ...) -> None: ...

class SignBatchResponse(_message.Message):
    __slots__ = ("results", "roots_der")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    ROOTS_DER_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[SignResult]
    roots_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, results: _Optional[_Iterable[_Union[SignResult, _Mapping]]] = ..., roots_der: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SignResult(_message.Message):
    __slots__ = ("request_id", "svid", "refusal")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SVID_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    svid: SignResponse
    refusal: SignRefusal
    def __init__(self, request_id: _Optional[str] = ..., svid: _Optional[_Union[SignResponse, _Mapping]] = ..., refusal: _Optional[_Union[SignRefusal, _Mapping]] = ...) -> None: ...

class SignRefusal(_message.Message):
    __slots__ = ("code", "message", "next", "refusal_id")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    REFUSAL_ID_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    next: str
    refusal_id: str
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., next: _Optional[str] = ..., refusal_id: _Optional[str] = ...) -> None: ...

class SignStreamRequest(_message.Message):
    __slots__ = ("id", "item")
    ID_FIELD_NUMBER: _ClassVar[int]
    ITEM_FIELD_NUMBER: _ClassVar[int]
    id: str
    item: SignRequest
    def __init__(self, id: _Optional[str] = ..., item: _Optional[_Union[SignRequest, _Mapping]] = ...) -> None: ...

class SignStreamResponse(_message.Message):
    __slots__ = ("credits", "id", "result", "roots_der")
    CREDITS_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    ROOTS_DER_FIELD_NUMBER: _ClassVar[int]
    credits: int
    id: str
    result: SignResult
    roots_der: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, credits: _Optional[int] = ..., id: _Optional[str] = ..., result: _Optional[_Union[SignResult, _Mapping]] = ..., roots_der: _Optional[_Iterable[bytes]] = ...) -> None: ...

class WatchBundleRequest(_message.Message):
    __slots__ = ("hello", "report")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    hello: WatchHello
    report: WatchReport
    def __init__(self, hello: _Optional[_Union[WatchHello, _Mapping]] = ..., report: _Optional[_Union[WatchReport, _Mapping]] = ...) -> None: ...

class WatchHello(_message.Message):
    __slots__ = ("instance", "version", "without_crls", "with_replacements", "replacements_after")
    INSTANCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    WITHOUT_CRLS_FIELD_NUMBER: _ClassVar[int]
    WITH_REPLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    REPLACEMENTS_AFTER_FIELD_NUMBER: _ClassVar[int]
    instance: str
    version: str
    without_crls: bool
    with_replacements: bool
    replacements_after: str
    def __init__(self, instance: _Optional[str] = ..., version: _Optional[str] = ..., without_crls: bool = ..., with_replacements: bool = ..., replacements_after: _Optional[str] = ...) -> None: ...

class WatchReport(_message.Message):
    __slots__ = ("authority_set_digest", "jwt_set_digest", "consumers", "names_all_holders", "replaced_serials", "leaving")
    AUTHORITY_SET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    JWT_SET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    CONSUMERS_FIELD_NUMBER: _ClassVar[int]
    NAMES_ALL_HOLDERS_FIELD_NUMBER: _ClassVar[int]
    REPLACED_SERIALS_FIELD_NUMBER: _ClassVar[int]
    LEAVING_FIELD_NUMBER: _ClassVar[int]
    authority_set_digest: bytes
    jwt_set_digest: bytes
    consumers: _containers.RepeatedCompositeFieldContainer[WatchConsumer]
    names_all_holders: bool
    replaced_serials: _containers.RepeatedScalarFieldContainer[str]
    leaving: bool
    def __init__(self, authority_set_digest: _Optional[bytes] = ..., jwt_set_digest: _Optional[bytes] = ..., consumers: _Optional[_Iterable[_Union[WatchConsumer, _Mapping]]] = ..., names_all_holders: bool = ..., replaced_serials: _Optional[_Iterable[str]] = ..., leaving: bool = ...) -> None: ...

class WatchConsumer(_message.Message):
    __slots__ = ("id", "spiffe_id", "authority_set_digest", "jwt_set_digest", "state", "reason", "since", "departed_until")
    ID_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_SET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    JWT_SET_DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    DEPARTED_UNTIL_FIELD_NUMBER: _ClassVar[int]
    id: str
    spiffe_id: str
    authority_set_digest: bytes
    jwt_set_digest: bytes
    state: str
    reason: str
    since: int
    departed_until: int
    def __init__(self, id: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., authority_set_digest: _Optional[bytes] = ..., jwt_set_digest: _Optional[bytes] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., since: _Optional[int] = ..., departed_until: _Optional[int] = ...) -> None: ...

class WatchBundleResponse(_message.Message):
    __slots__ = ("trust", "crls", "taints", "renew_now", "replacements")
    TRUST_FIELD_NUMBER: _ClassVar[int]
    CRLS_FIELD_NUMBER: _ClassVar[int]
    TAINTS_FIELD_NUMBER: _ClassVar[int]
    RENEW_NOW_FIELD_NUMBER: _ClassVar[int]
    REPLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    trust: TrustSet
    crls: CrlSet
    taints: TaintSet
    renew_now: RenewNow
    replacements: Replacements
    def __init__(self, trust: _Optional[_Union[TrustSet, _Mapping]] = ..., crls: _Optional[_Union[CrlSet, _Mapping]] = ..., taints: _Optional[_Union[TaintSet, _Mapping]] = ..., renew_now: _Optional[_Union[RenewNow, _Mapping]] = ..., replacements: _Optional[_Union[Replacements, _Mapping]] = ...) -> None: ...

class TrustSet(_message.Message):
    __slots__ = ("trust_domain", "sequence", "roots_der", "jwt_keys")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ROOTS_DER_FIELD_NUMBER: _ClassVar[int]
    JWT_KEYS_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    sequence: int
    roots_der: _containers.RepeatedScalarFieldContainer[bytes]
    jwt_keys: _containers.RepeatedCompositeFieldContainer[JwtKey]
    def __init__(self, trust_domain: _Optional[str] = ..., sequence: _Optional[int] = ..., roots_der: _Optional[_Iterable[bytes]] = ..., jwt_keys: _Optional[_Iterable[_Union[JwtKey, _Mapping]]] = ...) -> None: ...

class JwtKey(_message.Message):
    __slots__ = ("key_id", "spki_der")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    SPKI_DER_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    spki_der: bytes
    def __init__(self, key_id: _Optional[str] = ..., spki_der: _Optional[bytes] = ...) -> None: ...

class CrlSet(_message.Message):
    __slots__ = ("crls", "only_http")
    CRLS_FIELD_NUMBER: _ClassVar[int]
    ONLY_HTTP_FIELD_NUMBER: _ClassVar[int]
    crls: _containers.RepeatedCompositeFieldContainer[SignedCrl]
    only_http: bool
    def __init__(self, crls: _Optional[_Iterable[_Union[SignedCrl, _Mapping]]] = ..., only_http: bool = ...) -> None: ...

class SignedCrl(_message.Message):
    __slots__ = ("authority_id", "der", "next_update")
    AUTHORITY_ID_FIELD_NUMBER: _ClassVar[int]
    DER_FIELD_NUMBER: _ClassVar[int]
    NEXT_UPDATE_FIELD_NUMBER: _ClassVar[int]
    authority_id: str
    der: bytes
    next_update: int
    def __init__(self, authority_id: _Optional[str] = ..., der: _Optional[bytes] = ..., next_update: _Optional[int] = ...) -> None: ...

class TaintSet(_message.Message):
    __slots__ = ("authorities",)
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    authorities: _containers.RepeatedCompositeFieldContainer[TaintedAuthority]
    def __init__(self, authorities: _Optional[_Iterable[_Union[TaintedAuthority, _Mapping]]] = ...) -> None: ...

class TaintedAuthority(_message.Message):
    __slots__ = ("authority_id", "subject_key_id", "window_seconds", "tainted_at")
    AUTHORITY_ID_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_KEY_ID_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TAINTED_AT_FIELD_NUMBER: _ClassVar[int]
    authority_id: str
    subject_key_id: bytes
    window_seconds: int
    tainted_at: int
    def __init__(self, authority_id: _Optional[str] = ..., subject_key_id: _Optional[bytes] = ..., window_seconds: _Optional[int] = ..., tainted_at: _Optional[int] = ...) -> None: ...

class RenewNow(_message.Message):
    __slots__ = ("own_certificate", "items")
    OWN_CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    own_certificate: bool
    items: _containers.RepeatedCompositeFieldContainer[RenewNowItem]
    def __init__(self, own_certificate: bool = ..., items: _Optional[_Iterable[_Union[RenewNowItem, _Mapping]]] = ...) -> None: ...

class RenewNowItem(_message.Message):
    __slots__ = ("authority_id", "certificates")
    AUTHORITY_ID_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    authority_id: str
    certificates: int
    def __init__(self, authority_id: _Optional[str] = ..., certificates: _Optional[int] = ...) -> None: ...

class Replacements(_message.Message):
    __slots__ = ("certificates", "window_seconds", "cursor", "more")
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    WINDOW_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    certificates: _containers.RepeatedCompositeFieldContainer[DueCertificate]
    window_seconds: int
    cursor: str
    more: bool
    def __init__(self, certificates: _Optional[_Iterable[_Union[DueCertificate, _Mapping]]] = ..., window_seconds: _Optional[int] = ..., cursor: _Optional[str] = ..., more: bool = ...) -> None: ...

class DueCertificate(_message.Message):
    __slots__ = ("serial", "spiffe_id", "dns_names", "ips", "delegation_id", "why", "reason", "since", "not_after", "replaced_by")
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    IPS_FIELD_NUMBER: _ClassVar[int]
    DELEGATION_ID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    REPLACED_BY_FIELD_NUMBER: _ClassVar[int]
    serial: str
    spiffe_id: str
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    ips: _containers.RepeatedScalarFieldContainer[str]
    delegation_id: str
    why: str
    reason: str
    since: int
    not_after: int
    replaced_by: str
    def __init__(self, serial: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., dns_names: _Optional[_Iterable[str]] = ..., ips: _Optional[_Iterable[str]] = ..., delegation_id: _Optional[str] = ..., why: _Optional[str] = ..., reason: _Optional[str] = ..., since: _Optional[int] = ..., not_after: _Optional[int] = ..., replaced_by: _Optional[str] = ...) -> None: ...

class ExchangeEabKeyRequest(_message.Message):
    __slots__ = ("dns_names", "ips", "profile")
    DNS_NAMES_FIELD_NUMBER: _ClassVar[int]
    IPS_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    dns_names: _containers.RepeatedScalarFieldContainer[str]
    ips: _containers.RepeatedScalarFieldContainer[str]
    profile: str
    def __init__(self, dns_names: _Optional[_Iterable[str]] = ..., ips: _Optional[_Iterable[str]] = ..., profile: _Optional[str] = ...) -> None: ...

class ExchangeEabKeyResponse(_message.Message):
    __slots__ = ("key_id", "mac_key", "directory_url", "expires_at", "tenant")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    MAC_KEY_FIELD_NUMBER: _ClassVar[int]
    DIRECTORY_URL_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    mac_key: bytes
    directory_url: str
    expires_at: int
    tenant: str
    def __init__(self, key_id: _Optional[str] = ..., mac_key: _Optional[bytes] = ..., directory_url: _Optional[str] = ..., expires_at: _Optional[int] = ..., tenant: _Optional[str] = ...) -> None: ...

class GetDelegationRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DelegationView(_message.Message):
    __slots__ = ("delegation_ids", "patterns", "max_ttl_seconds", "key_types", "names")
    DELEGATION_IDS_FIELD_NUMBER: _ClassVar[int]
    PATTERNS_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KEY_TYPES_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    delegation_ids: _containers.RepeatedScalarFieldContainer[str]
    patterns: _containers.RepeatedScalarFieldContainer[str]
    max_ttl_seconds: int
    key_types: _containers.RepeatedScalarFieldContainer[str]
    names: _containers.RepeatedCompositeFieldContainer[NamesDelegation]
    def __init__(self, delegation_ids: _Optional[_Iterable[str]] = ..., patterns: _Optional[_Iterable[str]] = ..., max_ttl_seconds: _Optional[int] = ..., key_types: _Optional[_Iterable[str]] = ..., names: _Optional[_Iterable[_Union[NamesDelegation, _Mapping]]] = ...) -> None: ...

class NamesDelegation(_message.Message):
    __slots__ = ("delegation_id", "profile", "dns_patterns", "ip_ranges", "wildcards", "max_ttl_seconds", "key_types")
    DELEGATION_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    DNS_PATTERNS_FIELD_NUMBER: _ClassVar[int]
    IP_RANGES_FIELD_NUMBER: _ClassVar[int]
    WILDCARDS_FIELD_NUMBER: _ClassVar[int]
    MAX_TTL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KEY_TYPES_FIELD_NUMBER: _ClassVar[int]
    delegation_id: str
    profile: str
    dns_patterns: _containers.RepeatedScalarFieldContainer[str]
    ip_ranges: _containers.RepeatedScalarFieldContainer[str]
    wildcards: bool
    max_ttl_seconds: int
    key_types: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, delegation_id: _Optional[str] = ..., profile: _Optional[str] = ..., dns_patterns: _Optional[_Iterable[str]] = ..., ip_ranges: _Optional[_Iterable[str]] = ..., wildcards: bool = ..., max_ttl_seconds: _Optional[int] = ..., key_types: _Optional[_Iterable[str]] = ...) -> None: ...
