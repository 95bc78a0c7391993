import assert from 'node:assert/strict';
import { mkdtemp, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { formatNote } from '../../../../src/common/tlog/index.ts';
import { CheckpointKeeper } from '../../../../sidecar/state/index.ts';
import { stateWrites } from '../../../support/state-writes.ts';

const note = (size: number, epoch = 0, keyId = 1): string =>
  formatNote({
    text: `td/meshca/audit${epoch === 0 ? '' : `/${epoch}`}\n${size}\n${Buffer.alloc(32, size).toString('base64')}\n`,
    signatures: [
      {
        name: `td/meshca/audit${epoch === 0 ? '' : `/${epoch}`}`,
        keyId: Buffer.alloc(4, keyId),
        signature: Buffer.alloc(64),
      },
    ],
  });

test('an agent keeps the largest checkpoint over a restart, until a later epoch or another log', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-keep-'));
  try {
    const keeper = await CheckpointKeeper.open(directory, stateWrites(), () => {});
    assert.equal(keeper.note, '');
    assert.equal(await keeper.keep(note(10)), true);
    assert.equal(
      await keeper.keep(note(9)),
      false,
      'a smaller one, as of a database that was put back',
    );
    assert.equal(await keeper.keep('no checkpoint'), false);
    assert.equal(await keeper.keep(`${note(11)}${'x'.repeat(9_000)}`), false);
    assert.equal(await keeper.keep(note(12)), true);
    assert.equal((await stat(join(directory, 'log-checkpoint'))).mode & 0o777, 0o600);
    assert.equal((await CheckpointKeeper.open(directory, stateWrites(), () => {})).note, note(12));
    assert.equal(await keeper.keep(note(3, 1)), true, 'an accepted loss');
    assert.equal(await keeper.keep(note(500)), false, 'the epoch before');
    assert.equal(await keeper.keep(note(2, 0, 2)), true, 'a log made anew, under another key');
    await writeFile(join(directory, 'log-checkpoint'), 'damaged');
    assert.equal((await CheckpointKeeper.open(directory, stateWrites(), () => {})).note, '');
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
