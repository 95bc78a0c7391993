import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Authority } from '../../../../src/domain/index.ts';
import { ReplacementSource } from '../../../../src/services/sync/replacements.ts';
import { FakeClock } from '../../../support/agent.ts';

const authority = (id: string, of: Partial<Authority>): Authority =>
  ({ id, state: 'active', taintWindowSeconds: null, ...of }) as Authority;

test('a holder is told its certificates for names whose authority is tainted, by serial', async () => {
  const revoked = new Set<string>();
  const authorities = [
    authority('names', { kind: 'names-issuing', state: 'tainted', taintWindowSeconds: 40 }),
    authority('next', { kind: 'names-issuing' }),
    authority('mesh', { kind: 'issuing', state: 'tainted' }),
  ];
  const held = ['names', 'next', 'mesh', 'names'].map((authorityId, index) => ({
    ...{ serial: `0${index}`, publicKeySha256: `k${index}`, authorityId },
  }));
  const source = new ReplacementSource({
    certificates: { unreplacedOf: async (holder) => (holder === 'n1' ? held : []) },
    revocations: { revoked: (serial) => revoked.has(serial) },
    blockedKeys: { get: () => undefined },
    authorities: { all: () => authorities },
    clock: new FakeClock(),
    taintWindowSeconds: 300,
  });
  assert.deepEqual(await source.of('n1'), {
    ...{ kind: 'replace', serials: ['00', '03'], windowSeconds: 40 },
  });
  assert.deepEqual((await source.of('n2')).serials, []);
  revoked.add('01');
  const urgent = await source.of('n1');
  assert.deepEqual([urgent.serials, urgent.windowSeconds], [['00', '01', '03'], 5]);
});
