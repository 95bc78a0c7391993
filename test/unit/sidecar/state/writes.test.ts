import assert from 'node:assert/strict';
import { beforeEach, describe, test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { PkiError } from '../../../../src/common/errors/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { StateWrites } from '../../../../sidecar/state/index.ts';
import { FakeClock } from '../../../support/agent.ts';

const full = new PkiError('STATE_UNUSABLE', 'no space left on device');

describe('what is to stand in the state directory', () => {
  let clock: FakeClock;
  let writes: StateWrites;
  let disk: Map<string, string>;
  let fault: PkiError | undefined;
  let directory: 'held' | 'retaken' | PkiError;
  let failures: number;

  beforeEach(() => {
    clock = new FakeClock();
    disk = new Map();
    fault = undefined;
    directory = 'held';
    failures = 0;
    writes = new StateWrites({
      directory: {
        async verify() {
          if (typeof directory !== 'string') throw directory;
          const now = directory;
          directory = 'held';
          return now;
        },
      },
      clock,
      logger: silentLogger,
      onFailure: () => (failures += 1),
    });
  });

  const write = (file: string, text: string) => async (): Promise<void> => {
    if (fault !== undefined) throw fault;
    disk.set(file, text);
  };

  test('is kept at once where the disk takes it', async () => {
    assert.equal(await writes.put('a', write('a', '1')), true);
    assert.deepEqual([...disk], [['a', '1']]);
    assert.deepEqual(writes.unkept(), []);
  });

  test('stays owed while the disk is full, is tried again, and only the newest is written then', async () => {
    const changes: number[] = [];
    writes.onChange(() => changes.push(writes.unkept().length));
    fault = full;
    assert.equal(await writes.put('a', write('a', '1')), false);
    assert.equal(await writes.put('a', write('a', '2')), false);
    assert.deepEqual(
      writes.unkept().map(({ file, error }) => [file, error]),
      [['a', full]],
    );
    assert.equal(writes.kept('a'), false);
    fault = undefined;
    clock.advance(30_000);
    await setImmediate();
    assert.deepEqual([...disk], [['a', '2']]);
    assert.equal(writes.kept('a'), true);
    assert.deepEqual(changes, [1, 0]);
    assert.equal(failures, 2);
  });

  test('waits for the file that it depends on', async () => {
    fault = full;
    await writes.put('credential', write('credential', 'new'));
    const cleared = async (): Promise<void> => void disk.set('pending', 'cleared');
    assert.equal(await writes.put('pending', cleared, 'credential'), false);
    assert.equal(disk.has('pending'), false);
    fault = undefined;
    await writes.flush();
    assert.deepEqual([...disk.keys()], ['credential', 'pending']);
  });

  test('is written whole into a directory that was lost, also what an earlier run wrote', async () => {
    writes.watch();
    writes.remember('b', write('b', 'earlier'));
    await writes.put('a', write('a', '1'));
    disk.clear();
    directory = 'retaken';
    clock.advance(5_000);
    await setImmediate();
    assert.deepEqual(
      new Map([...disk].sort()),
      new Map([
        ['a', '1'],
        ['b', 'earlier'],
      ]),
    );
    await writes[Symbol.asyncDispose]();
  });

  test('is not written while another agent holds the directory', async () => {
    await writes.put('a', write('a', '1'));
    disk.clear();
    directory = new PkiError('STATE_LOCKED', 'process 7 runs an agent there');
    await writes.flush();
    assert.deepEqual([...disk], []);
    assert.deepEqual(
      writes.unkept().map(({ error }) => error.code),
      ['STATE_LOCKED'],
    );
  });
});
