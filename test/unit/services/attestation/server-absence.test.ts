import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { attestationMessage } from '../../../../src/common/wire/index.ts';
import { createCsr, spkiOf } from '../../../../src/common/x509/index.ts';
import {
  recordReturn,
  ServerAbsences,
} from '../../../../src/services/attestation/server-absence.ts';
import {
  agentId,
  createServicesWorld,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';
import { nextTurn } from '../../../support/until.ts';

const day = 86_400;

/** The server is away for so long, and is back with a clock that is believed. */
async function away(w: ServicesWorld, seconds: number): Promise<void> {
  const lastAliveMs = w.clock.nowMs();
  w.clock.advance(seconds * 1000);
  let failure: unknown;
  recordReturn({
    audit: w.store.audit,
    clock: w.clock,
    lastAliveMs,
    clockBelieved: () => true,
    failed: (thrown) => (failure = thrown),
  });
  await nextTurn();
  assert.equal(failure, undefined);
}

const absences = (w: ServicesWorld, holds = true): ServerAbsences =>
  new ServerAbsences({
    audit: w.store.audit,
    facts: { holds: () => Promise.resolve(holds) },
    clock: w.clock,
  });

test('the grace of an agent runs only while the server is there', async () => {
  await using w = await createServicesWorld({ agentTtlSeconds: 60, recoveryGraceSeconds: 7 * day });
  const { key, svid } = await w.joinAgent('n1');
  const recover = async (): Promise<string> => {
    const fresh = newKey();
    const exchange = w.services.attestation.open({
      peer: '192.0.2.1:1',
      serverCertificateSha256: Buffer.alloc(32),
    });
    const step = await exchange.start({
      protocolVersion: 1,
      agentVersion: '1',
      requestId: uuidv7(),
      csrDer: createCsr(fresh),
      evidence: { kind: 'expired-svid', spiffeId: agentId('n1'), serial: svid.leaf.serial },
    });
    assert.ok(step.kind === 'challenge');
    const { nonce, trustDomainName, serverCertificateSha256 } = step;
    const message = attestationMessage({
      nonce,
      trustDomainName,
      serverCertificateSha256,
      newSpkiDer: spkiOf(fresh),
    });
    return exchange.answer(sign('sha256', message, key)).then(
      ({ kind }) => kind,
      (error: { readonly code: string }) => error.code,
    );
  };
  w.clock.advance(3 * day * 1000);
  await away(w, 12 * day);
  // three days of seven are over
  w.clock.advance(4 * day * 1000);
  assert.equal(await recover(), 'svid');
  w.clock.advance(3 * day * 1000);
  assert.equal(await recover(), 'RENEWAL_GRACE_EXCEEDED');
});

test('only time since the expiry counts, once, and no absence that the log does not hold', async () => {
  await using w = await createServicesWorld();
  const begun = w.clock.now();
  await away(w, 10 * day);
  assert.equal(await absences(w).secondsSince(begun), 10 * day);
  assert.equal(await absences(w).secondsSince(begun + 4 * day), 6 * day);
  assert.equal(await absences(w).secondsSince(begun + 11 * day), 0);
  assert.equal(await absences(w, false).secondsSince(begun), 0);
  // an absence that overlaps another one
  await w.store.audit.append([
    {
      timeMs: w.clock.nowMs(),
      actor: 'server',
      kind: 'server.returned',
      subject: 'server',
      detail: { awaySinceMs: (begun + 5 * day) * 1000, returnedMs: (begun + 400 * day) * 1000 },
    },
  ]);
  assert.equal(await absences(w).secondsSince(begun), 10 * day, 'not beyond the present');
  w.clock.advance(300 * day * 1000);
  assert.equal(await absences(w).secondsSince(begun), 90 * day);
});

test('a restart leaves no record, and a clock that is not believed records nothing before it is', async () => {
  await using w = await createServicesWorld();
  const returned = (): Promise<readonly unknown[]> => w.audit('server.returned');
  await away(w, 60);
  assert.deepEqual(await returned(), []);
  let believed = false;
  const lastAliveMs = w.clock.nowMs();
  w.clock.advance(5 * day * 1000);
  const stop = recordReturn({
    audit: w.store.audit,
    clock: w.clock,
    lastAliveMs,
    clockBelieved: () => believed,
    failed: (thrown) => assert.fail(String(thrown)),
  });
  w.clock.advance(600_000);
  await nextTurn();
  assert.deepEqual(await returned(), []);
  believed = true;
  w.clock.advance(60_000);
  await nextTurn();
  assert.equal((await returned()).length, 1);
  // the time since the start is no absence
  assert.equal(await absences(w).secondsSince(lastAliveMs / 1000), 5 * day);
  stop();
});
