import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { silentLogger, systemRandom } from '../../../src/common/runtime/index.ts';
import type { LeafRequest } from '../../../src/issuance/index.ts';
import { ServerCertificate } from '../../../src/issuance/index.ts';
import { until } from '../../support/until.ts';
import { FakeClock } from '../../support/agent.ts';

import { authority, day, newKey, trustDomain } from './authorities-support.ts';

const ttlSeconds = day;

/** A server certificate whose issuer ends 100 s from now. */
// oxlint-disable-next-line test-sizes/function-lines -- one world, part by part
function world() {
  const clock = new FakeClock();
  const { record } = authority(clock, 'root', newKey());
  const state = {
    issuerEnd: clock.now() + 100,
    changed: (): void => {},
    blocked: new Set<string>(),
    revised: (): void => {},
    /** Runs during an issuance, after the end of its issuer was read. */
    during: (): void => {},
  };
  const asked: { readonly at: number; readonly request: LeafRequest }[] = [];
  const certificate = new ServerCertificate({
    issuer: {
      issue: (requests) => {
        const now = clock.now();
        asked.push({ at: now, request: requests[0] as LeafRequest });
        if (now >= state.issuerEnd)
          return Promise.resolve([
            { ok: false, error: new PkiError('ISSUER_ENDED', 'over'), refusalId: 'r' },
          ]);
        const notAfter = Math.min(now + ttlSeconds, state.issuerEnd);
        state.during();
        return Promise.resolve([
          {
            ok: true,
            leaf: {
              requestId: 'q',
              spiffeId: 'spiffe://mesh.test/meshca/server',
              serial: String(asked.length),
              chainDer: [record.certificateDer as Buffer],
              notBefore: now,
              notAfter,
              lifetimeSeconds: notAfter - now,
              serverTime: now,
              authorityId: record.id,
              publicKeySha256: `key ${asked.length}`,
              spkiDer: Buffer.alloc(0),
            },
          },
        ]);
      },
      issueJwt: () => Promise.reject(new Error('not asked')),
    },
    authorities: {
      all: () => [record],
      issuing: () => record,
      rootOf: () => record,
      onChange: (listener) => {
        state.changed = listener;
        return () => {};
      },
    },
    blockedKeys: {
      isBlocked: (digest) => state.blocked.has(digest),
      onChange: (listener) => {
        state.revised = listener;
        return () => {};
      },
    },
    trustDomain,
    ...{ holder: 'server', dnsNames: [] },
    ttlSeconds,
    clock,
    random: systemRandom,
    logger: silentLogger,
  });
  return { clock, state, asked, certificate };
}

/** Second by second until the condition holds. */
const pass = (clock: FakeClock, condition: () => boolean, what: string): Promise<void> =>
  until(() => {
    if (condition()) return true;
    clock.advance(1_000);
    return false;
  }, what);

test('the certificate of the server may be cut to its issuer, and is renewed inside the life that it has', async () => {
  const { clock, asked, certificate } = world();
  await certificate.start();
  assert.equal(asked[0]?.request.endsWithIssuer, true);
  const end = clock.now() + 100;
  await pass(clock, () => asked.length > 1, 'the renewal');
  assert.ok((asked[1]?.at ?? end) < end, 'it was renewed within the 100 s that it lives');
  certificate.close();
});

test('a later issuer gives it a full life at once, although the present one has ended', async () => {
  const { clock, state, certificate } = world();
  await certificate.start();
  await pass(clock, () => clock.now() > certificate.notAfter() + 60, 'its end');
  state.issuerEnd = clock.now() + 40 * day;
  state.changed();
  clock.advance(0);
  const now = clock.now();
  await until(() => certificate.notAfter() > now, 'the new certificate');
  assert.equal(certificate.notAfter(), now + ttlSeconds);
  certificate.close();
});

test('a later issuer that comes during a renewal is not missed', async () => {
  const { clock, state, certificate } = world();
  await certificate.start();
  clock.advance(1_000);
  const now = clock.now();
  state.during = () => {
    state.during = () => {};
    state.issuerEnd = now + 40 * day;
    state.changed();
  };
  // the life is cut, so that a change asks for a new certificate
  state.changed();
  await until(() => {
    clock.advance(0);
    return certificate.notAfter() > now + 100;
  }, 'the certificate of the later issuer');
  assert.equal(clock.now(), now);
  certificate.close();
});

test('a blocked key is replaced at once, and only once', async () => {
  const { clock, state, asked, certificate } = world();
  state.issuerEnd = clock.now() + 40 * day;
  await certificate.start();
  state.revised();
  clock.advance(1_000);
  assert.equal(asked.length, 1, 'another change asks for nothing');
  state.blocked.add('key 1');
  state.revised();
  clock.advance(0);
  await until(() => certificate.current().serial === '2', 'the new certificate');
  state.revised();
  clock.advance(1_000);
  assert.equal(asked.length, 2);
  certificate.close();
});
