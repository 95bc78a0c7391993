import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock, uuidv7 } from '../src/common/runtime/index.ts';
import type { AuditEvent } from '../src/domain/index.ts';
import { agentId, by, creates, draft } from '../test/compliance/store/fixtures.ts';
import { logWorld, openLog, type LogWorld } from '../test/support/log-world.ts';
import { median, type Figure } from './figures.ts';

const objects = 2_000;
const batch = 2_000;

/**
 * The cost of the log at a start: a long log against one of a tenth of its length, with as many
 * objects. A key in memory replaces the token's.
 */
export async function benchLogStart({
  short,
}: {
  readonly short: boolean;
}): Promise<readonly Figure[]> {
  const records = short ? 30_000 : 1_000_000;
  const dir = await mkdtemp(join(tmpdir(), 'meshca-bench-start-'));
  try {
    const [long, tenth] = [
      await filled(join(dir, 'long.db'), records),
      await filled(join(dir, 'tenth.db'), records / 10),
    ];
    const times = { long: [] as number[], tenth: [] as number[] };
    for (let round = 0; round < (short ? 5 : 7); round += 1) {
      times.tenth.push(await start(tenth));
      times.long.push(await start(long));
    }
    return [
      {
        name: 'start.log',
        what:
          `opening the database and its audit log of ${records} records, against one of ` +
          `${records / 10}; ${objects} objects in both`,
        goal: 2,
        ratio: median(times.long) / median(times.tenth),
        detail: {
          records,
          'long ms': median(times.long),
          'tenth ms': median(times.tenth),
          objects,
        },
      },
    ];
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

async function filled(path: string, records: number): Promise<LogWorld> {
  const world = logWorld(path);
  await using opened = await openLog(world);
  const { store, log } = opened;
  for (let made = 0; made < objects; made += 500)
    await store.entries.write(
      Array.from({ length: 500 }, (_, at) =>
        creates(draft({ spiffeId: `spiffe://example.org/bench/${made + at}` })),
      ),
      by,
    );
  for (let made = objects; made < records; made += batch) {
    await store.audit.append(Array.from({ length: Math.min(batch, records - made) }, issuance));
    await log.catchUp();
  }
  return world;
}

/** Milliseconds until the log is checked and can be appended to. */
async function start(world: LogWorld): Promise<number> {
  const begun = performance.now();
  const opened = await openLog(world);
  const spent = performance.now() - begun;
  await opened[Symbol.asyncDispose]();
  return spent;
}

function issuance(): AuditEvent {
  const [serial, sha256, publicKeySha256] = [
    randomBytes(16).toString('hex'),
    randomBytes(32).toString('hex'),
    randomBytes(32).toString('hex'),
  ];
  return {
    timeMs: systemClock.nowMs(),
    actor: agentId,
    kind: 'certificate.issued',
    subject: 'spiffe://example.org/ns/shop/sa/cart',
    detail: {
      agent: agentId,
      entry: 'cart',
      selectors: ['unix:uid:1000', 'unix:gid:1000'],
      serial,
      sha256,
      certificateKind: 'workload',
      profile: 'short-lived',
      holder: agentId,
      authority: 'issuing',
      publicKeySha256,
      requestId: uuidv7(),
      notBefore: 1,
      notAfter: 2,
    },
  };
}
