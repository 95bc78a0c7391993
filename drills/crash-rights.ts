import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@grpc/grpc-js';
import { parseCertificate, createCsr, generateKeyPairAsync } from '../src/common/x509/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import { uuidv7 } from '../src/common/runtime/index.ts';
import type { Credential } from '../test/support/server.ts';
import { until } from '../test/support/until.ts';
import { codeOf } from './calls.ts';
import { createEntry } from './crash-kills.ts';
import type { Breaches, DrillContext } from './drill.ts';
import { signForEntry } from './load.ts';
import { RecordCheck } from './record.ts';
import { trustDomain, type World } from './world.ts';

export interface RightsFigures {
  readonly bans: number;
  readonly deletes: number;
  /** Asked for and refused after the answer to the ban or delete. */
  readonly refusedAfter: number;
  /** Received after that answer, but recorded before the ban or delete was. */
  readonly receivedLate: number;
  /** Signed while the right ended: recorded, and received by nobody. */
  readonly withheld: number;
  readonly received: number;
}

interface Taken {
  readonly serial: string;
  readonly sentAtMs: number;
  readonly receivedAtMs: number;
}

/** Refusals that may follow a ban or a delete; a banned agent's connection is closed under it. */
const endedCodes = {
  ban: new Set([
    'AGENT_BANNED',
    'UNREACHABLE',
    'CANCELLED',
    'UNAUTHENTICATED',
    'CALLER_NOT_ADMITTED',
  ]),
  delete: new Set(['ENTRY_NOT_AUTHORIZED', 'ENTRY_CHANGED']),
};

/**
 * Bans an agent, or deletes its entry, at a random instant while it has certificates signed as fast
 * as it can.
 */
export async function drillRights(
  world: World,
  { short, options, say, signal }: DrillContext,
  breaches: Breaches,
): Promise<RightsFigures> {
  const rounds = Number(options['endings'] ?? (short ? 8 : 80));
  const server = world.start();
  await server.ready;
  await world.calls.learnRoots();
  const csrDer = createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
  const sums = { bans: 0, deletes: 0, refusedAfter: 0, receivedLate: 0, withheld: 0, received: 0 };
  for (let turn = 0; turn < rounds; turn += 1) {
    signal.throwIfAborted();
    const ending = turn % 2 === 0 ? 'ban' : 'delete';
    const name = `rights-${turn}-${randomInt(2 ** 32).toString(16)}`;
    const agent = await world.calls.joinAgent(name);
    const entry = { id: name, spiffeId: `spiffe://${trustDomain}/rights/${name}` };
    await createEntry(world, entry, agent.spiffeId);
    const round = await oneEnding(world, { agent, entryId: entry.id, ending, csrDer }, breaches);
    const { act, issued, withheld } = new RecordCheck(world.databasePath, breaches).sequences(
      round.taken.map(({ serial }) => serial),
      ending === 'ban'
        ? { kind: 'agent.banned', subject: agent.spiffeId }
        : { kind: 'entry.deleted', subject: entry.spiffeId },
    );
    if (act === undefined) breaches.add(`the ${ending} has no audit record`);
    for (const taken of round.taken) {
      checkTaken(taken, round.answeredMs, { ending, act, issued, withheld }, breaches);
      if (taken.receivedAtMs > round.answeredMs) sums.receivedLate += 1;
    }
    sums[ending === 'ban' ? 'bans' : 'deletes'] += 1;
    sums.refusedAfter += round.refusedAfter;
    sums.received += round.taken.length;
    sums.withheld = withheld.size;
  }
  say(
    `rights: ${sums.bans} bans and ${sums.deletes} deletes, ${sums.received} certificates ` +
      `received, ${sums.withheld} withheld`,
  );
  await server.stop();
  return sums;
}

interface EndingRecord {
  readonly ending: 'ban' | 'delete';
  readonly act: number | undefined;
  readonly issued: ReadonlyMap<string, number>;
  readonly withheld: ReadonlySet<string>;
}

