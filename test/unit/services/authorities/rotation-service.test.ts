import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RotationOperation } from '../../../../src/domain/index.ts';
import { RotationService } from '../../../../src/services/authorities/rotation-service.ts';
import { FakeClock } from '../../../support/agent.ts';
import { local } from '../../../support/services-world.ts';

/** A service with one standby authority that waits for its activation. */
function standbyWorld() {
  const standby = {
    ...{ id: 'standby', kind: 'issuing', state: 'published', token: 'standby' },
    ...{ ckaId: 'a1', scope: {}, version: 1 },
  };
  const opened: RotationOperation[] = [];
  const service = new RotationService({
    clock: new FakeClock(),
    canUse: () => true,
    access: { all: { kind: 'none' }, of: async () => ({ require: () => {} }) },
    refusals: { refused: async () => '' },
    controller: { poke: () => {}, look: async () => ({}) },
    store: {
      authorities: { list: async () => [standby] },
      rotations: {
        list: async () => [],
        create: async (operation: RotationOperation) => void opened.push(operation),
      },
    },
  } as unknown as ConstructorParameters<typeof RotationService>[0]);
  return { service, opened };
}

const proceeding = {
  ...{ id: 'standby', kind: 'issuing' as const, reason: 'the issuing token is lost', force: false },
  disregarded: [] as readonly string[],
} as const;

test('agents to disregard are refused where a standby authority begins to sign', async () => {
  const { service, opened } = standbyWorld();
  const agent = 'spiffe://td/meshca/agent/n1';
  await assert.rejects(service.proceed(local, { ...proceeding, disregarded: [agent] }), {
    code: 'INVALID_REQUEST',
    message: 'this rotation has no canary, so that no handshake reports are judged',
  });
  assert.deepEqual(opened, []);
  await service.proceed(local, proceeding);
  assert.equal(opened.length, 1);
});
