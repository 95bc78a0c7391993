import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { silentLogger, systemClock, systemRandom, uuidv7 } from '../src/common/runtime/index.ts';
import { newSerial } from '../src/certs/index.ts';
import type { Intent } from '../src/domain/index.ts';
import type { Ledger } from '../src/ledger/index.ts';
import { openStore } from '../test/support/open-store.ts';
import type { FinishItem } from '../src/store/ports/index.ts';
import { mayFinish, activeAuthority, agentId, intent } from '../test/compliance/store/fixtures.ts';
import { median, type Figure } from './figures.ts';

const batches = [1, 10, 100, 500] as const;

/**
 * What recording costs: look-up, intent, end and audit record of each certificate, against two bare
 * writes of the same bytes with the same commits.
 */
export async function benchStore({
  short,
  only,
}: {
  readonly short: boolean;
  readonly only: RegExp | undefined;
}): Promise<readonly Figure[]> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-bench-store-'));
  try {
    const store = await openStore({
      path: join(dir, 'meshca.db'),
      clock: systemClock,
      logger: silentLogger,
      pid: process.pid,
    });
    const raw = openRaw(join(dir, 'raw.db'));
    try {
      const { id } = await activeAuthority(store, 'jwt');
      const figures: Figure[] = [];
      for (const batch of batches) {
        if (only !== undefined && !only.test(`store.batch${batch}`)) continue;
        figures.push(await benchBatch({ store, raw, authorityId: id }, batch, short));
      }
      return figures;
    } finally {
      raw.database.close();
      await store.close();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

interface Sides {
  readonly store: Ledger;
  readonly raw: Raw;
  readonly authorityId: string;
}

async function benchBatch(
  { store, raw, authorityId }: Sides,
  batch: number,
  short: boolean,
): Promise<Figure> {
  const [seconds, rounds] = short ? [0.3, 3] : [1.5, 5];
  const ours: Costs[] = [];
  const bare: number[] = [];
  await recordFor(store, authorityId, batch, 0.1);
  for (let round = 0; round < rounds; round++) {
    bare.push(rawFor(raw, batch, seconds));
    ours.push(await recordFor(store, authorityId, batch, seconds));
  }
  const of = (pick: (costs: Costs) => number): number => median(ours.map(pick));
  return {
    name: `store.batch${batch}`,
    what: `record, end and audit of a certificate, ${batch} per commit, against two bare writes of the same bytes`,
    ratio: of(({ perSecond }) => perSecond) / median(bare),
    detail: {
      'certificates/s': of(({ perSecond }) => perSecond),
      'bare/s': median(bare),
      'look-up µs': of(({ findUs }) => findUs),
      'intent µs': of(({ intentUs }) => intentUs),
      'end µs': of(({ finishUs }) => finishUs),
      'longest commit ms': of(({ longestMs }) => longestMs),
    },
  };
}

interface Costs {
  readonly perSecond: number;
  readonly findUs: number;
  readonly intentUs: number;
  readonly finishUs: number;
  readonly longestMs: number;
}

async function recordFor(
  store: Ledger,
  authorityId: string,
  batch: number,
  seconds: number,
): Promise<Costs> {
  const spent = { find: 0, intent: 0, finish: 0 };
  let count = 0;
  let longestMs = 0;
  while (spent.find + spent.intent + spent.finish < seconds * 1000) {
    const intents = Array.from({ length: batch }, () => newIntent(authorityId));
    const items = intents.map(signedItem);
    const at = performance.now();
    await store.issuance.findRequests(intents);
    const found = performance.now();
    await store.issuance.recordIntents(intents);
    const recorded = performance.now();
    const outcomes = await store.issuance.finish(items);
    const finished = performance.now();
    if (outcomes.some(({ state }) => state !== 'issued'))
      throw new Error('the store withheld a certificate of the bench');
    spent.find += found - at;
    spent.intent += recorded - found;
    spent.finish += finished - recorded;
    longestMs = Math.max(longestMs, recorded - found, finished - recorded);
    count += batch;
  }
  const us = (ms: number): number => (ms * 1000) / count;
  return {
    perSecond: (count * 1000) / (spent.find + spent.intent + spent.finish),
    findUs: us(spent.find),
    intentUs: us(spent.intent),
    finishUs: us(spent.finish),
    longestMs,
  };
}

const newIntent = (authorityId: string): Intent =>
  intent({
    serial: newSerial(Date.now(), systemRandom).toString('hex'),
    spiffeId: 'spiffe://example.org/ns/shop/sa/cart',
    entryId: uuidv7(),
    authorityId,
    tbsDer: randomBytes(420),
    notAfter: Math.floor(Date.now() / 1000) + 3600,
  });

function signedItem(item: Intent): FinishItem {
  const certificateDer = randomBytes(520);
  const sha256 = createHash('sha256').update(certificateDer).digest('hex');
  return {
    kind: 'signed',
    serial: item.serial,
    certificateDer,
    sha256,
    rights: [mayFinish(item.authorityId)],
    event: {
      timeMs: Date.now(),
      actor: agentId,
      kind: 'certificate.issued',
      subject: item.spiffeId,
      detail: {
        agent: agentId,
        entry: item.entryId ?? '',
        selectors: ['unix:uid:1000', 'unix:gid:1000'],
        serial: item.serial,
        sha256,
        certificateKind: item.kind,
        profile: item.profile,
        holder: item.holder,
        authority: item.authorityId,
        publicKeySha256: item.publicKeySha256,
        requestId: item.requestId,
        notBefore: item.notBefore,
        notAfter: item.notAfter,
      },
    },
  };
}

interface Raw {
  readonly database: DatabaseSync;
  readonly insert: ReturnType<DatabaseSync['prepare']>;
  readonly end: ReturnType<DatabaseSync['prepare']>;
  readonly log: ReturnType<DatabaseSync['prepare']>;
}

function openRaw(path: string): Raw {
  const database = new DatabaseSync(path);
  database.exec(
    'PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -16384; ' +
      'PRAGMA wal_autocheckpoint = 4000',
  );
  database.exec(
    'CREATE TABLE issued (sequence INTEGER PRIMARY KEY, body BLOB, certificate BLOB); ' +
      'CREATE TABLE log (sequence INTEGER PRIMARY KEY, body BLOB)',
  );
  return {
    database,
    insert: database.prepare('INSERT INTO issued (body) VALUES (?) RETURNING sequence'),
    end: database.prepare('UPDATE issued SET certificate = ?, body = NULL WHERE sequence = ?'),
    log: database.prepare('INSERT INTO log (body) VALUES (?)'),
  };
}

/**
 * Certificates' worth of bytes per second: TBS in, certificate and log record in, one commit each.
 */
function rawFor({ database, insert, end, log }: Raw, batch: number, seconds: number): number {
  const [tbs, certificate, record] = [randomBytes(700), randomBytes(520), randomBytes(700)];
  let count = 0;
  const startedMs = performance.now();
  do {
    database.exec('BEGIN IMMEDIATE');
    const sequences = Array.from(
      { length: batch },
      () => (insert.get(tbs) as { readonly sequence: number }).sequence,
    );
    database.exec('COMMIT; BEGIN IMMEDIATE');
    for (const sequence of sequences) {
      end.run(certificate, sequence);
      log.run(record);
    }
    database.exec('COMMIT');
    count += batch;
  } while (performance.now() - startedMs < seconds * 1000);
  return (count * 1000) / (performance.now() - startedMs);
}
