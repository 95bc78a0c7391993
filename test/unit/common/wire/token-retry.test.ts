import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError, type ErrorCode } from '../../../../src/common/errors/index.ts';
import { whileItMayPass } from '../../../../src/common/wire/token-retry.ts';
import { codeOf } from '../../../support/server.ts';

/** Fails with these codes, one a call, and then succeeds. */
function failing(...codes: readonly ErrorCode[]) {
  const left = [...codes];
  let calls = 0;
  return {
    calls: () => calls,
    act: async (): Promise<string> => {
      calls += 1;
      const code = left.shift();
      if (code !== undefined) throw new PkiError(code, 'it failed');
      return 'done';
    },
  };
}

test('what may pass is tried again, and a server that shuts down comes back', async () => {
  const ask = failing('SHUTTING_DOWN', 'UNREACHABLE');
  assert.equal(await whileItMayPass({ waitMs: 60_000 }, ask.act), 'done');
  assert.equal(ask.calls(), 3);
});

test('a refusal is not tried again, nor is anything without a time to wait', async () => {
  const refused = failing('TOKEN_REPLAYED');
  assert.equal(await codeOf(whileItMayPass({ waitMs: 60_000 }, refused.act)), 'TOKEN_REPLAYED');
  const away = failing('UNREACHABLE');
  assert.equal(await codeOf(whileItMayPass({ waitMs: 0 }, away.act)), 'UNREACHABLE');
  assert.deepEqual([refused.calls(), away.calls()], [1, 1]);
});

test('what a failure means to the caller decides whether it is tried again', async () => {
  const ask = failing('INTERNAL');
  const explain = (): PkiError => new PkiError('UNREACHABLE', 'nobody answers');
  assert.equal(await whileItMayPass({ waitMs: 60_000, explain }, ask.act), 'done');
});

test('a pause ends when the caller gives up', async () => {
  const ask = failing('UNREACHABLE', 'UNREACHABLE');
  await assert.rejects(whileItMayPass({ waitMs: 60_000, signal: AbortSignal.abort() }, ask.act));
  assert.equal(ask.calls(), 1);
});
