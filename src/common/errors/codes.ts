/**
 * The closed table of error codes. A code is stable: it may be added, never renamed or given
 * another meaning.
 *
 * - `status`: the gRPC status a caller sees (names of google.rpc.Code).
 * - `audience`: `caller` may be shown to whoever made the request; `operator` is shown to
 *   administrators and logs only, an outsider sees `INTERNAL` with a request ID in its place.
 * - `next`: what the reader should do now.
 */
export interface CodeInfo {
  readonly status: StatusName;
  readonly audience: 'caller' | 'operator';
  readonly next: string;
}

export type StatusName =
  | 'CANCELLED'
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS'
  | 'UNAUTHENTICATED';

const caller = (status: StatusName, next: string): CodeInfo => ({
  status,
  audience: 'caller',
  next,
});
const operator = (status: StatusName, next: string): CodeInfo => ({
  status,
  audience: 'operator',
  next,
});

export const codes = {
  // general
  INTERNAL: caller(
    'INTERNAL',
    'Retry; if it persists give the request ID to the operator of the CA, who finds the cause in the server log.',
  ),
  INVALID_REQUEST: caller(
    'INVALID_ARGUMENT',
    'Correct the field that the message names and send the request again.',
  ),
  REQUEST_TOO_LARGE: caller(
    'RESOURCE_EXHAUSTED',
    'Split the request: the message names the limit.',
  ),
  RATE_LIMITED: caller(
    'RESOURCE_EXHAUSTED',
    'Wait for the time that the message names, then retry; ask the operator to raise the limit if this load is intended.',
  ),
  OVERLOADED: caller(
    'UNAVAILABLE',
    'Retry with backoff; the server is at one of its concurrency limits.',
  ),
  DEADLINE_EXCEEDED: caller(
    'DEADLINE_EXCEEDED',
    'Retry; the server gave up on this call after its maximum duration.',
  ),
  CANCELLED: caller('CANCELLED', 'The caller cancelled the request.'),
  SHUTTING_DOWN: caller('UNAVAILABLE', 'Reconnect: the process is shutting down.'),
  STARTING_UP: caller('UNAVAILABLE', 'Retry in a moment: the process is starting up.'),
  NOT_IMPLEMENTED: caller(
    'UNIMPLEMENTED',
    'This release does not offer the method; see CHANGELOG.md.',
  ),
  NOT_FOUND: caller('NOT_FOUND', 'List the objects of this kind and check the ID.'),
  ALREADY_EXISTS: caller('ALREADY_EXISTS', 'Update the existing object, or choose another name.'),
  CONFLICT: caller(
    'ABORTED',
    'Read the object again and repeat the change on its present version.',
  ),
  OUTPUT_FAILED: caller(
    'FAILED_PRECONDITION',
    'Make room on the disk that the message names, or name a file elsewhere, and run the command again.',
  ),

  // spiffe
  SPIFFE_ID_INVALID: caller(
    'INVALID_ARGUMENT',
    'Use spiffe://<trust domain>/<path> with segments of [A-Za-z0-9._-], no empty, "." or ".." segment, at most 2048 bytes.',
  ),
  TRUST_DOMAIN_INVALID: caller('INVALID_ARGUMENT', 'Use at most 255 characters of [a-z0-9._-].'),
  TRUST_DOMAIN_FOREIGN: caller('INVALID_ARGUMENT', 'Use an ID inside the trust domain of this CA.'),
  SPIFFE_ID_RESERVED: caller(
    'PERMISSION_DENIED',
    'IDs below /meshca/ belong to the CA itself; choose another path.',
  ),
  PATTERN_INVALID: caller(
    'INVALID_ARGUMENT',
    'A pattern is a SPIFFE ID where "*" stands for one whole segment and only a trailing "/**" crosses segments.',
  ),
  DNS_NAME_INVALID: caller(
    'INVALID_ARGUMENT',
    'Use a lower-case DNS name of at most 253 characters, without wildcard.',
  ),
  DNS_NAME_RESERVED: caller(
    'PERMISSION_DENIED',
    'This DNS name belongs to the CA itself; choose another.',
  ),

  // keys and CSRs
  CSR_MALFORMED: caller(
    'INVALID_ARGUMENT',
    'Send a PKCS#10 request in strict DER (RFC 2986), without trailing bytes.',
  ),
  CSR_SIGNATURE_INVALID: caller(
    'INVALID_ARGUMENT',
    'Sign the request with the private key that belongs to the public key in it.',
  ),
  CSR_IDENTITY_MISMATCH: caller(
    'PERMISSION_DENIED',
    'Leave subject and SAN out of the request, or state the identity that you are authenticated as.',
  ),
  KEY_UNSUPPORTED: caller(
    'INVALID_ARGUMENT',
    'Use EC P-256 or P-384, or RSA of 2048, 3072 or 4096 bits with exponent 65537.',
  ),
  KEY_WEAK: caller(
    'INVALID_ARGUMENT',
    'Generate a new key: this one fails the check that the message names.',
  ),
  KEY_RESERVED: caller(
    'PERMISSION_DENIED',
    'Generate a key of your own: this one belongs to an authority.',
  ),
  CERTIFICATE_MALFORMED: caller('INVALID_ARGUMENT', 'Send an X.509 certificate in DER.'),
  SVID_INVALID: caller(
    'INVALID_ARGUMENT',
    'The certificate breaks the rule of the X.509-SVID specification that the message names.',
  ),
  CHAIN_UNTRUSTED: caller(
    'UNAUTHENTICATED',
    'The chain does not lead to an authority in the bundle of its trust domain; check which bundle you hold.',
  ),
  JWT_INVALID: caller(
    'INVALID_ARGUMENT',
    'The token breaks the rule of the JWT-SVID specification that the message names.',
  ),

  // authentication and admission
  UNAUTHENTICATED: caller(
    'UNAUTHENTICATED',
    'Connect with a certificate that this CA issued and that has not expired.',
  ),
  CERTIFICATE_EXPIRED: caller('UNAUTHENTICATED', 'Renew the certificate and connect again.'),
  CERTIFICATE_NOT_YET_VALID: caller(
    'UNAUTHENTICATED',
    'Compare the clocks of both machines: the certificate begins later than now.',
  ),
  CERTIFICATE_REVOKED: caller(
    'UNAUTHENTICATED',
    'This certificate was revoked by an administrator; "meshca certificate show SERIAL" says when and why.',
  ),
  REVOCATION_UNKNOWN: caller(
    'UNAUTHENTICATED',
    'A current CRL is missing for an authority of this chain, so that CRL checking admits nobody of it: see whether the agent has a connection and the CA publishes its CRLs.',
  ),
  REVOCATION_NOT_POSSIBLE: caller(
    'FAILED_PRECONDITION',
    'Refuse its renewal: "meshca agent ban" or "meshca entry delete"; the message says when the certificate ends.',
  ),
  CRL_INVALID: caller(
    'INVALID_ARGUMENT',
    'Send a complete CRL (v2, DER) with nextUpdate, AuthorityKeyIdentifier and CRL number.',
  ),
  CRL_ISSUER_UNKNOWN: caller(
    'FAILED_PRECONDITION',
    'Bring in the CRL of a root or intermediate of others that is on record here: "meshca authority status" names those that lack one.',
  ),
  CRL_NOT_NEWER: caller(
    'FAILED_PRECONDITION',
    'Fetch the present CRL from its authority: its number must be higher than that of the CRL which is here.',
  ),
  CRL_NOT_CURRENT: caller(
    'FAILED_PRECONDITION',
    'Have its authority sign a new CRL, or compare the clocks: it is valid at another time than now.',
  ),
  CERTIFICATE_UNKNOWN: caller(
    'UNAUTHENTICATED',
    'The certificate is not in the inventory of this CA; attest again.',
  ),
  CALLER_NOT_ADMITTED: caller(
    'PERMISSION_DENIED',
    'This call is not open to your class of caller; the message names the classes that it admits.',
  ),
  ROLE_MISSING: caller(
    'PERMISSION_DENIED',
    'Ask an administrator for a role with the verb and the SPIFFE ID prefix that the message names.',
  ),
  DOWNSTREAM_NOT_ALLOWED: caller(
    'PERMISSION_DENIED',
    'An SVID makes a downstream CA only while it comes from an entry with the downstream flag, under an agent in good standing: ask an administrator (meshca entry update --downstream).',
  ),
  AGENT_BANNED: caller(
    'PERMISSION_DENIED',
    'This agent is banned; an administrator must evict it before the node can attest again.',
  ),
  AGENT_EVICTED: caller(
    'PERMISSION_DENIED',
    'This agent was evicted; attest again with a new join token or certificate.',
  ),
  AGENT_SUPERSEDED: caller(
    'ABORTED',
    'A newer session of the same agent took over; if that was not you, ban the agent.',
  ),
  AUTHORITY_IN_USE: caller(
    'FAILED_PRECONDITION',
    'Taint it and let its leaves be replaced, or wait until the time that the message names; --force with a reason goes on at once.',
  ),
  AUTHORITY_TAINTED: caller(
    'UNAVAILABLE',
    'The issuing authority was withdrawn meanwhile; retry, another one signs.',
  ),

  // node attestation
  JOIN_TOKEN_INVALID: caller(
    'PERMISSION_DENIED',
    'Create a new token (meshca token create): this one is unknown, expired, or used with another key.',
  ),
  ATTESTATION_FAILED: caller('PERMISSION_DENIED', 'Check the credential that the message names.'),
  RENEWAL_GRACE_EXCEEDED: caller(
    'PERMISSION_DENIED',
    'The last SVID expired too long ago; attest again with a new join token or certificate.',
  ),
  SERVER_UNTRUSTED: caller(
    'UNAUTHENTICATED',
    'Check the bundle file or fingerprint that the agent was given: the server did not prove to be this CA.',
  ),

  // issuing
  ENTRY_NOT_AUTHORIZED: caller(
    'PERMISSION_DENIED',
    'No registration entry gives this identity to this agent; see "meshca entry list".',
  ),
  ENTRY_CHANGED: caller(
    'ABORTED',
    'The entry changed while the certificate was being signed; ask again.',
  ),
  TTL_OUT_OF_RANGE: caller(
    'INVALID_ARGUMENT',
    'Ask for a lifetime inside the limits that the message names.',
  ),
  ISSUER_LIFETIME: caller(
    'FAILED_PRECONDITION',
    'The issuing authority does not live long enough for this lifetime; ask for less, or rotate the authority.',
  ),
  OUTSIDE_DELEGATION: caller(
    'PERMISSION_DENIED',
    'Ask for an identity inside your delegation; see "meshca delegation list".',
  ),
  LINT_FAILED: operator(
    'INTERNAL',
    'The certificate would have broken its profile; report this as a defect with the message.',
  ),
  NO_ISSUER: caller(
    'UNAVAILABLE',
    'No authority is active; see "meshca authority list" and "meshca status". Where another CA certifies ours: "meshca authority csr --kind issuing", have it signed, "meshca authority import ID --chain FILE".',
  ),
  AUTHORITY_UNFIT: caller(
    'FAILED_PRECONDITION',
    'Have the certificate made again with the property that the message names; the key and its CSR stay as they are.',
  ),
  CERTIFICATE_KEY_MISMATCH: caller(
    'FAILED_PRECONDITION',
    'Take the certificate that was made for the CSR of this very authority: "meshca authority csr --id ID" prints it again.',
  ),
  WITHHELD: caller(
    'ABORTED',
    'A right ended while the certificate was being signed; it was recorded and not released.',
  ),

  // workload attestation
  NO_IDENTITY: caller(
    'PERMISSION_DENIED',
    'Give the refusal ID to an operator of this node: "meshca explain --refusal ID" tells which entries came closest.',
  ),
  PEER_UNVERIFIABLE: caller(
    'PERMISSION_DENIED',
    'The kernel could not prove who is calling (process gone, replaced, or with mixed user IDs); connect from the process that needs the identity.',
  ),
  SECURITY_HEADER_MISSING: caller(
    'INVALID_ARGUMENT',
    'Send the metadata "workload.spiffe.io: true" with the call.',
  ),
  NOT_SYNCED: caller(
    'UNAVAILABLE',
    'Retry in a moment: the agent has not received its entries yet.',
  ),

  // registration
  SELECTOR_INVALID: caller(
    'INVALID_ARGUMENT',
    'Write a selector as type:value, for example unix:uid:1000.',
  ),
  SELECTORS_WEAK: caller(
    'FAILED_PRECONDITION',
    'Path and hash alone do not identify a process; add uid, user or group, or set allowWeakSelectors.',
  ),
  TEMPLATE_INVALID: caller(
    'INVALID_ARGUMENT',
    'A placeholder is {type.key} as a whole segment or part of one, each with its allowed values.',
  ),
  PARENT_INVALID: caller(
    'INVALID_ARGUMENT',
    'The parent is an agent ID, a node set, or the server ID for a node set.',
  ),

  // hsm
  HSM_UNAVAILABLE: caller(
    'UNAVAILABLE',
    'Retry with backoff: the token does not answer, the server is recovering its signers.',
  ),
  HSM_MODULE_MISSING: operator(
    'FAILED_PRECONDITION',
    'Check hsm.module: install the PKCS#11 module (softhsm2 in development) or correct its path.',
  ),
  HSM_TOKEN_NOT_FOUND: operator(
    'FAILED_PRECONDITION',
    'Check the token label; "softhsm2-util --show-slots" or "pkcs11-tool -L" lists the labels. SoftHSM needs its configuration file named as softhsmConf: SOFTHSM2_CONF is not passed on.',
  ),
  HSM_PIN_WRONG: operator(
    'FAILED_PRECONDITION',
    'Correct the PIN file or variable; it was tried once and is not tried again, so that the token does not lock.',
  ),
  HSM_PIN_LOCKED: operator(
    'FAILED_PRECONDITION',
    'Unlock the token with its security officer PIN.',
  ),
  HSM_PIN_MISSING: operator(
    'FAILED_PRECONDITION',
    'Set the PIN file or the PIN environment variable that the message names.',
  ),
  HSM_PIN_FILE_OPEN: operator(
    'FAILED_PRECONDITION',
    'Take the right to write from group and others (chmod 0600), and see who changed the file.',
  ),
  HSM_KEY_NOT_FOUND: operator(
    'FAILED_PRECONDITION',
    'The database names a key that the token does not hold; connect the token that belongs to this database.',
  ),
  HSM_KEY_UNFIT: operator(
    'FAILED_PRECONDITION',
    'The key was not created in this token as non-extractable; only such keys may sign.',
  ),
  HSM_SIGNATURE_INVALID: operator(
    'INTERNAL',
    'The token returned a signature that does not verify. Signing has stopped; check the token before restarting.',
  ),
  HSM_FAILED: operator('UNAVAILABLE', 'See the CKR code in the message and the log of the token.'),

  // ceremony
  PLAN_INVALID: operator(
    'INVALID_ARGUMENT',
    'Correct the key of the plan that the message names; docs/ceremony.md lists all keys.',
  ),
  CSR_DIGEST_MISMATCH: operator(
    'FAILED_PRECONDITION',
    'The CSR is not the one that the plan was written for: fetch it again from the server, and compare its SHA-256 over a second channel.',
  ),
  CEREMONY_DECLINED: operator(
    'FAILED_PRECONDITION',
    'Nothing was signed. Run it again and answer "yes", or give --yes where nobody sits at a terminal.',
  ),
  TRANSCRIPT_INVALID: operator(
    'DATA_LOSS',
    'The transcript was changed or is incomplete after the record that the message names; take the archived copy.',
  ),

  // upstream
  UPSTREAM_UNAVAILABLE: operator(
    'UNAVAILABLE',
    'Check that Vault or OpenBao runs and that authorities.upstream.address and caFile are right; it is asked again by itself, and issuing goes on meanwhile.',
  ),
  UPSTREAM_SEALED: operator(
    'UNAVAILABLE',
    'Unseal Vault or OpenBao; it is asked again by itself, and issuing goes on meanwhile.',
  ),
  UPSTREAM_DENIED: operator(
    'FAILED_PRECONDITION',
    'Give the credential of authorities.upstream.auth a policy with "update" on the path that the message names, or correct the credential.',
  ),
  UPSTREAM_TTL: operator(
    'FAILED_PRECONDITION',
    'Raise max_lease_ttl of the PKI mount, renew its root, or lower authorities.upstream.ttlDays.',
  ),
  UPSTREAM_INVALID: operator(
    'FAILED_PRECONDITION',
    'Check mount, issuer and paths below authorities.upstream: Vault or OpenBao answered, but not with what was asked for.',
  ),

  // store and start
  STORE_LOCKED: operator(
    'FAILED_PRECONDITION',
    'Another server uses this database; stop it first, or give this one a database of its own.',
  ),
  STORE_CORRUPT: operator(
    'DATA_LOSS',
    'Restore the database from a backup; the message names the table.',
  ),
  STORE_TOO_NEW: operator(
    'FAILED_PRECONDITION',
    'The database was migrated by a later release; run that release.',
  ),
  STORE_FAILED: operator('UNAVAILABLE', 'Check disk space and the file that the message names.'),
  TOKEN_FOREIGN: operator(
    'FAILED_PRECONDITION',
    'The token holds keys of another database or trust domain: connect the right database, or use a new token.',
  ),
  TRUST_DOMAIN_CHANGED: operator(
    'FAILED_PRECONDITION',
    'The database belongs to another trust domain: set it back, or use a new database and token.',
  ),
  CONFIG_INVALID: operator(
    'INVALID_ARGUMENT',
    'Correct the key that the message names; "meshca validate" checks a file without starting.',
  ),
  SOCKET_IN_USE: operator(
    'FAILED_PRECONDITION',
    'Another process listens there; stop it or choose another path.',
  ),

  // dual control
  APPROVAL_REQUIRED: caller(
    'FAILED_PRECONDITION',
    'Have the operation approved: "meshca approval show ID" shows what would happen, "meshca approval sign ID --ssh-key ~/.ssh/id_ed25519" approves it.',
  ),
  APPROVAL_NOT_OPEN: caller(
    'FAILED_PRECONDITION',
    'The operation is over or void, as the message says. If it is still wanted, make the call again: that proposes a new one.',
  ),
  APPROVAL_NOT_COUNTED: caller(
    'PERMISSION_DENIED',
    'An approval takes the SSH key of an approver of the policy in force ("meshca dual-control show") who did not propose the operation himself and has not approved it yet.',
  ),
  APPROVAL_POLICY_INVALID: caller(
    'INVALID_ARGUMENT',
    'Correct the policy as the message says: at least two approvers must be asked for, each with a name and a key of his own.',
  ),
  SSH_KEY_INVALID: caller(
    'INVALID_ARGUMENT',
    'Give one line of a .pub file: ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa from 2048 bits on, or their security key forms.',
  ),
  SSH_SIGNATURE_INVALID: caller(
    'INVALID_ARGUMENT',
    'Sign the line that "meshca approval show ID" prints: ssh-keygen -Y sign -n meshca-approval@v1 -f KEY FILE.',
  ),

  // audit log
  CHECKPOINT_INVALID: caller(
    'INVALID_ARGUMENT',
    'Give a checkpoint (signed note) of this log and the public key of the log; see "meshca audit export".',
  ),
  AUDIT_INVALID: caller(
    'DATA_LOSS',
    'Keep the file and the database as they are: the log was altered. The message names the first record that is wrong.',
  ),
  EVIDENCE_INVALID: caller(
    'DATA_LOSS',
    'Keep the file and the database as they are: the list of who had confirmed was altered or taken away; the record of the activation stands, and says how many there were.',
  ),
  TREE_TRUNCATED: operator(
    'DATA_LOSS',
    'The database is older than, or another than, the log that was signed last: put the right one back, or use "meshca restore" if it comes from a backup.',
  ),
  OBJECT_NOT_IN_LOG: operator(
    'DATA_LOSS',
    'The object was changed past the server: compare it with "meshca audit search", then write it again through the API, or restore the database.',
  ),
  DATABASE_STALE: caller(
    'UNAVAILABLE',
    'The database was restored from a backup: an operator must look at the difference and accept it ("meshca restore accept").',
  ),
  LEASE_LOST: operator('ABORTED', 'Another server holds the lease now; nothing was changed.'),
  // agent
  STATE_CORRUPT: operator(
    'DATA_LOSS',
    'Move the file that the message names out of the state directory and attest again with a new join token or the node certificate.',
  ),
  STATE_LOCKED: operator(
    'FAILED_PRECONDITION',
    "Stop the other agent, or give each agent a data directory of its own (dataDir): two would take each other's identity.",
  ),
  STATE_UNUSABLE: operator(
    'FAILED_PRECONDITION',
    'Give the agent a state directory of its own that it may write, on a local file system.',
  ),
  BUNDLE_INVALID: caller(
    'INVALID_ARGUMENT',
    'Give a SPIFFE bundle document (JWKS) or the PEM certificates of the roots.',
  ),
  NODE_CREDENTIAL_MISSING: operator(
    'FAILED_PRECONDITION',
    'Configure a join token (meshca token create) or the certificate and key of the node: the agent has no identity yet.',
  ),

  // demonstration
  DEMO_RUNNING: operator(
    'FAILED_PRECONDITION',
    'Stop the other one with Ctrl-C in its terminal, or use another folder: MESHCA_HOME=/path npm start.',
  ),
  DEMO_HOME_GONE: operator(
    'FAILED_PRECONDITION',
    'Start it again: the folder is set up anew, with another trust. Everything that ran was ended.',
  ),
  DEMO_PART_FAILED: operator(
    'INTERNAL',
    'The lines above are the end of its log; the whole log is in the file that is named.',
  ),
  // client library
  ENDPOINT_INVALID: caller(
    'INVALID_ARGUMENT',
    'Use unix:///absolute/path or tcp://IP:port, in SPIFFE_ENDPOINT_SOCKET or in the options.',
  ),
  PEER_CERTIFICATE_MISSING: caller(
    'UNAUTHENTICATED',
    'The other side must present an X.509-SVID in the TLS handshake.',
  ),
  PEER_NOT_AUTHORIZED: caller(
    'PERMISSION_DENIED',
    'The other side is who it claims to be, but not whom this side admits; correct the authorizer or the address.',
  ),
  SESSION_RESUMED: caller(
    'UNAUTHENTICATED',
    'Connect with a full TLS handshake: a resumed session would skip the check of the certificate.',
  ),
  HANDSHAKE_FAILED: caller(
    'UNAVAILABLE',
    'Check that the other side speaks TLS 1.3 and presents an X.509-SVID; the message has the reason of the TLS library.',
  ),
  UNREACHABLE: caller(
    'UNAVAILABLE',
    'Check that the process runs and that the address or socket path is right.',
  ),
} as const satisfies Record<string, CodeInfo>;

export type ErrorCode = keyof typeof codes;

export const isErrorCode = (text: string): text is ErrorCode => Object.hasOwn(codes, text);
