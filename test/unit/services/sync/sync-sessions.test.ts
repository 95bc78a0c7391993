import assert from 'node:assert/strict';
import { test } from 'node:test';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import { agentId, createServicesWorld, local, newKey } from '../../../support/services-world.ts';
import { rejectsWith, Receiver, connect, settled } from './hub-support.ts';

test('bundles come as steps from the sequence that the agent holds, and taints as state', async () => {
  await using w = await createServicesWorld();
  const { caller } = await w.joinAgent('n1');
  const receiver = await connect(w, caller);
  assert.deepEqual(
    receiver.messages.map(({ kind }) => kind),
    ['welcome', 'entries'],
    'nothing new of bundles, nothing tainted',
  );
  const bundle = { sequence: 2, document: '{}', jws: 'bundle.2', createdAt: w.clock.now() };
  await w.store.bundles.append(bundle, {
    timeMs: 0,
    actor: 'server',
    kind: 'bundle.published',
    subject: '2',
    detail: {},
  });
  w.setAuthorities({ bundle, tainted: [{ ...w.issuing, state: 'tainted', taintedAt: 7 }] });
  await settled(w);
  const [steps, taints] = receiver.messages.slice(2);
  assert.ok(steps?.kind === 'bundles' && steps.steps.map(({ jws }) => jws).join() === 'bundle.2');
  assert.ok(
    taints?.kind === 'authorities' &&
      taints.tainted[0]?.authorityId === w.issuing.id &&
      taints.tainted[0].taintedAt === 7,
  );
  const old = await connect(w, caller, { bundleSequence: 0 });
  assert.ok(
    old.messages.some((message) => message.kind === 'bundles' && message.steps.length === 2),
  );
  const restored = await connect(w, caller, { bundleSequence: 9 });
  assert.ok(
    restored.messages.some(
      (message) => message.kind === 'bundles' && message.steps[0]?.sequence === 2,
    ),
  );
});

test('a session ends by a newer one, a ban, a new attestation and the end of its certificate', async () => {
  await using w = await createServicesWorld({ agentTtlSeconds: 60 });
  const { caller } = await w.joinAgent('n1');
  const first = await connect(w, caller);
  const second = await connect(w, caller);
  assert.equal(first.error?.code, 'AGENT_SUPERSEDED');
  assert.equal(w.services.sync.connectedCount(), 1);
  const next = (await w.joinAgent('n1')).caller;
  assert.equal(second.error?.code, 'AGENT_SUPERSEDED');
  await assert.rejects(connect(w, caller), rejectsWith('AGENT_SUPERSEDED'));
  const third = await connect(w, next);
  await w.services.attestation.renew(next, {
    requestId: uuidv7(),
    csrDer: createCsr(newKey()),
    agentVersion: '1',
  });
  assert.equal(third.error?.code, undefined, 'a renewal ends nothing');
  w.clock.advance(62_000);
  assert.equal((third as Receiver).error?.code, 'CERTIFICATE_EXPIRED');
  const last = (await w.joinAgent('n1')).caller;
  const fourth = await connect(w, last);
  await w.services.agents.ban(local, agentId('n1'), '');
  assert.equal(fourth.error?.code, 'AGENT_BANNED');
  await assert.rejects(connect(w, last), rejectsWith('AGENT_BANNED'));
  assert.equal(w.services.sync.connectedCount(), 0);
});
