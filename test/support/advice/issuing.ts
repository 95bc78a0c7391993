import { cannot, done, row, type AdviceRow } from './row.ts';
import type { issuingCodes } from '../../../src/common/errors/codes/issuing.ts';

const services = 'unit/services/advice.test.ts';
const entries = 'an entry that was refused is taken once it is corrected as the advice says';
const entry = done('corrects the entry', 'the entry is created');
const attestation = 'unit/services/attestation/service.test.ts';
const external = 'integration/issuance/sources/external.test.ts';
const streams = 'integration/sidecar/apis/workload/x509-streams.test.ts';
const policyCli = 'unit/cli/policy.test.ts';
const quotas = 'integration/services/policy-quotas.test.ts';
const expressions = 'integration/services/policy-expressions.test.ts';
const leaf = 'unit/issuance/leaf/leaf-issuer.test.ts';
const policyLeaf = 'unit/issuance/leaf/policy-leaf.test.ts';

export const issuingAdvice = {
  JOIN_TOKEN_INVALID: row(
    'a token is expired, unknown, used with another key, or from before an eviction',
    [
      attestation,
      'a token is worth nothing when expired, unknown, after its session moved on, or after an eviction',
    ],
    done('takes a new token', 'the agent joins'),
  ),
  ATTESTATION_FAILED: row(
    'a node certificate is foreign, expired, or proven by another key',
    [
      attestation,
      'x509pop refuses foreign, expired, CA and server-only certificates, and a proof by another key',
    ],
    done('attests with the right certificate and key', 'the agent joins', [
      'integration/sidecar/sync/session.test.ts',
      'a node certificate attests its node; a challenge of another connection gets no signature',
    ]),
  ),
  RENEWAL_GRACE_EXCEEDED: row(
    'an agent comes back after the grace',
    [
      attestation,
      'an expired agent comes back by its last key within the grace, and its earlier session ends',
    ],
    done('attests with a new join token', 'the agent joins'),
  ),
  SERVER_UNTRUSTED: row(
    'an agent is started without bundle and fingerprint',
    [
      'integration/sidecar/run.test.ts',
      'a start that can not succeed ends with its code and advice',
    ],
    done('gives the fingerprint that the join token prints', 'the agent joins', [
      'integration/issuance/rotation/joins.test.ts',
      'nodes join at every step of a rotation of the root, also with tokens from before the switch',
    ]),
  ),
  ENTRY_NOT_AUTHORIZED: row(
    'an agent asks for an entry that is not there',
    [
      services,
      'an agent without an entry, and one that asks for too much, get their SVIDs by the advice',
    ],
    done('creates the entry', 'the certificate is signed'),
  ),
  POLICY_DENIED: row(
    'the policy denies one item of a batch',
    [
      policyLeaf,
      'the policy decides each item for its caller, and what it denies is on record and not signed',
    ],
    done('asks for what is allowed, in the same batch', 'that item is signed'),
  ),
  POLICY_FAILED: row(
    'an expression reads an item beyond the end of a list',
    [
      expressions,
      'an expression that fails denies, counts and is announced, until another policy is activated',
    ],
    done('activates the mended expression', 'the certificate is issued'),
  ),
  POLICY_QUOTA_USED: row(
    'a rule allows three certificates, and a fourth is asked for',
    [quotas, 'a quota counts by the log: over restarts, altered rows and the end of its time'],
    done('asks again after the time that the message tells', 'the certificate is issued'),
  ),
  POLICY_INVALID: row(
    'a policy with a misspelt key is checked',
    [
      policyCli,
      'a policy with faults is refused with each of them, and passes once they are mended',
    ],
    done('mends what the message names', 'the check passes'),
  ),
  POLICY_TEST_FAILED: row(
    'a case expects what the policy denies',
    [
      policyCli,
      'a case that the policy decides otherwise fails the test, with the rule that decided',
    ],
    done('mends the rule that the command names', 'all cases pass'),
  ),
  POLICY_CHANGED: row(
    'the policy changes while a leaf is signed',
    ['unit/domain/rights.test.ts', 'each kind names the rows that it reads, and says why it ended'],
    done('asks again', 'the certificate is signed', [
      policyLeaf,
      'a leaf whose policy changed while it was signed is withheld, and signed when it is asked for again',
    ]),
  ),
  ENTRY_CHANGED: row(
    'an entry changes while its leaf is signed',
    [
      'unit/sidecar/svid/x509-svids.test.ts',
      'a refusal that passes by itself is tried again while the caller waits',
    ],
    done('the agent asks again by itself', 'the workload gets its SVID'),
  ),
  TTL_OUT_OF_RANGE: row('an entry asks for more than a day', [services, entries], entry),
  ISSUER_LIFETIME: row(
    'a request asks for a longer life than that of the issuer',
    [leaf, 'refusals name what was wrong'],
    done('asks for the default life', 'the certificate is signed, cut to its issuer', [
      leaf,
      'near the expiry of its issuer a default life is cut, on record, and after it nothing is signed',
    ]),
  ),
  ISSUER_ENDED: row(
    'a server runs past the end of its issuing authority',
    [
      'integration/server/ended-issuer.test.ts',
      'near the expiry of its issuer the server has a cut certificate, and after it is unready with advice',
    ],
    done('runs the command that "meshca status" names', 'the server is ready'),
  ),
  OUTSIDE_DELEGATION: row(
    'a control plane asks for an ID outside of its patterns',
    [
      services,
      'a request to sign that was refused is signed once it is corrected as the advice says',
    ],
    done('asks for an ID inside', 'the certificate is signed'),
  ),
  LINT_FAILED: row(
    'certificates that break their profile are given to the lint',
    [
      'unit/certs/lint.test.ts',
      'refuses serials that are not positive or too long, and a signature of another key type',
    ],
    cannot('The advice is to report a defect.'),
  ),
  NO_ISSUER: row(
    'a server whose authorities come from outside starts for the first time',
    [external, 'a server without a root of its own starts, is not ready and says what to do'],
    done('has the CSR signed and imports the chain', 'the server signs', [
      external,
      'an imported intermediate signs at once on a first start, with the company root in the bundle',
    ]),
  ),
  AUTHORITY_UNFIT: row(
    'a company signs intermediates with wrong extensions',
    [external, 'what does not hold is refused, each with its code, and nothing is recorded'],
    done('has the certificate made again for the same CSR', 'it is imported and signs', [
      external,
      'an imported intermediate signs at once on a first start, with the company root in the bundle',
    ]),
  ),
  CERTIFICATE_KEY_MISMATCH: row(
    'the certificate of another CSR is imported',
    [external, 'what does not hold is refused, each with its code, and nothing is recorded'],
    done('imports the certificate of this CSR', 'it signs', [
      external,
      'an imported intermediate signs at once on a first start, with the company root in the bundle',
    ]),
  ),
  WITHHELD: row(
    'the server withholds a signed certificate',
    [
      'unit/sidecar/svid/x509-svids.test.ts',
      'a refusal that passes by itself is tried again while the caller waits',
    ],
    done('the agent asks again by itself', 'the workload gets its SVID'),
  ),
  NO_IDENTITY: row(
    'a process without entry asks',
    [
      'integration/sidecar/apis/local/local-api.test.ts',
      'explain by refusal ID tells what the caller was not told: the nearest entries and what each missed',
    ],
    done('explains the refusal by its ID', 'the nearest entries and what each missed are told'),
  ),
  SECRET_NAME_INVALID: row(
    'a proxy asks for a secret below /meshca/',
    [
      'unit/sidecar/apis/sds/names.test.ts',
      'names that no entry can ever grant are refused, each with its reason',
    ],
    done('asks for a SPIFFE ID of its own', 'the secret is granted', [
      'unit/sidecar/apis/sds/names.test.ts',
      'a caller gets its own identities alone, and nothing without one',
    ]),
  ),
  SECRET_NOT_GRANTED: row(
    'a proxy asks for the identity of another process',
    [
      'integration/sidecar/apis/sds/sds-api.test.ts',
      'nothing of another caller, whatever it names, and a list of what it may have',
    ],
    done('asks for a name of the list', 'the secret is sent'),
  ),
  PEER_UNVERIFIABLE: row(
    'a process executes another program before its first call',
    [
      'integration/sidecar/local-server/attested-processes.test.ts',
      'a process that connects and execs before its first call is refused',
    ],
    done('connects from the process itself', 'it gets its SVID', [
      'integration/sidecar/run.test.ts',
      'a workload gets its SVID through the whole agent, renewed in time; operators see status and metrics',
    ]),
  ),
  SECURITY_HEADER_MISSING: row(
    'a call has no header, or another value',
    [streams, 'a call without the security header, or with another value, is InvalidArgument'],
    done('sends the header', 'the SVID comes', [
      'integration/sidecar/run.test.ts',
      'a workload gets its SVID through the whole agent, renewed in time; operators see status and metrics',
    ]),
  ),
  NOT_SYNCED: row(
    'a workload asks before the agent has its entries',
    [streams, 'before the entries or the bundle are there the answer is Unavailable'],
    done('asks again', 'the SVID comes once the server is there', [
      'integration/workload/source.test.ts',
      'a workload without identity learns so when its patience ends, and gets one that comes in time',
    ]),
  ),
  SELECTOR_INVALID: row('an entry has a selector in capitals', [services, entries], entry),
  SELECTORS_WEAK: row('an entry has a path alone', [services, entries], entry),
  TEMPLATE_INVALID: row('a placeholder has no allowed values', [services, entries], entry),
  PARENT_INVALID: row('the parent of an entry is a workload', [services, entries], entry),
} as const satisfies Record<keyof typeof issuingCodes, AdviceRow>;
