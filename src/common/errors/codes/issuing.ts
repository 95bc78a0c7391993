import { caller, operator, type CodeInfo } from './code-info.ts';

/** Codes of attestation, entries and issuing. */
export const issuingCodes = {
  // node attestation
  JOIN_TOKEN_INVALID: caller(
    'PERMISSION_DENIED',
    'The join token gives no right to join.',
    'Create a new token (meshca token create): this one is unknown, expired, or used with another key.',
  ),
  ATTESTATION_FAILED: caller(
    'PERMISSION_DENIED',
    'The node could not prove what it claims to be.',
    'Check the credential that the message names. Of a node certificate these count: its ' +
      'end, its key, and the CA that the server knows (attestation.x509pop.caFile).',
  ),
  RENEWAL_GRACE_EXCEEDED: caller(
    'PERMISSION_DENIED',
    'The agent was away for longer than its old key counts.',
    'The last SVID expired too long ago; attest again with a new join token or certificate.',
  ),
  SERVER_UNTRUSTED: caller(
    'UNAUTHENTICATED',
    'The server did not prove that it is the CA that the agent was told to trust.',
    'Compare the bundle file or fingerprint that the agent was given with what "meshca ' +
      'token create" on the server prints. If they agree, find out who answers at the address.',
  ),

  // issuing
  ENTRY_NOT_AUTHORIZED: caller(
    'PERMISSION_DENIED',
    'No entry gives this identity to this agent.',
    'No registration entry gives this identity to this agent; see "meshca entry list".',
  ),
  POLICY_DENIED: caller(
    'PERMISSION_DENIED',
    'The policy of this CA does not allow what was asked for.',
    'Ask for what the policy allows, or give the ID of the refusal to the operator of the ' +
      'CA: "meshca policy explain ID" says which rule decided, and why.',
  ),
  POLICY_FAILED: caller(
    'PERMISSION_DENIED',
    'A rule of the policy could not be decided, so the request is denied.',
    'Have the operator of the CA mend the expression of the rule that the message names, ' +
      'and activate the policy again.',
  ),
  POLICY_QUOTA_USED: caller(
    'RESOURCE_EXHAUSTED',
    'The quota of a rule of the policy is used up.',
    'Ask again when the next place is free, which the message tells, or have the operator of the CA change the quota.',
  ),
  POLICY_INVALID: caller(
    'INVALID_ARGUMENT',
    'The file of a policy, or of the cases that test one, has faults.',
    'Mend what the message names, and run "meshca policy check FILE".',
  ),
  POLICY_TEST_FAILED: caller(
    'FAILED_PRECONDITION',
    'The policy decides a case otherwise than the file of cases expects.',
    'See with "meshca policy test FILE --cases CASES" which rule decided each case, then mend the rule or the case.',
  ),
  POLICY_CHANGED: caller(
    'ABORTED',
    'The policy of this CA changed while the certificate was signed.',
    'Ask again: the request is then decided by the present policy.',
  ),
  ENTRY_CHANGED: caller(
    'ABORTED',
    'The entry behind the certificate changed while it was signed.',
    'The entry changed while the certificate was being signed; ask again.',
  ),
  TTL_OUT_OF_RANGE: caller(
    'INVALID_ARGUMENT',
    'The lifetime is shorter or longer than allowed.',
    'Ask for a lifetime inside the limits that the message names.',
  ),
  ISSUER_LIFETIME: caller(
    'FAILED_PRECONDITION',
    'The certificate would outlive its issuer.',
    'The issuing authority does not live long enough for this lifetime; ask for less, or rotate the authority.',
  ),
  ISSUER_ENDED: caller(
    'UNAVAILABLE',
    'The authority that would sign has ended.',
    'The CA signs nothing until its operator rotates the authority: "meshca status" names the command.',
  ),
  OUTSIDE_DELEGATION: caller(
    'PERMISSION_DENIED',
    'The identity lies outside of what is delegated to the caller.',
    'Ask for an identity inside your delegation; see "meshca delegation list".',
  ),
  LINT_FAILED: operator(
    'INTERNAL',
    'A certificate failed our own check before it was signed.',
    'The certificate would have broken its profile; report this as a defect with the message.',
  ),
  NO_ISSUER: caller(
    'UNAVAILABLE',
    'There is no authority that can sign.',
    'No authority is active; see "meshca authority list" and "meshca status". Where another ' +
      'CA certifies ours: "meshca authority csr --kind issuing", have it signed, "meshca ' +
      'authority import ID --chain FILE".',
  ),
  AUTHORITY_UNFIT: caller(
    'FAILED_PRECONDITION',
    'The certificate can not serve as an authority of ours.',
    'Have the certificate made again with the property that the message names; the key and its CSR stay as they are.',
  ),
  CERTIFICATE_KEY_MISMATCH: caller(
    'FAILED_PRECONDITION',
    'The certificate holds another key than the one that it was asked for.',
    'Take the certificate that was made for the CSR of this very authority: "meshca ' +
      'authority csr --id ID" prints it again.',
  ),
  WITHHELD: caller(
    'ABORTED',
    'The certificate was signed, and the right to it had ended by then.',
    'The certificate is on record and was not released. Ask again: the answer then says which right is missing.',
  ),

  // workload attestation
  NO_IDENTITY: caller(
    'PERMISSION_DENIED',
    'No entry matches the process that asks.',
    'Give the refusal ID to an operator of this node: "meshca explain --refusal ID" tells which entries came closest.',
  ),
  SECRET_NAME_INVALID: caller(
    'INVALID_ARGUMENT',
    'The proxy asks for a secret under a name that no entry can grant.',
    'Ask for "default", "ROOTCA" or "ALL" (or the names that this agent has for them), a ' +
      'SPIFFE ID outside of /meshca/, or the ID of a trust domain.',
  ),
  SECRET_NOT_GRANTED: caller(
    'PERMISSION_DENIED',
    'No entry grants the proxy the secret that it asks for.',
    'Create an entry that gives this identity to the proxy, or ask for one of the names that the message lists.',
  ),
  PEER_UNVERIFIABLE: caller(
    'PERMISSION_DENIED',
    'Who is calling on the socket could not be proven.',
    'The kernel could not prove who is calling (process gone, replaced, or with mixed user ' +
      'IDs); connect from the process that needs the identity.',
  ),
  SECURITY_HEADER_MISSING: caller(
    'INVALID_ARGUMENT',
    'The call has no security header of the Workload API.',
    'Send the metadata "workload.spiffe.io: true" with the call.',
  ),
  NOT_SYNCED: caller(
    'UNAVAILABLE',
    'The agent does not know its entries yet.',
    'Retry in a moment: the agent has not received its entries yet.',
  ),

  // registration
  SELECTOR_INVALID: caller(
    'INVALID_ARGUMENT',
    'The text is no selector.',
    'Write a selector as type:value, for example unix:uid:1000.',
  ),
  SELECTORS_WEAK: caller(
    'FAILED_PRECONDITION',
    'The selectors could match a process that they should not.',
    'Path and hash alone do not identify a process; add uid, user or group, or set allowWeakSelectors.',
  ),
  TEMPLATE_INVALID: caller(
    'INVALID_ARGUMENT',
    'The SPIFFE ID of the entry is no valid template.',
    'A placeholder is {type.key} as a whole segment or part of one, each with its allowed values.',
  ),
  PARENT_INVALID: caller(
    'INVALID_ARGUMENT',
    'The parent ID names nothing that can have entries.',
    'The parent is an agent ID, a node set, or the server ID for a node set.',
  ),
} as const satisfies Record<string, CodeInfo>;
