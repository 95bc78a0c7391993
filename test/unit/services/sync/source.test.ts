import assert from 'node:assert/strict';
import { test } from 'node:test';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { crlBounds } from '../../../../src/domain/index.ts';
import {
  SyncSource,
  type Crls,
  type SyncSourceDependencies,
} from '../../../../src/services/sync/source.ts';

const sourceWith = (
  bytes: number,
): { readonly source: SyncSource; readonly set: ReturnType<Crls['set']> } => {
  const set = [{ authorityId: 'a', der: Buffer.alloc(bytes), nextUpdate: 0 }];
  const source = new SyncSource({
    authorities: { tainted: () => [], published: () => [] },
    crls: { set: () => set },
    clock: systemClock,
    taintWindowSeconds: 0,
    replacements: { taintedOfNames: () => new Map() },
  } as unknown as SyncSourceDependencies);
  return { source, set };
};

test('agents get the CRLs as they are while a message can take them', () => {
  const { source, set } = sourceWith(crlBounds.agents);
  assert.equal(source.authoritiesMessage().crls, set);
});

test('agents get no CRLs that are too large for a message, and everything else', () => {
  const { source } = sourceWith(crlBounds.agents + 1);
  const first = source.authoritiesMessage();
  assert.deepEqual([first.crls, first.tainted, first.published], [[], [], []]);
  source.authoritiesMoved();
  assert.equal(
    source.authoritiesMessage().crls,
    first.crls,
    'the same, so that nothing is sent anew',
  );
});
