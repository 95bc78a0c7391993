import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BundleStore, IssuerChains } from '../../../../sidecar/bundle/index.ts';
import {
  AuthoritiesFollower,
  type AuthoritiesDependencies,
} from '../../../../sidecar/compose/authorities.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { parseCertificate, sha256Hex } from '../../../../src/common/x509/index.ts';
import { createIntermediate, createRoot } from '../../../support/test-pki.ts';

test('consumers are told when the issuers change, also while the CRLs stay the same', () => {
  const root = createRoot('td.test');
  const issuers = [createIntermediate(root, 'td.test'), createIntermediate(root, 'td.test')];
  const keyOf = (der: Buffer): string => sha256Hex(unwrap(parseCertificate(der)).spkiDer);
  const bundles = new BundleStore(TrustDomain.of('td.test'), silentLogger, {
    own: async () => true,
    federated: async () => true,
  });
  bundles.restore({
    sequence: 1,
    rootsDer: [root.certificateDer],
    jwtAuthorities: [],
    issuersSha256: new Set(issuers.map(({ certificateDer }) => keyOf(certificateDer))),
  });
  const chains = new IssuerChains(bundles, systemClock, silentLogger);
  let told = 0;
  bundles.onChange(() => void (told += 1));
  const follower = new AuthoritiesFollower({
    ...{ bundles, issuers: chains, clock: systemClock, logger: silentLogger },
    onChange: () => {},
  } as Partial<AuthoritiesDependencies> as AuthoritiesDependencies);
  const update = (count: number): void =>
    follower.updated({
      published: issuers.slice(0, count).map(({ certificateDer }, at) => ({
        authorityId: `a${at}`,
        chainDer: [certificateDer],
      })),
      crls: [],
      tainted: [],
    });
  update(1);
  assert.deepEqual([chains.verified().length, told], [1, 1]);
  update(1);
  assert.equal(told, 1, 'nothing has changed');
  update(2);
  assert.deepEqual([chains.verified().length, told], [2, 2]);
  update(0);
  assert.deepEqual([chains.verified().length, told], [0, 3]);
});
