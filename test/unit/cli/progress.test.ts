import assert from 'node:assert/strict';
import { test } from 'node:test';
import { showProgress } from '../../../src/cli/progress.ts';
import { testContext } from '../../support/command.ts';

const line = (seconds: number): string => `waiting, ${seconds} s`;

test('a long wait is shown on a terminal in one line, and cleared', ({ mock }) => {
  mock.timers.enable({ apis: ['setInterval'] });
  const { context, seen } = testContext({
    terminal: { isTerminal: true, columns: 80, color: false },
  });
  const end = showProgress(context, line);
  mock.timers.tick(1_000);
  assert.equal(seen.err, '');
  mock.timers.tick(2_000);
  assert.equal(seen.err, '\r\u001b[Kwaiting, 2 s\r\u001b[Kwaiting, 3 s');
  end();
  mock.timers.tick(5_000);
  assert.equal(String(seen.err).slice(-6), ' s\r\u001b[K');
});

test('nothing is shown for a short wait or in a pipe', ({ mock }) => {
  mock.timers.enable({ apis: ['setInterval'] });
  for (const isTerminal of [true, false]) {
    const { context, seen } = testContext({ terminal: { isTerminal, columns: 80, color: false } });
    const end = showProgress(context, line);
    mock.timers.tick(isTerminal ? 1_000 : 60_000);
    end();
    assert.equal(seen.err, '');
  }
});
