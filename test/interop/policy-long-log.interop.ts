import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { systemClock, uuidv7 } from '../../src/common/runtime/index.ts';
import type { AuditEvent } from '../../src/domain/index.ts';
import type { Access } from '../../src/services/callers/access.ts';
import type { RefusalLog } from '../../src/services/callers/refusal-log.ts';
import { PolicyReviewService } from '../../src/services/policies/review-service.ts';
import { defaultServiceSettings } from '../../src/services/index.ts';
import { logWorld, openLog, type OpenedLog } from '../support/log-world.ts';
import { foreignSql } from '../support/foreign-sql.ts';
import { nextTurn } from '../support/until.ts';
import { local } from '../support/services-world.ts';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

const records = 100_000;
const batch = 2_000;
const hour = 3600;
const startMs = systemClock.nowMs() - hour * 1000;
const agent = (index: number): string => `spiffe://mesh.test/meshca/agent/n${index % 50}`;
const rules = (...list: readonly object[]): string =>
  JSON.stringify({ meshcaPolicy: 1, rules: list });
/** One of four identities has an RSA key, and one of a hundred asks for a day. */
const noRsa = { name: 'no-rsa', effect: 'deny', keyTypes: ['rsa-2048'] };
const anHour = { name: 'an-hour', effect: 'allow', ttl: { max: '1h' } };

function issuance(index: number): AuditEvent {
  const ttlSeconds = index % 100 === 7 ? 24 * hour : hour;
  const timeMs = startMs + Math.floor((index * hour * 1000) / records);
  const at = Math.floor(timeMs / 1000);
  return {
    timeMs,
    actor: agent(index),
    kind: 'certificate.issued',
    subject: `spiffe://mesh.test/app/${index % 400}`,
    detail: {
      entry: `entry-${index % 400}`,
      selectors: ['unix:uid:1000'],
      serial: index.toString(16).padStart(32, '0'),
      certificateKind: 'workload',
      profile: 'short-lived',
      holder: agent(index),
      authority: 'issuing',
      requestId: uuidv7(),
      notBefore: at,
      notAfter: at + ttlSeconds,
      callerClass: 'agent',
      keyType: index % 4 === 0 ? 'rsa-2048' : 'ec-p256',
      ttlSeconds,
      ...(index < 50_000 ? {} : { replaces: (index - 50_000).toString(16).padStart(32, '0') }),
    },
  };
}

let dir: string;
let opened: OpenedLog;
let reviews: PolicyReviewService;
const pages = { longest: 0 };

