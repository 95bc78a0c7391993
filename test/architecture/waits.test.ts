import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { tokenize } from './tokens.ts';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

/** Files below test/ that set timers of the machine, with the number of places and the reason. */
const exceptions: Readonly<Record<string, readonly [number, string]>> = {
  'support/until.ts': [1, 'between two looks at a condition'],
  'support/agent.ts': [1, 'settle() lets timers of one millisecond run'],
  'support/drill.ts': [2, 'limits of a drill that hangs'],
  'support/fake-product.ts': [1, 'a fake that sends again and again'],
  'support/mesh.ts': [1, 'pace of the traffic'],
  'support/sim-agent.ts': [1, 'an agent waits before it connects again'],
  'fault/rotation-kill.test.ts': [1, 'limit of a process that does not end'],
  'integration/sidecar/attest/unix/inspector.test.ts': [1, 'counts turns of the event loop'],
  'integration/sidecar/state/lock-holder.ts': [1, 'a process that does nothing until it is killed'],
  'unit/common/runtime/clock.test.ts': [3, 'the clock of the machine itself'],
  'interop/clients.interop.ts': [1, 'pause before a foreign client tries again'],
  'interop/spire.interop.ts': [1, 'pace of the load'],
};

/** How often a source makes a timer of the machine, other than through a clock. */
function timersIn(source: string): number {
  const tokens = tokenize(source);
  const imported = /import \{[^}]*\bsetTimeout as (\w+)[^}]*\} from 'node:timers\/promises'/.exec(
    source,
  );
  const names = new Set(['setTimeout', 'setInterval', ...(imported?.[1] ? [imported[1]] : [])]);
  return tokens.filter(
    ({ kind, text }, at) =>
      kind === 'word' &&
      tokens[at + 1]?.text === '(' &&
      (tokens[at - 1]?.text === '.'
        ? text === 'sleep' && tokens[at - 2]?.text === 'systemClock'
        : names.has(text)),
  ).length;
}

test('no test waits for a fixed time', () => {
  const folder = join(root, 'test');
  const timers = readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => [path, timersIn(readFileSync(join(folder, path), 'utf8'))] as const)
    .filter(([, count]) => count > 0);
  assert.ok(timers.length > 0, 'until() is found');
  assert.deepEqual(
    Object.fromEntries(timers),
    Object.fromEntries(Object.entries(exceptions).map(([path, [count]]) => [path, count])),
    'wait for a condition (support/until.ts) or inject a clock; an exception needs its reason here',
  );
});

test('a fixed wait is found by every name that it has', () => {
  const found = (...lines: readonly string[]): number => timersIn(lines.join('\n'));
  assert.equal(
    found("import { setTimeout as nap } from 'node:timers/promises';", 'await nap(5);'),
    1,
  );
  assert.equal(found('await new Promise((resolve) => setTimeout(resolve, 5));'), 1);
  assert.equal(found('setInterval(look, 5);', 'await systemClock.sleep(5);'), 2);
  assert.equal(found("spawn('node', ['-e', 'setTimeout(end, 5)']);", 'clock.sleep(5);'), 0);
});
