import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { parseCertificate, spkiOf } from '../../../../src/common/x509/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { createPublicKey, generateKeyPairSync } from 'node:crypto';
import {
  verifySignedNames,
  type NamesExpectation,
} from '../../../../sidecar/svid/names-certificate.ts';
import {
  clientAuth,
  createIntermediate,
  createRoot,
  createSvid,
  serverAuth,
  type CertificateOptions,
} from '../../../support/test-pki.ts';

const names = { dnsNames: ['www.shop.test', '*.shop.test'], ips: ['192.0.2.7'] };
const mesh = createRoot('td.test');
const root = createRoot('td.test', { uriSans: [], subject: 'names root' });
const issuer = createIntermediate(root, 'td.test', {
  uriSans: [],
  subject: 'names issuer',
  extendedKeyUsage: [serverAuth],
});

interface Change {
  readonly leaf?: CertificateOptions;
  readonly roots?: readonly Buffer[];
  readonly expected?: Partial<NamesExpectation>;
  readonly said?: { readonly serial?: string; readonly notAfter?: number };
  readonly now?: number;
  readonly issuer?: typeof issuer;
}

/** What the agent makes of an answer of the server. */
function judged({ leaf = {}, roots, expected = {}, said = {}, now, ...by }: Change = {}): string {
  const made = createSvid(by.issuer ?? issuer, '', {
    uriSans: [],
    dnsSans: names.dnsNames,
    ipSans: names.ips,
    extendedKeyUsage: [serverAuth],
    ...leaf,
  });
  const { serialHex, notBefore, notAfter } = unwrap(parseCertificate(made.chainDer[0] as Buffer));
  try {
    verifySignedNames(
      {
        spiffeId: '',
        serial: serialHex,
        chainDer: [...made.chainDer],
        ...{ notBefore, notAfter, lifetimeSeconds: notAfter - notBefore, authorityId: 'issuer' },
        serverTime: now ?? notBefore + 60,
        namesRootsDer: [...(roots ?? [root.certificateDer])],
        ...said,
      },
      {
        names,
        spkiDer: spkiOf(createPublicKey(made.privateKey)),
        meshRootsDer: [mesh.certificateDer],
        ...expected,
      },
    );
    return 'taken';
  } catch (thrown) {
    const { code, message } = PkiError.from(thrown);
    assert.equal(code, 'SVID_INVALID');
    return message;
  }
}

test('a certificate with exactly the names of its entry, below a root of names, is taken', () => {
  assert.equal(judged(), 'taken');
});

describe('an answer for names is refused', () => {
  const cases: Readonly<Record<string, readonly [Change, RegExp]>> = {
    'without a root of names': [{ roots: [] }, /sent no root of names/],
    'with a root that the mesh trusts': [
      { roots: [root.certificateDer, mesh.certificateDer] },
      /the mesh trusts one of its roots/,
    ],
    'below another root': [
      { roots: [createRoot('other').certificateDer] },
      /does not lead to a root/,
    ],
    'below a root of the mesh, with a root of names': [
      { issuer: createIntermediate(mesh, 'td.test') },
      /does not lead to a root/,
    ],
    'without a name of the entry': [
      { leaf: { dnsSans: ['www.shop.test'] } },
      /lacks the name \*\.shop\.test/,
    ],
    'with another name': [
      { leaf: { dnsSans: [...names.dnsNames, 'bank.test'] } },
      /has the name bank\.test/,
    ],
    'without the address': [{ leaf: { ipSans: [] } }, /lacks the address 192\.0\.2\.7/],
    'with another address': [
      { leaf: { ipSans: ['192.0.2.7', '192.0.2.8'] } },
      /has the address 192\.0\.2\.8/,
    ],
    'with an identity': [{ leaf: { uriSans: ['spiffe://td.test/web'] } }, /has the URI spiffe:/],
    'for clients too': [
      { leaf: { extendedKeyUsage: [serverAuth, clientAuth] } },
      /not for servers alone/,
    ],
    'for any purpose': [{ leaf: { extendedKeyUsage: ['2.5.29.37.0'] } }, /not for servers alone/],
    'that is a CA': [{ leaf: { isCa: true } }, /is a CA/],
    'that may sign CRLs': [
      { leaf: { keyUsage: ['digitalSignature', 'cRLSign'] } },
      /may sign certificates or CRLs/,
    ],
    'for another key': [
      {
        expected: {
          spkiDer: spkiOf(generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey),
        },
      },
      /has another key/,
    ],
    'that has ended': [{ now: 4e9 }, /expired/],
    'under another serial': [{ said: { serial: '0a' } }, /its serial is/],
    'with another life': [{ said: { notAfter: 4e9 } }, /life is another/],
  };
  for (const [name, [change, fault]] of Object.entries(cases))
    test(name, () => assert.match(judged(change), fault));
});
