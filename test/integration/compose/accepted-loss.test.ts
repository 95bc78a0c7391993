import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { silentLogger, systemClock } from '../../../src/common/runtime/index.ts';
import type { OutsideCheckpoint } from '../../../src/audit/index.ts';
import { recordAcceptedLoss } from '../../../src/compose/accepted-loss.ts';
import { serverConfigSchema } from '../../../src/config/index.ts';
import { readCanonical } from '../../../src/domain/index.ts';
import { replaceDatabase } from '../../../src/store/index.ts';
import { attested, event } from '../../compliance/store/fixtures.ts';
import { logWorld, openLog, type LogWorld } from '../../support/log-world.ts';

const agent = (name: string): string => `spiffe://mesh.test/meshca/agent/${name}`;
const end = (name: string, kind: 'agent.banned' | 'agent.evicted') =>
  [
    agent(name),
    kind === 'agent.banned' ? 'banned' : 'evicted',
    'stolen',
    event(kind, agent(name)),
  ] as const;

describe('a loss that an operator accepts', () => {
  let folder: string;
  let world: LogWorld;
  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'meshca-loss-'));
    world = logWorld(join(folder, 'meshca.db'));
    await using opened = await openLog(world);
    const { agents } = opened.store;
    for (const name of ['banned', 'lifted', 'bystander'])
      await agents.record({
        agent: attested({ spiffeId: agent(name) }),
        act: 'attest',
        event: event('agent.attested', agent(name)),
      });
    await opened.log.catchUp();
    await opened.store.backup(join(folder, 'older.db'));
    await agents.setState(...end('banned', 'agent.banned'));
    await agents.setState(...end('lifted', 'agent.banned'));
    await agents.setState(...end('lifted', 'agent.evicted'));
    await opened.log.catchUp();
  });
  after(() => rmSync(folder, { recursive: true, force: true }));

  /** Puts the backup back, accepts, and tells who is banned and what is on record. */
  async function accept(change: (lost: OutsideCheckpoint) => OutsideCheckpoint): Promise<{
    readonly banned: readonly string[];
    readonly detail: Readonly<Record<string, unknown>>;
    readonly epoch: boolean;
  }> {
    await using opened = await openLog(world);
    const { store, log } = opened;
    assert.ok(log.stale !== undefined);
    const before = await store.meta.position();
    const config = serverConfigSchema.parse({
      trustDomain: 'mesh.test',
      dataDir: folder,
      hsm: {
        module: '/lib/one.so',
        root: { label: 'root', pinEnv: 'ROOT' },
        issuing: { label: 'issuing', pinEnv: 'ISSUING' },
      },
    });
    await recordAcceptedLoss(
      { context: { config, clock: systemClock, logger: silentLogger }, store },
      { lost: change(log.stale.newer), keptRecords: log.stale.sequence, actor: 'uid:0' },
    );
    const banned = await store.agents.list({ state: 'banned' }, { size: 10 });
    const records = await store.audit.list({ kind: 'database.restored' }, { size: 1 });
    return {
      banned: banned.items.map(({ spiffeId }) => spiffeId),
      detail: readCanonical(records.items[0]?.canonical ?? Buffer.alloc(0))?.detail ?? {},
      epoch: (await store.meta.position()).epoch !== before.epoch,
    };
  }

  const putBack = (): void =>
    void replaceDatabase({
      path: world.path,
      from: join(folder, 'older.db'),
      pid: process.pid,
      now: systemClock.now(),
    });

  test('is on record, in a new epoch, and ends again whom the replaced database proves ended', async () => {
    putBack();
    const { banned, detail, epoch } = await accept((lost) => lost);
    assert.deepEqual(banned, [agent('banned')]);
    assert.deepEqual(detail['bansAgain'], [agent('banned')]);
    assert.deepEqual(detail['evictionsAgain'], [agent('lifted')]);
    assert.deepEqual(
      [detail['replacedDatabase'], detail['keptRecords'], epoch],
      ['proven', 6, true],
    );
  });

  test('bans nobody on the word of a replaced database that is not what was signed', async () => {
    // the replaced one is that of the test before
    putBack();
    const { banned, detail } = await accept((lost) => ({ ...lost, root: Buffer.alloc(32) }));
    assert.deepEqual([banned, detail['replacedDatabase']], [[], 'unproven']);
  });

  test('is on record without a replaced database as well', async () => {
    putBack();
    rmSync(`${world.path}.replaced`);
    const { banned, detail, epoch } = await accept((lost) => lost);
    assert.deepEqual([banned, detail['replacedDatabase'], epoch], [[], 'absent', true]);
  });
});
