import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, unwrap } from '../../../../src/common/errors/index.ts';
import { systemRandom } from '../../../../src/common/runtime/index.ts';
import { parseCertificate, verifyChain } from '../../../../src/common/x509/index.ts';
import type { Authority } from '../../../../src/domain/index.ts';
import { crossSign, type CrossRequest } from '../../../../src/issuance/index.ts';
import { FakeClock } from '../../../support/agent.ts';
import {
  authority,
  newKey,
  OneKeyToken,
  recordedWorld,
  trustDomain,
} from '../authorities-support.ts';
import { passThroughPolicy } from '../../../support/pass-through-policy.ts';

function world() {
  const clock = new FakeClock();
  const key = newKey();
  const [from, to] = [authority(clock, 'root', key), authority(clock, 'root', newKey())];
  const store = recordedWorld(clock);
  const token = new OneKeyToken(key);
  const made: Authority[] = [];
  const last = (): Authority => made.at(-1) as Authority;
  const cross = (over: Partial<CrossRequest> = {}) =>
    crossSign(
      {
        caller: { class: 'local', name: 'uid:0' },
        fromId: from.record.id,
        toId: to.record.id,
        ...over,
      },
      {
        authorities: {
          list: async () => [from.record, to.record],
          create: async (record) => void made.push(record),
          complete: async ({ version }, parts) => {
            made.push({
              ...last(),
              ...parts,
              state: 'prepared',
              version: version + 1,
            } as Authority);
            return last();
          },
          transition: async ({ version }, state) => {
            made.push({ ...last(), state, version: version + 1 });
            return last();
          },
        },
        recorded: store.recorded,
        issuancePolicy: passThroughPolicy,
        openToken: token.open,
        trustDomain,
        clockSkewSeconds: 300,
        crlUrl: (id: string) => `http://ca.example.test/crl/${id}.crl`,
        clock,
        random: systemRandom,
      },
    );
  return { ...store, clock, from, to, token, made, cross };
}

test('a cross-certificate is recorded before the old root signs, and published after it', async () => {
  const w = world();
  const published = await w.cross();
  const certificate = unwrap(parseCertificate(published.certificateDer as Buffer));
  assert.deepEqual(
    w.made.map(({ state }) => state),
    ['preparing', 'prepared', 'published'],
  );
  assert.equal(w.intents[0]?.serial, certificate.serialHex);
  assert.deepEqual(certificate.crlDistributionPoints, [
    `http://ca.example.test/crl/${w.from.record.id}.crl`,
  ]);
  assert.equal(w.finished[0]?.kind, 'signed');
  assert.ok(certificate.subjectDer.equals(w.to.certificate.subjectDer));
  assert.ok(
    verifyChain({
      chainDer: [certificate.raw],
      roots: [w.from.certificate.raw],
      now: w.clock.now(),
    }).ok,
  );
  assert.equal(w.token.closed, w.token.opened);
});

test('a cross-certificate that the token does not sign is abandoned at once, and none is made', async () => {
  const w = world();
  w.token.failing = true;
  await assert.rejects(w.cross(), { code: 'HSM_UNAVAILABLE' });
  assert.deepEqual(
    w.finished.map(({ kind, serial }) => [kind, serial]),
    [['abandoned', w.intents[0]?.serial]],
  );
  assert.deepEqual(w.made, []);
  assert.equal(w.token.closed, w.token.opened);
});

test('a caller who has gone causes no cross-certificate, and no token is opened', async () => {
  const w = world();
  const signal = AbortSignal.abort(new PkiError('CANCELLED', 'the client has gone'));
  await assert.rejects(w.cross({ signal }), { code: 'CANCELLED' });
  assert.deepEqual([w.intents.length, w.made.length, w.token.opened], [0, 0, 0]);
});

test('a root is not certified by itself, nor by a root that is not there', async () => {
  const w = world();
  await assert.rejects(w.cross({ toId: w.from.record.id }), { code: 'INVALID_REQUEST' });
  await assert.rejects(w.cross({ fromId: 'absent' }), { code: 'NOT_FOUND' });
  assert.deepEqual([w.intents.length, w.token.opened], [0, 0]);
});
