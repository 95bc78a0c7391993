import assert from 'node:assert/strict';
import { chmod, mkdir, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { TrustDomain } from '../../../../src/common/spiffe/index.ts';
import { pkcs8Of } from '../../../../src/common/x509/index.ts';
import { BundleStore, parseBundleDocument, rootsOnly } from '../../../../sidecar/bundle/index.ts';
import { SyncedEntryCache } from '../../../../sidecar/cache/index.ts';
import { AgentState, loadEntries, saveEntries } from '../../../../sidecar/state/index.ts';
import { entryOf } from '../../../support/agent.ts';
import { EntriesReceiver } from '../../../../sidecar/sync/index.ts';
import { silentLogger } from '../../../../src/common/runtime/index.ts';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { makeKey } from '../../../support/x509.ts';
import { agentId, FakeServer, newJwtKey } from '../../../support/agent-fake-server.ts';
import { stateWrites } from '../../../support/state-writes.ts';
import { until } from '../../../support/until.ts';
import { trustDomain, directoryFor, startAgent, startServer } from './session-support.ts';

test('damaged or foreign state is refused with its file named, and an open key file too', async (context) => {
  const server = await startServer(context);
  const directory = await directoryFor(context);
  const agent = await startAgent(context, server, { directory });
  await until(() => agent.cache.synced(), 'the snapshot');
  await agent.stop();
  const file = join(directory, 'agent-svid.json');
  const good = await readFile(file, 'utf8');
  const state = await AgentState.open(directory, trustDomain, stateWrites());
  for (const bad of [
    '',
    '{',
    good.slice(0, 100),
    good.replace('"serial"', '"serail"'),
    JSON.stringify({
      ...JSON.parse(good),
      privateKey: pkcs8Of(makeKey().privateKey).toString('base64'),
    }),
  ]) {
    await writeFile(file, bad);
    await assert.rejects(
      state.credential(),
      (error: { code: string; message: string }) =>
        error.code === 'STATE_CORRUPT' && error.message.includes('agent-svid.json'),
    );
  }
  await writeFile(file, good);
  await assert.rejects(
    (await AgentState.open(directory, TrustDomain.of('other'), stateWrites())).credential(),
    {
      code: 'TRUST_DOMAIN_CHANGED',
    },
  );
  assert.ok((await state.credential()) !== undefined, 'the right name takes it as before');
  await chmod(file, 0o644);
  await assert.rejects(state.credential(), { code: 'STATE_UNUSABLE' });
  await rm(file);
  await symlink('/etc/hostname', file);
  await assert.rejects(state.credential(), { code: 'STATE_UNUSABLE' });
});

test('a state directory is narrowed to its owner and cleared of temporary files; a link is refused', async (context) => {
  const directory = await directoryFor(context);
  await mkdir(directory, { mode: 0o755 });
  await writeFile(join(directory, '.0123456789abcdef.tmp'), 'half');
  await AgentState.open(directory, trustDomain, stateWrites());
  assert.equal((await stat(directory)).mode & 0o777, 0o700);
  assert.deepEqual(await readdir(directory), []);
  await symlink(directory, `${directory}-link`);
  await assert.rejects(AgentState.open(`${directory}-link`, trustDomain, stateWrites()), {
    code: 'STATE_UNUSABLE',
  });
});

test('a bundle of roots alone takes its first document over a verified connection only', async () => {
  const server = new FakeServer();
  const saved: string[] = [];
  const store = new BundleStore(trustDomain, silentLogger, {
    own: (json) => Promise.resolve(saved.push(json) > 0),
    federated: async () => true,
  });
  store.restore(rootsOnly([server.root.parsed.raw]));
  assert.equal(store.canVerifySteps(), false);
  await assert.rejects(store.advance([await server.bundleStep(1)]), { code: 'SERVER_UNTRUSTED' });
  await store.bootstrap(await server.bundleStep(1));
  assert.equal(store.current()?.sequence, 1);
  await assert.rejects(
    store.bootstrap(await server.bundleStep(2, newJwtKey('evil'))),
    { code: 'SERVER_UNTRUSTED' },
    'no second time',
  );
  assert.equal(unwrap(parseBundleDocument(saved[0] as string)).sequence, 1);
});

test('kept entries count for their agent only, and only whole', async (context) => {
  const directory = await directoryFor(context);
  await AgentState.open(directory, trustDomain, stateWrites());
  const cache = new SyncedEntryCache({ trustDomain, clock: systemClock, logger: silentLogger });
  const entries = Array.from({ length: 450 }, (_, index) =>
    entryOf(`e${index}`, [`unix:uid:${index}`], { placeholders: new Map([['unix.user', ['a']]]) }),
  );
  await saveEntries(directory, agentId, { epoch: 'e', revision: 7 }, entries);
  const loaded = await loadEntries(directory, agentId);
  assert.deepEqual(loaded?.position, { epoch: 'e', revision: 7 });
  assert.deepEqual(loaded?.entries, entries);
  assert.equal(await loadEntries(directory, 'spiffe://td/meshca/agent/other'), undefined);
  const file = join(directory, 'entries.ndjson');
  const text = await readFile(file, 'utf8');
  for (const bad of [
    text.slice(0, -20),
    text.split('\n').toSpliced(5, 1).join('\n'),
    'nonsense',
    '',
  ]) {
    await writeFile(file, bad);
    assert.equal(await loadEntries(directory, agentId), undefined);
  }
  const receiver = new EntriesReceiver(cache, { agentId, position: { epoch: 'e', revision: 7 } });
  receiver.begin(agentId);
  assert.equal(receiver.position?.revision, 7);
  receiver.begin('spiffe://td/meshca/agent/renamed');
  assert.equal(receiver.position, undefined);
});
