import { done, row, type AdviceRow } from './row.ts';
import type { callerCodes } from '../../../src/common/errors/codes/callers.ts';

const crl = 'integration/issuance/sources/crl.test.ts';
const badCrl = 'what is no good CRL of theirs is refused with its code, and nothing is recorded';
const goodCrl =
  'with the last CRL the set is complete and published, and OpenSSL verifies a leaf with it';
const downstream = 'integration/services/issuing/downstream.test.ts';

export const callerAdvice = {
  UNAUTHENTICATED: row(
    'a caller without certificate calls what takes one',
    [
      'integration/server/authorisation.test.ts',
      "${path.split('.').at(-1)} ${admitted ? 'admits' : 'refuses'} ${caller}",
    ],
    done('calls with a certificate of this CA', 'the caller is admitted'),
  ),
  CERTIFICATE_EXPIRED: row(
    'a client connects with a certificate that has ended',
    [
      'integration/workload/tls.test.ts',
      'a session is never resumed, neither with a good certificate nor with one that expired meanwhile',
    ],
    done('renews and connects again', 'the connection goes on', [
      'integration/workload/rotation.test.ts',
      'both sides rotate under continuous HTTPS traffic and the root rolls over, with zero failures',
    ]),
  ),
  CERTIFICATE_NOT_YET_VALID: row(
    'a certificate is checked before it begins',
    ['unit/common/x509/svid.test.ts', 'treats both ends of the validity as inclusive'],
    done('sets the clock right', 'the certificate is valid'),
  ),
  CERTIFICATE_REVOKED: row(
    'an admin revokes the certificate of a workload that is connected',
    [
      'integration/server/revocation.test.ts',
      'CRLs reach workloads as a complete set, and a library that enforces them refuses a revoked peer',
    ],
    done('asks for the certificate by its serial', 'the answer says when and why'),
  ),
  REVOCATION_UNKNOWN: row(
    'the file with the CRL of the node CA is no CRL',
    [
      'integration/sidecar/agent-line.test.ts',
      'a node certificate that was revoked lets nobody in, and the standing of its agent is told',
    ],
    done('puts the CRL back', 'the node is let in'),
  ),
  REVOCATION_NOT_POSSIBLE: row(
    'an admin revokes the certificate of an agent',
    [
      'integration/server/revocation.test.ts',
      'a certificate that can not be revoked is refused with its end and with what ends it',
    ],
    done('bans the agent', 'its connection and calls end', [
      'integration/server/authorisation.test.ts',
      'a banned agent loses its connection and calls, and attests again only after eviction',
    ]),
  ),
  CRL_INVALID: row(
    'a CRL has a wrong signature, a trailing byte, or lacks an extension',
    [crl, badCrl],
    done('sends a complete CRL', 'it is published', [crl, goodCrl]),
  ),
  CRL_ISSUER_UNKNOWN: row(
    'a CRL of a stranger is brought in',
    [crl, badCrl],
    done('brings in the CRL of the company root', 'it is published', [crl, goodCrl]),
  ),
  CRL_NOT_NEWER: row(
    'a CRL with the same or a lower number is brought in',
    [crl, 'the number must grow, and so must its date; both survive a restart'],
    done('brings in one with a higher number', 'it is published'),
  ),
  CRL_NOT_CURRENT: row(
    'a CRL that has ended, and one of the future, are brought in',
    [crl, badCrl],
    done('has a new one signed', 'it is published', [crl, goodCrl]),
  ),
  CERTIFICATE_UNKNOWN: row(
    'a caller has the name and serial of an agent, and another certificate',
    [
      'integration/server/authorisation.test.ts',
      'a known name with another key, or a known serial of another CA, is refused',
    ],
    done('attests with a join token', 'the agent is admitted', [
      'integration/server/first-light.test.ts',
      'a server starts from nothing, issues to an agent, and keeps its trust domain over a restart',
    ]),
  ),
  CALLER_NOT_ADMITTED: row(
    'each class of caller calls each method',
    [
      'integration/server/authorisation.test.ts',
      "${path.split('.').at(-1)} ${admitted ? 'admits' : 'refuses'} ${caller}",
    ],
    done('calls as a class that the message names', 'the caller is admitted'),
  ),
  ROLE_MISSING: row(
    'an admin revokes without the verb',
    ['integration/server/revocation.test.ts', 'revoking takes the verb over the identity'],
    done('has the role given', 'the revocation is done'),
  ),
  DOWNSTREAM_NOT_ALLOWED: row(
    'the entry of a downstream server lost its flag',
    [
      downstream,
      'refuses a workload whose entry lost the flag, changed its ID or node, has expired, or is gone',
    ],
    done('has an entry with the flag', 'the CA certificate is issued', [
      downstream,
      'obtains a CA certificate with pathLen 0, its trust domain and a limited life, and OpenSSL accepts it',
    ]),
  ),
  AGENT_BANNED: row(
    'an agent is banned while it is connected',
    [
      'integration/server/authorisation.test.ts',
      'a banned agent loses its connection and calls, and attests again only after eviction',
    ],
    done('an admin evicts it, and it attests with a new token', 'the agent is admitted'),
  ),
  AGENT_EVICTED: row(
    'an agent of a node certificate is evicted',
    [
      'unit/services/attestation/service.test.ts',
      'a banned agent can neither join, renew nor recover, and an evicted one only join anew',
    ],
    done('attests with a new join token', 'the agent is admitted'),
  ),
  AGENT_SUPERSEDED: row(
    'two agents run from copies of one directory, and the other renews first',
    [
      'unit/services/agent-line.test.ts',
      'two clones: who is welcomed with a renewal first stays, and the other never comes back',
    ],
    done(
      'evicts the agent and lets the right one attest with a new token',
      'the right one is admitted, and the other can neither use nor recover its certificate',
      [
        'unit/services/agent-line.test.ts',
        'a superseded clone that is the right one comes back by an eviction and a new token',
      ],
    ),
  ),
  AGENT_DOUBLED: row(
    'two processes use one certificate',
    [
      'integration/sidecar/agent-doubles.test.ts',
      'two processes with one certificate raise an alert, and the one that an operator keeps goes on alone',
    ],
    done('keeps one by "agent keep"', 'it goes on alone, and the other is refused for good'),
  ),
  AUTHORITY_IN_USE: row(
    'an authority with living leaves is revoked',
    [
      'integration/issuance/rotation/rotation.test.ts',
      'a taint of the only issuer makes its successor first, and a revocation waits for the leaves',
    ],
    done(
      'lets the leaves be replaced, then says --force with a reason',
      'the authority is revoked',
    ),
  ),
  AUTHORITY_TAINTED: row(
    'a parent is tainted while it signs',
    [
      'unit/issuance/authority-maker.test.ts',
      'an authority whose parent was tainted while it signed is not completed',
    ],
    done('asks again', 'another authority signs', [
      'integration/issuance/rotation/rotation.test.ts',
      'a taint of the only issuer makes its successor first, and a revocation waits for the leaves',
    ]),
  ),
} as const satisfies Record<keyof typeof callerCodes, AdviceRow>;