function checkTaken(
  { serial, sentAtMs }: Taken,
  answeredMs: number,
  { ending, act, issued, withheld }: EndingRecord,
  breaches: Breaches,
): void {
  const sequence = issued.get(serial);
  breaches.expect(
    sentAtMs < answeredMs,
    `a certificate was released to a request that was sent after the answer to the ${ending}`,
  );
  breaches.expect(sequence !== undefined, 'a certificate was released without an audit record');
  breaches.expect(
    sequence === undefined || act === undefined || sequence < act,
    `a certificate was released that was recorded after the ${ending}`,
  );
  breaches.expect(!withheld.has(serial), 'a certificate that is recorded as withheld was received');
}

interface Ending {
  readonly agent: Credential;
  readonly entryId: string;
  readonly ending: 'ban' | 'delete';
  readonly csrDer: Buffer;
}

interface EndedRound {
  readonly taken: readonly Taken[];
  readonly answeredMs: number;
  readonly refusedAfter: number;
}

async function oneEnding(world: World, round: Ending, breaches: Breaches): Promise<EndedRound> {
  const { agent, entryId, ending } = round;
  const caller = new EagerCaller(world, round, breaches);
  const callers = Promise.all([caller.run(), caller.run(), caller.run()]);
  await until(() => caller.taken.length > 0, `something is signed before the ${ending}`);
  // a random instant
  await sleep(randomInt(5, 150));
  if (ending === 'ban')
    await world.calls.admin('Agents/BanAgent', { spiffeId: agent.spiffeId, reason: 'drill' });
  else await world.calls.admin('Entries/DeleteEntries', { ids: [entryId] });
  caller.answeredMs = performance.now();
  // each way again and again
  await until(
    () => caller.refusedAfter >= 30,
    `requests after the ${ending} are refused again and again`,
  );
  caller.running = false;
  await callers;
  const { taken, answeredMs, refusedAfter } = caller;
  breaches.expect(taken.length > 0, `nothing was signed before the ${ending}`);
  breaches.expect(refusedAfter > 0, `nothing was asked for after the ${ending}`);
  return { taken, answeredMs, refusedAfter };
}

/** An agent that has certificates signed as fast as it can, while its right ends. */
class EagerCaller {
  readonly taken: Taken[] = [];
  /** When the ban or delete was answered. */
  answeredMs = Infinity;
  refusedAfter = 0;
  running = true;
  readonly #world: World;
  readonly #round: Ending;
  readonly #breaches: Breaches;

  constructor(world: World, round: Ending, breaches: Breaches) {
    this.#world = world;
    this.#round = round;
    this.#breaches = breaches;
  }

  async run(): Promise<void> {
    const client = this.#world.calls.client(this.#round.agent);
    while (this.running) {
      const sentAtMs = performance.now();
      try {
        await this.#ask(client, sentAtMs);
        // a refusal costs nothing: without a pause the loop would starve this process
        if (this.answeredMs !== Infinity) await sleep(10);
      } catch (thrown) {
        this.#refuse(codeOf(thrown), sentAtMs);
        await sleep(10);
      }
    }
    this.#world.calls.forget(client);
  }

  async #ask(client: Client, sentAtMs: number): Promise<void> {
    const { entryId, csrDer } = this.#round;
    const items = Array.from({ length: 6 }, () => ({ requestId: uuidv7(), csrDer }));
    for (const answer of await signForEntry(client, entryId, items)) {
      if ('refused' in answer) this.#refuse(answer.refused, sentAtMs);
      else
        this.taken.push({
          serial: unwrap(parseCertificate(answer.chainDer[0] as Buffer)).serialHex,
          sentAtMs,
          receivedAtMs: performance.now(),
        });
    }
  }

  #refuse(code: string, sentAtMs: number): void {
    if (sentAtMs > this.answeredMs) this.refusedAfter += 1;
    this.#breaches.expect(
      endedCodes[this.#round.ending].has(code),
      `a request around the ${this.#round.ending} was answered ${code}`,
    );
  }
}
