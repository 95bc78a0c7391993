import { done, row, type AdviceRow } from './row.ts';
import type { identityCodes } from '../../../src/common/errors/codes/identities.ts';

const services = 'unit/services/advice.test.ts';
const entries = 'an entry that was refused is taken once it is corrected as the advice says';
const delegations =
  'a delegation that was refused is taken once it is corrected as the advice says';
const signing =
  'a request to sign that was refused is signed once it is corrected as the advice says';
const entry = done('corrects the entry', 'the entry is created');

export const identityAdvice = {
  SPIFFE_ID_INVALID: row('an entry has an ID with an empty segment', [services, entries], entry),
  TRUST_DOMAIN_INVALID: row(
    'the client library is told to admit a name that is no trust domain',
    [
      'unit/workload/authorize.test.ts',
      'authorizeMemberOf admits one trust domain, and none whose name begins or ends alike',
    ],
    done('names a trust domain', 'its members are admitted'),
  ),
  TRUST_DOMAIN_FOREIGN: row(
    'an entry has an ID of another trust domain',
    [services, entries],
    entry,
  ),
  SPIFFE_ID_RESERVED: row('an entry has an ID below /meshca/', [services, entries], entry),
  PATTERN_INVALID: row(
    'a delegation has a star inside a segment',
    [services, delegations],
    done('writes the star as a whole segment', 'the delegation is created'),
  ),
  DNS_NAME_INVALID: row('an entry has a DNS name with a wildcard', [services, entries], entry),
  DNS_NAME_RESERVED: row("an entry has the CA's own DNS name", [services, entries], entry),
  IP_ADDRESS_INVALID: row(
    'a delegation of names has a range without an address',
    [services, delegations],
    done('writes the range', 'the delegation is created'),
  ),
  CSR_MALFORMED: row(
    'a request has a trailing byte',
    [services, signing],
    done('sends it without', 'the certificate is signed'),
  ),
  CSR_SIGNATURE_INVALID: row(
    'a request is signed by another key than its own, or altered',
    [
      'integration/hsm/signing.test.ts',
      'answers each call in the order of its items, whatever else runs at the same time',
    ],
    done('signs with the key in the request, in the same call', 'that item is signed'),
  ),
  CSR_IDENTITY_MISMATCH: row(
    'a request states the ID of somebody else',
    [services, signing],
    done('leaves the name out', 'the certificate is signed'),
  ),
  CSR_EXTENSION_REFUSED: row(
    'a request for names asks for OCSP must-staple',
    [
      'unit/issuance/leaf/names-leaf.test.ts',
      'a request for names that may not be is refused, and nothing is signed for it',
    ],
    done('makes the request without it', 'the certificate is signed', [
      'unit/issuance/leaf/names-leaf.test.ts',
      'an endpoint gets its names from an authority for names, by its profile',
    ]),
  ),
  KEY_UNSUPPORTED: row(
    'a delegation asks for Ed25519',
    [services, delegations],
    done('asks for P-256', 'the delegation is created'),
  ),
  KEY_WEAK: row(
    'a request has an RSA key whose primes are close',
    [
      'integration/hsm/signing.test.ts',
      'refuses proofs of weak, malformed and foreign keys, each with its code, and signs nothing for them',
    ],
    done('makes a new key', 'the request is signed', [
      'integration/hsm/signing.test.ts',
      'answers each call in the order of its items, whatever else runs at the same time',
    ]),
  ),
  KEY_RESERVED: row(
    'a request has the key of an authority',
    ['unit/issuance/leaf/leaf-issuer.test.ts', 'refusals name what was wrong'],
    done('asks with a key of its own', 'the certificate is signed'),
  ),
  KEY_BLOCKED: row(
    'a request has a key that was blocked',
    [
      'unit/issuance/recorded.test.ts',
      'a certificate for a blocked key is refused before anything is recorded',
    ],
    done('asks with a new key', 'the certificate is signed'),
  ),
  CERTIFICATE_MALFORMED: row(
    'the chain of an imported authority is empty',
    [
      'integration/issuance/sources/external.test.ts',
      'what does not hold is refused, each with its code, and nothing is recorded',
    ],
    done('sends the chain', 'the authority signs', [
      'integration/issuance/sources/external.test.ts',
      'an imported intermediate signs at once on a first start, with the company root in the bundle',
    ]),
  ),
  SVID_INVALID: row(
    'a text file stands in the place of the certificate of an admin',
    [
      'integration/cli/misuse.test.ts',
      'a wrong key, certificate, bundle or address for --server gets its own error',
    ],
    done('gives an SVID', 'the server is reached'),
  ),
  CHAIN_UNTRUSTED: row(
    'a leaf stands in the place of the bundle of an admin',
    [
      'integration/cli/misuse.test.ts',
      'a wrong key, certificate, bundle or address for --server gets its own error',
    ],
    done('gives the bundle', 'the server is reached'),
  ),
  RESERVED_ID_UNTRUSTED: row(
    'a CA downstream answers at the address of the server',
    ['unit/certs/server-authority.test.ts', 'by known keys: these alone, whatever has a mark'],
    done('removes it from the way', 'the agent is connected again', [
      'integration/sidecar/impostor.test.ts',
      'a running agent is not taken over by it, and comes back when the way is free',
    ]),
  ),
  JWT_INVALID: row(
    'tokens without audience, without expiry, for others',
    ['integration/workload/jwt.test.ts', 'a token with ${name} is refused'],
    done('fetches a token for the audience', 'it is valid', [
      'integration/workload/jwt.test.ts',
      'a good token of each held trust domain is valid for its audience',
    ]),
  ),
} as const satisfies Record<keyof typeof identityCodes, AdviceRow>;
