import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import { Lateness } from '../../../src/audit/lateness.ts';

function world(): {
  readonly lateness: Lateness;
  readonly state: { waitingMs: number; excused: boolean };
  readonly said: string[];
} {
  const state = { waitingMs: 0, excused: false };
  const said: string[] = [];
  const logger: Logger = {
    ...silentLogger,
    error: (fields) => void said.push(String((fields as { readonly code: string }).code)),
    info: () => void said.push('again'),
  };
  const lateness = new Lateness({
    waitingMs: () => state.waitingMs,
    excused: () => state.excused,
    signer: () => ({ token: 'issuing' }),
    changed: () => void said.push('changed'),
    logger,
  });
  return { lateness, state, said };
}

test('records that wait two minutes for a checkpoint are announced once, and once their end', () => {
  const { lateness, state, said } = world();
  state.waitingMs = 119_999;
  lateness.judge();
  assert.deepEqual([lateness.late, said], [false, []]);
  state.waitingMs = 120_000;
  for (const _ of 'twice') lateness.judge();
  assert.deepEqual([lateness.late, said], [true, ['AUDIT_LATE', 'changed']]);
  state.waitingMs = 0;
  for (const _ of 'twice') lateness.judge();
  assert.deepEqual(said.slice(2), ['again', 'changed']);
});

test('while the database is stale no checkpoint is due', () => {
  const { lateness, state, said } = world();
  Object.assign(state, { waitingMs: 500_000, excused: true });
  lateness.judge();
  assert.deepEqual([lateness.late, said], [false, []]);
});