before(async () => {
  dir = await mkdtemp(join(tmpdir(), 'meshca-replay-'));
  opened = await openLog(logWorld(join(dir, 'long.db')));
  const { store, log } = opened;
  for (let made = 0; made < records; made += batch)
    await store.audit.append(Array.from({ length: batch }, (_, at) => issuance(made + at)));
  await log.catchUp();
  const allowed = { of: async () => ({ require() {} }), all: undefined };
  reviews = new PolicyReviewService({
    policies: store.issuancePolicies,
    audit: {
      list: async (filter, page) => {
        const listed = await store.audit.list(filter, page);
        pages.longest = Math.max(pages.longest, listed.items.length);
        return listed;
      },
    },
    log: store.log,
    certificates: store.certificates,
    revocations: { revoked: () => false },
    facts: log,
    access: allowed as unknown as Access,
    refusals: {} as RefusalLog,
    clock: systemClock,
    settings: defaultServiceSettings,
  });
});
after(async () => {
  await opened?.[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

/** Turns of the event loop until `work` has ended. */
async function turnsDuring<T>(work: () => Promise<T>): Promise<readonly [T, number]> {
  let turns = 0;
  let ended = false;
  const count = (): void => {
    turns += 1;
    if (!ended) setImmediate(count);
  };
  setImmediate(count);
  try {
    return [await work(), turns];
  } finally {
    ended = true;
  }
}

test('a replay over 100,000 records keeps a bounded memory and lets other work run', async (t) => {
  const heap: number[] = [];
  const begun = performance.now();
  const [end, turns] = await turnsDuring(async () => {
    const asked = {
      text: rules(noRsa, anHour),
      sinceMs: startMs,
      untilMs: undefined,
      limit: 1000,
    };
    const steps = await reviews.replay(local, asked, new AbortController().signal);
    for await (const step of steps) {
      if (step.type === 'end') return step;
      if (step.progress.records < 2_000) continue;
      collect();
      heap.push(process.memoryUsage().heapUsed);
    }
    return undefined;
  });
  assert.ok(end);
  const { totals, groups } = end;
  t.diagnostic(`${records} records in ${Math.round(performance.now() - begun)} ms, ${turns} turns`);
  const lost = records / 4 + records / 100;
  assert.deepEqual(totals, {
    records,
    decided: records,
    lost,
    gained: 0,
    older: 0,
    differing: 0,
    unproven: 0,
    ungrouped: 0,
    groups: totals.groups,
  });
  assert.equal(
    groups.reduce((sum, { count }) => sum + count, 0),
    lost,
  );
  assert.ok(pages.longest <= 250);
  assert.ok(turns >= records / 250);
  const grown = Math.max(0, ...heap) - (heap[0] ?? 0);
  assert.ok(grown < 8 * 1024 * 1024, `the heap grew by ${grown} bytes`);
});

test('what a longer log has replaced is not live, and each identity is named once', async (t) => {
  const begun = performance.now();
  const asked = { text: rules(noRsa, anHour), version: 0, limit: 1000 };
  const { signal } = new AbortController();
  for await (const step of await reviews.renewalLosses(local, asked, signal)) {
    if (step.type !== 'end') continue;
    t.diagnostic(`${records} records in ${Math.round(performance.now() - begun)} ms`);
    const { live, certificates, identities, complete, unproven } = step.totals;
    // the first half was replaced by the second
    assert.equal(live, records / 2);
    assert.equal(certificates, records / 8 + records / 200);
    assert.equal(identities, 100 + 4);
    assert.deepEqual([complete, unproven], [true, 0]);
  }
});

test('a review ends at once when nobody waits for it, and the next one goes on', async () => {
  const asked = { text: rules(anHour), sinceMs: startMs, untilMs: undefined, limit: 1 };
  const gone = new AbortController();
  const read = async (): Promise<void> => {
    for await (const step of await reviews.replay(local, asked, gone.signal))
      if (step.type === 'progress') gone.abort();
  };
  await assert.rejects(read(), { name: 'AbortError' });
  const kept = new AbortController().signal;
  const few = { ...asked, sinceMs: startMs + hour * 1000 - 1000 };
  const seen: string[] = [];
  for await (const { type } of await reviews.replay(local, few, kept)) seen.push(type);
  assert.equal(seen.at(-1), 'end');
});

test('a review of a long log ends at its bound and says so', async () => {
  const asked = { text: rules(anHour), version: 0, limit: 1, maximumRecords: 1000 };
  const { signal } = new AbortController();
  for await (const step of await reviews.renewalLosses(local, asked, signal))
    if (step.type === 'end')
      assert.deepEqual([step.totals.complete, step.totals.records], [false, 1000]);
});

test('reviews wait for each other; one that is not awaited any more leaves the queue', async () => {
  const kept = new AbortController();
  const asked = { text: rules(anHour), sinceMs: startMs, untilMs: undefined, limit: 1 };
  const first = (await reviews.replay(local, asked, kept.signal))[Symbol.asyncIterator]();
  await first.next();
  const gone = new AbortController();
  const second = (await reviews.replay(local, asked, gone.signal))[Symbol.asyncIterator]();
  const waits = second.next();
  gone.abort();
  await assert.rejects(waits, { code: 'CANCELLED' });
  const others = [1, 2, 3, 4].map(async () =>
    (await reviews.replay(local, asked, kept.signal))[Symbol.asyncIterator]().next(),
  );
  // the first and three others are the most; the fourth is refused
  await assert.rejects(others[3] as Promise<unknown>, { code: 'OVERLOADED' });
  kept.abort();
  await first.return?.();
  for (const other of others.slice(0, 3)) await assert.rejects(other, { code: 'CANCELLED' });
});

test('a result that its reader does not take holds up no other review', async () => {
  const asked = { text: rules(anHour), version: 0, limit: 1, maximumRecords: 300 };
  const { signal } = new AbortController();
  const slow = (await reviews.renewalLosses(local, asked, signal))[Symbol.asyncIterator]();
  for (let step = await slow.next(); step.value?.type !== 'end'; ) step = await slow.next();
  const seen: string[] = [];
  for await (const { type } of await reviews.renewalLosses(local, asked, signal)) seen.push(type);
  assert.equal(seen.at(-1), 'end');
  await slow.return?.();
});

test('a record that somebody altered in the database is counted and not believed', async () => {
  // reads of one turn share a transaction, which does not see what others write meanwhile
  await nextTurn();
  foreignSql(join(dir, 'long.db'), (database) => {
    const row = database
      .prepare('SELECT sequence, canonical FROM audit ORDER BY sequence DESC LIMIT 1 OFFSET 7')
      .get() as { sequence: number; canonical: Uint8Array };
    const text = Buffer.from(row.canonical).toString('utf8');
    const forged = text.replace(/"keyType":"[a-z0-9-]+"/, '"keyType":"rsa-4096"');
    assert.notEqual(forged, text);
    database
      .prepare('UPDATE audit SET canonical = ? WHERE sequence = ?')
      .run(Buffer.from(forged), row.sequence);
  });
  const asked = {
    text: rules(anHour),
    sinceMs: startMs + hour * 1000 - 36_000,
    untilMs: undefined,
    limit: 1,
  };
  for await (const step of await reviews.replay(local, asked, new AbortController().signal))
    if (step.type === 'end') {
      assert.equal(step.totals.unproven, 1);
      assert.equal(step.totals.decided, step.totals.records - 1);
    }
});
