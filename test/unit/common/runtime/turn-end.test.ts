import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { stat } from 'node:fs';
import { test } from 'node:test';
import { atTurnEnd, nextTurn } from '../../../../src/common/runtime/index.ts';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('at the end of a turn each stage runs wholly before the next, with the work that it causes', async () => {
  const order: string[] = [];
  atTurnEnd('hand-over', () => order.push('hand-over'));
  atTurnEnd('write', () => {
    order.push('write');
    atTurnEnd('hand-over', () => order.push('second hand-over'));
  });
  for (const name of ['a', 'b']) {
    atTurnEnd('gather', () => {
      order.push(name);
      atTurnEnd('write', () => order.push(`write of ${name}`));
    });
  }
  assert.deepEqual(order, []);
  await turn();
  assert.deepEqual(order, [
    'a',
    'b',
    'write',
    'write of a',
    'write of b',
    'hand-over',
    'second hand-over',
  ]);
  await turn();
  assert.equal(order.length, 7, 'each once');
});

test('what asks for a stage that is over is called in the next turn', async () => {
  const order: string[] = [];
  atTurnEnd('write', () => atTurnEnd('gather', () => order.push('gather')));
  await turn();
  assert.deepEqual(order, []);
  await turn();
  assert.deepEqual(order, ['gather']);
});

test('one that throws ends as any uncaught exception does, and the others are called all the same', () => {
  const { status, stdout } = spawnSync(
    process.execPath,
    [
      '--input-type=module',
      '--eval',
      `
    import { atTurnEnd } from ${JSON.stringify(new URL(`../../../../src/common/runtime/index.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url).href)};
    process.on('uncaughtException', (error) => console.log(error.message));
    atTurnEnd('gather', () => { throw new Error('a defect'); });
    atTurnEnd('gather', () => console.log('gather'));
    atTurnEnd('write', () => console.log('write'));
  `,
    ],
    { encoding: 'utf8' },
  );
  assert.equal(status, 0);
  assert.deepEqual(stdout.trim().split('\n'), ['a defect', 'gather', 'write']);
});

test('what waits for the next turn goes on after all that this one does at its end', async () => {
  const order: string[] = [];
  await new Promise<void>((resolve) => {
    stat('.', () => {
      void nextTurn().then(() => {
        order.push('next turn');
        resolve();
      });
      setImmediate(() => order.push('end of this turn'));
    });
  });
  assert.deepEqual(order, ['end of this turn', 'next turn']);
});
