import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { interruption, remember, unlessInterrupted } from '../../../src/cli/interruption.ts';
import { PkiError } from '../../../src/common/errors/index.ts';

const never = new Promise<never>(() => {});

describe('an interrupted command', () => {
  test('ends although it waits for something that never comes', async () => {
    const stop = new AbortController();
    const command = unlessInterrupted({ signal: stop.signal }, never);
    stop.abort();
    await assert.rejects(command, (thrown) => PkiError.from(thrown).code === 'CANCELLED');
  });

  test('does not count as done when it was interrupted before its end', async () => {
    const stop = new AbortController();
    stop.abort();
    await assert.rejects(unlessInterrupted({ signal: stop.signal }, Promise.resolve(1)));
    assert.equal(
      await unlessInterrupted({ signal: new AbortController().signal }, Promise.resolve(1)),
      1,
    );
  });

  test('says what may still happen, and how to look', () => {
    const stop = new AbortController();
    const { signal } = stop;
    remember(signal, 'BanAgent');
    remember(signal, 'ListAgents');
    remember(signal, 'CreateEntries')();
    stop.abort();
    const said = interruption({ signal }, new Error('cancelled'));
    assert.match(said.message, /BanAgent$/);
    assert.match(said.next, /may still do it.*meshca audit list/);
  });

  test('says that nothing changes where it only read, and keeps the advice of the command', () => {
    const signal = AbortSignal.abort();
    remember(signal, 'ListAgents');
    assert.match(interruption({ signal }, new Error('cancelled')).next, /Nothing/);
    const own = new PkiError('CANCELLED', 'no longer waiting', { next: 'The server goes on.' });
    assert.equal(interruption({ signal }, own).next, 'The server goes on.');
  });
});
