import assert from 'node:assert/strict';
import { readFile, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger, type Logger } from '../../../src/common/runtime/index.ts';
import { event, ManualClock } from '../../compliance/store/fixtures.ts';
import { logWorld, openLog, type LogWorld } from '../../support/log-world.ts';
import { until } from '../../support/until.ts';

/** Collects what is said with `alert`, by code. */
function alerts(): { readonly codes: unknown[]; readonly logger: Logger } {
  const codes: unknown[] = [];
  const note = (fields: object): void => {
    if ('alert' in fields) codes.push((fields as { code?: unknown }).code);
  };
  const logger: Logger = { ...silentLogger, error: note, warn: note, child: () => logger };
  return { codes, logger };
}

async function inWorld(work: (world: LogWorld, codes: unknown[]) => Promise<void>): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-late-'));
  const { codes, logger } = alerts();
  try {
    await work(logWorld(join(dir, 'meshca.db'), { logger }), codes);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

test('records that wait for a checkpoint for minutes are announced once, until they have one', async () => {
  await inWorld(async (world, codes) => {
    const clock = new ManualClock();
    const awayKeys = new Set<string>();
    await using opened = await openLog({ ...world, clock, awayKeys });
    const { log, store } = opened;
    let told = 0;
    log.onStale(() => (told += 1));
    awayKeys.add(world.authority.ckaId);
    await store.audit.append([event('test')]);
    await until(() => log.waitingSeconds === 0 || !log.late, 'it waits, and is not late');
    clock.advance(121);
    await until(() => told === 1, 'it is late');
    assert.equal(log.late, true);
    assert.ok(log.waitingSeconds >= 120);
    assert.deepEqual(codes, ['AUDIT_LATE']);
    awayKeys.clear();
    await until(() => told === 2, 'it is not late any more');
    assert.deepEqual([log.late, log.waitingSeconds], [false, 0]);
    assert.deepEqual(codes, ['AUDIT_LATE']);
  });
});

test('a start without the token of the key that signed last goes on under another key of the log', async () => {
  await inWorld(async (world) => {
    const second = logWorld(world.path);
    const both = {
      ...world,
      others: [{ ...second.authority, state: 'published' as const }],
      otherKeys: new Map([[second.authority.ckaId, second.privateKey]]),
    };
    await (await openLog(both))[Symbol.asyncDispose]();
    {
      await using opened = await openLog({
        ...both,
        awayKeys: new Set([world.authority.ckaId]),
      });
      assert.equal(opened.log.signer.id, second.authority.id);
      await opened.store.audit.append([event('test')]);
      await opened.log.catchUp();
      assert.equal(opened.log.latest?.size, opened.log.size);
      // a checkpoint under the key that is away still says something of this log
      const [line = ''] = (await readFile(world.checkpointFile, 'utf8')).split('\n');
      const { checkpoint } = JSON.parse(line) as { checkpoint: string };
      assert.equal(await opened.log.seen(checkpoint, 'an agent'), 'contained');
    }
    const away = new Set([world.authority.ckaId, second.authority.ckaId]);
    await assert.rejects(openLog({ ...both, awayKeys: away }), { code: 'HSM_UNAVAILABLE' });
    // an `old` key signs nothing more: if it signed last, the database is not the newest
    const old = { ...both, authority: { ...world.authority, state: 'old' as const } };
    await assert.rejects(openLog({ ...old, awayKeys: new Set([world.authority.ckaId]) }), {
      code: 'HSM_UNAVAILABLE',
    });
  });
});
