import assert from 'node:assert/strict';
import { test } from 'node:test';
import { z } from 'zod';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import { createCsr } from '../../../../src/common/x509/index.ts';
import {
  nodeAttestorType,
  nodeAttestorTypes,
  type NodeAttestorType,
} from '../../../../src/services/attestation/index.ts';
import type { NodeProof } from '../../../../src/services/attestation/node-attestor.ts';
import type { AgentCaller, AttestStep } from '../../../../src/services/index.ts';
import {
  agentId,
  createServicesWorld,
  local,
  newKey,
  type ServicesWorld,
} from '../../../support/services-world.ts';

const rejectsWith =
  (code: string) =>
  (error: unknown): boolean =>
    error instanceof PkiError && error.code === code;

/** Takes its evidence as the name of the node, unless the test states what it proves. */
const byWord = (
  proof: Partial<NodeProof> = {},
  type: Partial<NodeAttestorType> = {},
): NodeAttestorType => ({
  ...nodeAttestorType({
    type: 'word',
    namespace: 'own',
    isAgentName: (name) => /^[a-z]+$/.test(name),
    configuration: z.strictObject({}).prefault({}),
    create: () => ({
      start: (evidence) =>
        Promise.resolve({
          kind: 'proven',
          agentName: evidence.toString(),
          selectors: [],
          use: { kind: 'repeatable' },
          detail: {},
          ...proof,
        }),
    }),
  }),
  ...type,
});

const worldWith = (...types: readonly NodeAttestorType[]): Promise<ServicesWorld> =>
  createServicesWorld({}, undefined, { types: [...nodeAttestorTypes, ...types] });

const attest = async (
  w: ServicesWorld,
  word: string,
  options: { readonly key?: ReturnType<typeof newKey>; readonly requestId?: string } = {},
): Promise<Extract<AttestStep, { kind: 'svid' }>['svid']> => {
  const step = await w.services.attestation
    .open({ peer: '192.0.2.1:1', serverCertificateSha256: Buffer.alloc(32) })
    .start({
      protocolVersion: 1,
      agentVersion: '1',
      requestId: options.requestId ?? uuidv7(),
      csrDer: createCsr(options.key ?? newKey()),
      evidence: { kind: 'node', type: 'word', payload: Buffer.from(word) },
    });
  assert.equal(step.kind, 'svid');
  return (step as Extract<AttestStep, { kind: 'svid' }>).svid;
};

test('an added type gives agents the IDs below its own name, and they can be parents', async () => {
  const selectors = [{ type: 'word', value: 'loud' }];
  await using w = await worldWith(byWord({ selectors }));
  const { leaf } = await attest(w, 'hello');
  assert.equal(leaf.spiffeId, agentId('word/hello'));
  const agent = await w.store.agents.byId(leaf.spiffeId);
  assert.equal(agent?.attestationType, 'word');
  assert.deepEqual(agent.selectors, selectors);
  await w.addEntry({ spiffeId: 'spiffe://mesh.test/web', parentId: agentId('word/hello') });
  await assert.rejects(
    w.addEntry({ spiffeId: 'spiffe://mesh.test/web', parentId: agentId('word/HELLO') }),
    rejectsWith('PARENT_INVALID'),
  );
});

test('the name of a type is no name of an agent and no parent', async () => {
  await using w = await worldWith(byWord());
  for (const agentName of ['word', 'join_token', 'x509pop'])
    await assert.rejects(
      w.services.tokens.create(local, { agentName, ttlSeconds: 0, nodeSelectors: [] }),
      rejectsWith('INVALID_REQUEST'),
    );
  await assert.rejects(
    w.addEntry({ spiffeId: 'spiffe://mesh.test/web', parentId: agentId('word') }),
    rejectsWith('PARENT_INVALID'),
  );
  await using without = await worldWith();
  await without.addEntry({ spiffeId: 'spiffe://mesh.test/web', parentId: agentId('word') });
});

test('a type that leaves its names, its folder or its selectors gives nobody an identity', async () => {
  for (const proof of [
    { agentName: 'Upper' },
    { agentName: '../server' },
    { agentName: '' },
    { selectors: [{ type: 'unix', value: 'uid:0' }] },
    { selectors: [{ type: 'x509pop', value: 'subject:cn:n' }] },
    { selectors: Array.from({ length: 300 }, (_, at) => ({ type: 'word', value: `n:${at}` })) },
  ]) {
    await using w = await worldWith(byWord(proof));
    await assert.rejects(attest(w, 'hello'), rejectsWith('INTERNAL'));
    assert.equal((await w.store.agents.list({}, { size: 5 })).items.length, 0);
  }
});

test('two types that name agents as operators do can not take an agent from each other', async () => {
  await using w = await worldWith(byWord({}, { namespace: 'operator', isAgentName: () => true }));
  await w.joinAgent('edge');
  await assert.rejects(attest(w, 'edge'), rejectsWith('ATTESTATION_FAILED'));
  await assert.rejects(attest(w, 'join_token'), rejectsWith('ATTESTATION_FAILED'));
  await attest(w, 'core');
  await assert.rejects(w.joinAgent('core'), rejectsWith('ATTESTATION_FAILED'));
  const agent = await w.store.agents.byId(agentId('edge'));
  assert.ok(agent !== undefined);
  assert.equal(agent.attestationType, 'join_token');
  await assert.rejects(
    w.store.agents.record({
      agent: { ...agent, attestationType: 'word' },
      act: 'attest',
      event: {
        timeMs: w.clock.nowMs(),
        actor: agent.spiffeId,
        kind: 'agent.attested',
        subject: agent.spiffeId,
        detail: {},
      },
    }),
    rejectsWith('ATTESTATION_FAILED'),
    'the transaction refuses as well',
  );
});

test('one-key evidence gives one session, repeats a lost answer, and works again after an eviction', async () => {
  await using w = await worldWith(byWord({ use: { kind: 'once' } }));
  const same = { key: newKey(), requestId: uuidv7() };
  const first = await attest(w, 'hello', same);
  assert.equal((await attest(w, 'hello', same)).leaf.serial, first.leaf.serial);
  await assert.rejects(attest(w, 'hello'), rejectsWith('ATTESTATION_FAILED'));
  assert.equal(((await w.callerOf(first.leaf)) as AgentCaller).generation, 1);
  await w.services.agents.evict(local, agentId('word/hello'), '');
  assert.equal(((await w.callerOf((await attest(w, 'hello')).leaf)) as AgentCaller).generation, 3);
});

test('a type that is unknown or not configured is refused, and the refusal names what is offered', async () => {
  await using w = await createServicesWorld();
  for (const type of ['word', 'x509pop', '', '__proto__'])
    await assert.rejects(
      w.services.attestation
        .open({ peer: '192.0.2.1:1', serverCertificateSha256: Buffer.alloc(32) })
        .start({
          protocolVersion: 1,
          agentVersion: '1',
          requestId: uuidv7(),
          csrDer: createCsr(newKey()),
          evidence: { kind: 'node', type, payload: Buffer.alloc(0) },
        }),
      (error: unknown) =>
        rejectsWith('ATTESTATION_FAILED')(error) && /offers join_token$/.test(String(error)),
    );
});
