import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { chmod, chown, mkdir, mkdtemp, open, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, test, type TestContext } from 'node:test';
import type { PkiError } from '../../../../src/common/errors/index.ts';
import { ReloadRequests, silentLogger } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { runAgent } from '../../../../sidecar/main.ts';
import {
  AgentState,
  CheckpointKeeper,
  loadEntries,
  loadHoldings,
  lockDirectory,
} from '../../../../sidecar/state/index.ts';
import { stateWrites } from '../../../support/state-writes.ts';

const trustDomain = TrustDomain.of('td');
const stranger = 23_456;
const unusable = { code: 'STATE_UNUSABLE' };

async function parentOf(context: TestContext): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), 'meshca-planted-'));
  context.after(() => rm(parent, { recursive: true, force: true }));
  return parent;
}

async function stateOf(context: TestContext): Promise<{ directory: string; state: AgentState }> {
  const directory = join(await parentOf(context), 'data');
  return { directory, state: await AgentState.open(directory, trustDomain, stateWrites()) };
}

const planted = {
  'bundle.json': (state: AgentState) => state.bundle(),
  'agent-svid.json': (state: AgentState) => state.credential(),
  'pending-request.json': (state: AgentState) => state.pending(),
};

describe('a state directory', () => {
  test('that others could write into is refused with what is in it, whatever it is', async (context) => {
    const directory = join(await parentOf(context), 'data');
    for (const mode of [0o777, 0o1777, 0o770, 0o702]) {
      await mkdir(directory);
      await writeFile(join(directory, 'bundle.json'), '{"keys":[]}', { mode: 0o600 });
      await chmod(directory, mode);
      for (const use of [
        () => AgentState.open(directory, trustDomain, stateWrites()),
        () => lockDirectory(directory, { pid: 1, now: 1 }),
      ])
        await assert.rejects(
          use,
          (error: PkiError) =>
            error.code === 'STATE_UNUSABLE' && error.message.includes(mode.toString(8)),
        );
      assert.equal((await stat(directory)).mode & 0o7777, mode, 'left as the operator must see it');
      await rm(directory, { recursive: true });
    }
  });

  test('that others could write into is narrowed and used while nothing is in it', async (context) => {
    const directory = await parentOf(context);
    await chmod(directory, 0o777);
    await AgentState.open(directory, trustDomain, stateWrites());
    assert.equal((await stat(directory)).mode & 0o777, 0o700);
  });
});

describe('a file in the state directory', () => {
  test('that belongs to somebody else is not believed', async (context) => {
    const { directory, state } = await stateOf(context);
    for (const [name, read] of Object.entries(planted)) {
      const path = join(directory, name);
      await writeFile(path, '{"keys":[]}', { mode: 0o600 });
      await chown(path, stranger, stranger);
      await assert.rejects(
        read(state),
        (error: PkiError) =>
          error.code === 'STATE_UNUSABLE' && error.message.includes(`user ${stranger}`),
        name,
      );
    }
  });

  test('that only helps is passed over when it belongs to somebody else', async (context) => {
    const { directory } = await stateOf(context);
    const holder = {
      ...{ spiffeId: 'spiffe://td/a', takes: 'roots', state: 'confirmed', digest: '' },
      ...{ description: 'a', holder: '1 2', until: 1 },
    };
    const holdings = JSON.stringify({ version: 1, holders: [holder] });
    const entries = '{"version":1,"agentId":"me","epoch":"e","revision":1}\n{"end":0}\n';
    const files = { 'holdings.json': holdings, 'entries.ndjson': entries };
    for (const [name, text] of Object.entries(files))
      await writeFile(join(directory, name), text, { mode: 0o600 });
    assert.equal((await loadHoldings(directory)).length, 1);
    assert.notEqual(await loadEntries(directory, 'me'), undefined);
    for (const name of Object.keys(files)) await chown(join(directory, name), stranger, stranger);
    assert.deepEqual(await loadHoldings(directory), []);
    assert.equal(await loadEntries(directory, 'me'), undefined);
  });

  test('that is a FIFO makes nobody wait', async (context) => {
    const { directory, state } = await stateOf(context);
    const names = ['holdings.json', 'entries.ndjson', 'log-checkpoint', 'agent.lock'];
    for (const name of [...Object.keys(planted), ...names])
      execFileSync('mkfifo', ['-m', '600', join(directory, name)]);
    for (const read of Object.values(planted)) await assert.rejects(read(state), unusable);
    assert.deepEqual(await loadHoldings(directory), []);
    assert.equal(await loadEntries(directory, 'me'), undefined);
    assert.equal((await CheckpointKeeper.open(directory, stateWrites(), () => {})).note, '');
    await assert.rejects(lockDirectory(directory, { pid: 1, now: 1 }), unusable);
  });
});

test('an agent whose start waits on a file ends cleanly when it is told to', async (context) => {
  const parent = await parentOf(context);
  const bundlePath = join(parent, 'bundle');
  execFileSync('mkfifo', [bundlePath]);
  // a writer that writes nothing: who reads waits, until it is closed
  const writer = await open(bundlePath, 'r+');
  const configPath = join(parent, 'agent.json');
  await writeFile(
    configPath,
    JSON.stringify({
      trustDomain: 'td',
      serverAddress: '127.0.0.1:1',
      dataDir: join(parent, 'data'),
      bootstrap: { bundlePath },
      attestation: { joinToken: { token: 'token' } },
    }),
  );
  const stop = new AbortController();
  const exit = runAgent({
    reloads: new ReloadRequests(),
    configPath,
    env: {},
    stdout: new PassThrough(),
    stderr: new PassThrough(),
    signal: stop.signal,
    logger: silentLogger,
  });
  stop.abort();
  assert.equal(await exit, 0);
  // nobody begins to read any more, and who reads is let go
  await rm(bundlePath);
  await writer.close();
});
