import assert from 'node:assert/strict';
import type { PeerCertificate } from 'node:tls';
import { test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import { TrustDomain } from '../../../src/common/spiffe/index.ts';
import { parseCertificate, sha256Hex } from '../../../src/common/x509/index.ts';
import { proveServer, type ServerProofOptions } from '../../../src/cli/server-issuer.ts';
import {
  createIntermediate,
  createRoot,
  createSvid,
  type TestAuthority,
  type TestSvid,
} from '../../support/test-pki.ts';

// of another make: it marks nobody
const root = createRoot('a.test');
const issuing = createIntermediate(root, 'a.test');
const downstream = createIntermediate(root, 'a.test', { subject: 'a CA downstream' });
const server = 'spiffe://a.test/meshca/server';

const keyOf = ({ certificateDer }: TestAuthority): string =>
  sha256Hex(unwrap(parseCertificate(certificateDer)).spkiDer);

/** As Node hands it to `checkServerIdentity`. */
const shownBy = ({ chainDer }: TestSvid): PeerCertificate =>
  chainDer.reduceRight<object | undefined>(
    (above, raw) => ({ raw, issuerCertificate: above }),
    undefined,
  ) as PeerCertificate;

const codeOf = (svid: TestSvid, given: Partial<ServerProofOptions> = {}): string | undefined => {
  try {
    proveServer(shownBy(svid), {
      trustDomain: TrustDomain.of('a.test'),
      rootsDer: [root.certificateDer],
      known: [],
      ownIssuer: undefined,
      shown: 'ca.example.org:8443',
      now: () => Math.floor(Date.now() / 1000),
      ...given,
    });
    return undefined;
  } catch (thrown) {
    return (thrown as { readonly code: string }).code;
  }
};

test('below a root that marks nobody the own issuer or a fingerprint proves the server, else nothing', () => {
  const [real, impostor] = [createSvid(issuing, server), createSvid(downstream, server)];
  const ownIssuer = keyOf(issuing);
  assert.equal(codeOf(real), 'RESERVED_ID_UNTRUSTED');
  assert.equal(codeOf(real, { ownIssuer }), undefined);
  assert.equal(codeOf(impostor, { ownIssuer }), 'RESERVED_ID_UNTRUSTED');
  assert.equal(codeOf(real, { known: [keyOf(issuing)] }), undefined);
  assert.equal(codeOf(impostor, { known: [keyOf(issuing)] }), 'RESERVED_ID_UNTRUSTED');
  assert.equal(
    codeOf(real, { ownIssuer, known: [keyOf(downstream)] }),
    'RESERVED_ID_UNTRUSTED',
    'what a person gives counts alone',
  );
});

test('another ID, another root or a certificate of the past proves no server', () => {
  const ownIssuer = keyOf(issuing);
  assert.equal(
    codeOf(createSvid(issuing, 'spiffe://a.test/web'), { ownIssuer }),
    'CHAIN_UNTRUSTED',
  );
  const other = createRoot('a.test');
  const stranger = createIntermediate(other, 'a.test');
  assert.equal(
    codeOf(createSvid(stranger, server), { ownIssuer: keyOf(stranger) }),
    'CHAIN_UNTRUSTED',
  );
  const past = createSvid(issuing, server, { notBeforeIn: -600, notAfterIn: -300 });
  assert.equal(codeOf(past, { ownIssuer }), 'CERTIFICATE_EXPIRED');
});
