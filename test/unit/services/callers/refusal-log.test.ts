import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, unwrap } from '../../../../src/common/errors/index.ts';
import { readPolicy } from '../../../../src/common/policy/file.ts';
import { decisionIn } from '../../../../src/common/policy/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { SpiffeId } from '../../../../src/common/spiffe/index.ts';
import type { AuditEvent } from '../../../../src/domain/index.ts';
import { admit, policyOf } from '../../../../src/issuance/index.ts';
import type { AgentCaller } from '../../../../src/services/index.ts';
import { RefusalLog, refusing } from '../../../../src/services/callers/refusal-log.ts';
import { FakeClock, settle } from '../../../support/agent.ts';

const agent = (name: string): AgentCaller => ({
  class: 'agent',
  kind: 'agent',
  spiffeId: name,
  serial: '01',
  notAfter: 0,
  authorityId: 'a',
  entryId: null,
  peer: 'p',
  generation: 1,
});
const stranger = { class: 'anonymous', peer: '192.0.2.1:5' } as const;
const denied = (): PkiError => new PkiError('ROLE_MISSING', 'no');

function world(rate = { perSecond: 1, burst: 3 }): {
  clock: FakeClock;
  commits: (readonly AuditEvent[])[];
  log: RefusalLog;
  fail: { now: boolean };
} {
  const clock = new FakeClock();
  const commits: (readonly AuditEvent[])[] = [];
  const fail = { now: false };
  const audit = {
    append: async (events: readonly AuditEvent[]) => {
      await Promise.resolve();
      if (fail.now) throw new PkiError('STORE_FAILED', 'disk');
      commits.push(events);
    },
  };
  return {
    clock,
    commits,
    fail,
    log: new RefusalLog({ audit, clock, logger: silentLogger, rate }),
  };
}

test('a refusal of an authenticated caller is durable on return, once per error', async () => {
  const { commits, log } = world();
  const error = denied();
  const first = await log.refused(agent('a'), 'Op', error, 'subject');
  assert.equal(await log.refused(agent('a'), 'Op', error), first);
  assert.equal(log.idOf(error), first);
  assert.deepEqual(
    commits
      .flat()
      .map(({ actor, kind, subject, detail }) => [
        actor,
        kind,
        subject,
        detail['code'],
        detail['refusalId'],
      ]),
    [['a', 'request.refused', 'subject', 'ROLE_MISSING', first]],
  );
});

test('refusals that come together share a commit', async () => {
  const { commits, log } = world({ perSecond: 1, burst: 100 });
  await Promise.all(Array.from({ length: 50 }, () => log.refused(agent('a'), 'Op', denied())));
  assert.equal(commits.length, 1);
  assert.equal(commits[0]?.length, 50);
});

test('what is absent or broken is no refusal', async () => {
  const { commits, log } = world();
  for (const code of [
    'NOT_FOUND',
    'INTERNAL',
    'HSM_UNAVAILABLE',
    'STORE_FAILED',
    'CONFLICT',
    'CONFIG_INVALID',
  ] as const)
    assert.notEqual(await log.refused(agent('a'), 'Op', new PkiError(code, 'x')), '');
  await log.flush();
  assert.equal(commits.length, 0);
});

test('strangers and floods are counted and summarised once a minute, in one record', async () => {
  const { clock, commits, log } = world();
  for (let call = 0; call < 1000; call += 1)
    await log.refused(stranger, 'Attest', new PkiError('JOIN_TOKEN_INVALID', 'x'));
  for (let call = 0; call < 10; call += 1) await log.refused(agent('a'), 'Op', denied());
  await log.refused(agent('a'), 'Sign', new PkiError('RATE_LIMITED', 'x'));
  log.count('handshake', 'CERTIFICATE_EXPIRED');
  assert.equal(commits.flat().length, 3, 'the burst of one caller');
  await log.refused(agent('b'), 'Op', denied());
  assert.equal(commits.flat().length, 4, 'another has his own');
  clock.advance(60_000);
  await settle();
  assert.equal(commits.flat().length, 5);
  assert.deepEqual(commits.flat().at(-1)?.detail['counts'], [
    'Op ROLE_MISSING 7',
    'Sign RATE_LIMITED 1',
    'anonymous Attest JOIN_TOKEN_INVALID 1000',
    'handshake CERTIFICATE_EXPIRED 1',
  ]);
  clock.advance(600_000);
  await settle();
  assert.equal(commits.flat().length, 5, 'no empty summary');
});

test('each denial of a policy is recorded with its facts, whatever the rate', async () => {
  const { clock, commits, log } = world({ perSecond: 1, burst: 1 });
  const caller = agent('spiffe://mesh.test/meshca/agent/n1');
  const web = SpiffeId.of('spiffe://mesh.test/web');
  const denyAll = unwrap(
    readPolicy(JSON.stringify({ meshcaPolicy: 1, rules: [{ name: 'none', effect: 'deny' }] })),
  );
  for (let time = 0; time < 3; time += 1) {
    const denied = admit(
      policyOf({ version: 2, policy: denyAll }, clock),
      { type: 'jwt', spiffeId: web, audience: ['api'], ttlSeconds: 60, entryId: 'web' },
      { class: 'agent', name: caller.spiffeId },
    );
    assert.ok(!denied.ok);
    await log.refused(caller, 'SignJwtSvid', denied.error, 'web');
  }
  const records = commits.flat();
  assert.equal(records.length, 3);
  for (const record of records) {
    const decision = decisionIn(record);
    assert.ok(decision.type === 'decided');
    const { facts, allowed, rule, version } = decision;
    assert.deepEqual([allowed, rule, version], [false, 'none', 2]);
    assert.deepEqual([facts.kind, facts.audiences, facts.spiffeId], ['jwt-svid', ['api'], web]);
  }
});

test('a store that fails changes no refusal into anything else', async () => {
  const { fail, log } = world();
  fail.now = true;
  await assert.rejects(
    refusing(log, { caller: agent('a'), operation: 'PutRole' }, () => Promise.reject(denied())),
    (error) => error instanceof PkiError && error.code === 'ROLE_MISSING',
  );
  await log.flush();
});
