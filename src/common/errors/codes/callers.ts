import { caller, type CodeInfo } from './code-info.ts';

/** Codes of who calls, and of revocation. */
export const callerCodes = {
  // authentication and admission
  UNAUTHENTICATED: caller(
    'UNAUTHENTICATED',
    'The caller presented no certificate that this CA knows as current.',
    'Connect with a certificate that this CA issued and that has not expired.',
  ),
  CERTIFICATE_EXPIRED: caller(
    'UNAUTHENTICATED',
    'The certificate has ended.',
    'Renew the certificate and connect again. If it was renewed, compare the clocks of both ' +
      'machines (date -u): a clock that is ahead sees it as ended.',
  ),
  CERTIFICATE_NOT_YET_VALID: caller(
    'UNAUTHENTICATED',
    'The certificate begins later than now.',
    'Compare the clocks of both machines (date -u), and set the wrong one right. If both ' +
      'are right, wait until the certificate begins.',
  ),
  CERTIFICATE_REVOKED: caller(
    'UNAUTHENTICATED',
    'The certificate is revoked.',
    'This certificate was revoked by an administrator; "meshca certificate show SERIAL" says when and why.',
  ),
  REVOCATION_UNKNOWN: caller(
    'UNAUTHENTICATED',
    'Whether the certificate is revoked can not be told.',
    'A current CRL is missing for an authority of this chain, so that CRL checking admits ' +
      'nobody of it: see whether the agent has a connection and the CA publishes its CRLs.',
  ),
  REVOCATION_NOT_POSSIBLE: caller(
    'FAILED_PRECONDITION',
    'The certificate is that of an agent, of the server or of an authority, or was never signed.',
    'End an agent with "meshca agent ban", and an authority with "meshca authority revoke"; the message says when the certificate ends.',
  ),
  CRL_INVALID: caller(
    'INVALID_ARGUMENT',
    'The bytes are no CRL that this CA can take in.',
    'Send a complete CRL (v2, DER) with nextUpdate, AuthorityKeyIdentifier and CRL number.',
  ),
  CRL_ISSUER_UNKNOWN: caller(
    'FAILED_PRECONDITION',
    'The CRL is not of an authority whose CRL is brought in from outside.',
    'Bring in the CRL of a root or intermediate of others that is on record here: "meshca ' +
      'authority status" names those that lack one.',
  ),
  CRL_NOT_NEWER: caller(
    'FAILED_PRECONDITION',
    'A CRL of the same authority that is as new or newer is here.',
    'Fetch the present CRL from its authority: its number must be higher than that of the CRL which is here.',
  ),
  CRL_NOT_CURRENT: caller(
    'FAILED_PRECONDITION',
    'The CRL is not valid at this time.',
    'Have its authority sign a new CRL, or compare the clocks: it is valid at another time than now.',
  ),
  CERTIFICATE_UNKNOWN: caller(
    'UNAUTHENTICATED',
    'The presented certificate is not on record here.',
    'The certificate is not in the inventory of this CA; attest again.',
  ),
  CALLER_NOT_ADMITTED: caller(
    'PERMISSION_DENIED',
    'The method is for callers of another class.',
    'Call with the certificate of a class that the message names, or ask an administrator for the call.',
  ),
  ROLE_MISSING: caller(
    'PERMISSION_DENIED',
    'The administrator has no role that allows this.',
    'Ask an administrator for a role with the verb and the SPIFFE ID prefix that the message names.',
  ),
  DOWNSTREAM_NOT_ALLOWED: caller(
    'PERMISSION_DENIED',
    'The identity may not obtain a CA certificate.',
    'An SVID makes a downstream CA only while it comes from an entry with the downstream ' +
      'flag, under an agent in good standing: ask an administrator (meshca entry update ' +
      '--downstream).',
  ),
  AGENT_BANNED: caller(
    'PERMISSION_DENIED',
    'An administrator banned this agent.',
    'This agent is banned; an administrator must evict it before the node can attest again.',
  ),
  AGENT_EVICTED: caller(
    'PERMISSION_DENIED',
    'An administrator evicted this agent.',
    'This agent was evicted; attest again with a new join token or certificate.',
  ),
  AGENT_SUPERSEDED: caller(
    'ABORTED',
    'A newer session or certificate of this agent is in use.',
    'Another process uses this identity: a copy of the data directory, or a snapshot put ' +
      'back. "meshca agent show ID" tells which; end the wrong one. If this node is the right ' +
      'one: meshca agent evict ID, then let it attest again.',
  ),
  AGENT_DOUBLED: caller(
    'ABORTED',
    'Another living process uses the same certificate of this agent.',
    'Stop the process that is wrong: "meshca agent show ID" names both with their ' +
      'addresses. To decide at the server: meshca agent keep ID --instance INSTANCE.',
  ),
  AUTHORITY_IN_USE: caller(
    'FAILED_PRECONDITION',
    'Certificates of the authority may still be valid.',
    'Taint it and let its leaves be replaced, or wait until the time that the message ' +
      'names; --force with a reason goes on at once.',
  ),
  AUTHORITY_TAINTED: caller(
    'UNAVAILABLE',
    'The authority was withdrawn while it signed.',
    'The issuing authority was withdrawn meanwhile; retry, another one signs.',
  ),
} as const satisfies Record<string, CodeInfo>;
