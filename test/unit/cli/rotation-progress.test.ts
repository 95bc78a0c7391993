import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { follow } from '../../../src/cli/rotation-progress.ts';
import { testContext } from '../../support/command.ts';

test('a command whose server is gone says that its goal is on record, and not to give it again', async () => {
  const { context } = testContext();
  const goal = { reached: () => false, line: () => '' };
  await assert.rejects(
    follow(context, { serverSocket: '/nonexistent/admin.sock' }, goal, { failures: 2, pauseMs: 1 }),
    (error: PkiError) =>
      error.code === 'UNREACHABLE' &&
      /what the command asked for is on record/.test(error.message) &&
      /do not give the command again.*meshca authority status --watch/.test(error.next),
  );
});
