import { randomInt } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
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
    for (const { serial, sentAtMs, receivedAtMs } of round.taken) {
      const sequence = issued.get(serial);
      breaches.expect(
        sentAtMs < round.answeredMs,
        `a certificate was released to a request that was sent after the answer to the ${ending}`,
      );
      breaches.expect(sequence !== undefined, 'a certificate was released without an audit record');
      breaches.expect(
        sequence === undefined || act === undefined || sequence < act,
        `a certificate was released that was recorded after the ${ending}`,
      );
      breaches.expect(
        !withheld.has(serial),
        'a certificate that is recorded as withheld was received',
      );
      if (receivedAtMs > round.answeredMs) sums.receivedLate += 1;
    }
    sums[ending === 'ban' ? 'bans' : 'deletes'] += 1;
    sums.refusedAfter += round.refusedAfter;
    sums.received += round.taken.length;
    sums.withheld = withheld.size;
  }
  say(
    `rights: ${sums.bans} bans and ${sums.deletes} deletes, ${sums.received} certificates received, ${sums.withheld} withheld`,
  );
  await server.stop();
  return sums;
}

async function oneEnding(
  world: World,
  round: {
    readonly agent: Credential;
    readonly entryId: string;
    readonly ending: 'ban' | 'delete';
    readonly csrDer: Buffer;
  },
  breaches: Breaches,
): Promise<{
  readonly taken: readonly Taken[];
  readonly answeredMs: number;
  readonly refusedAfter: number;
}> {
  const { agent, entryId, ending, csrDer } = round;
  const taken: Taken[] = [];
  let [answeredMs, refusedAfter, running] = [Infinity, 0, true];
  const refuse = (code: string, sentAtMs: number): void => {
    if (sentAtMs > answeredMs) refusedAfter += 1;
    breaches.expect(
      endedCodes[ending].has(code),
      `a request around the ${ending} was answered ${code}`,
    );
  };
  const caller = async (): Promise<void> => {
    const client = world.calls.client(agent);
    while (running) {
      const sentAtMs = performance.now();
      try {
        for (const answer of await signForEntry(
          client,
          entryId,
          Array.from({ length: 6 }, () => ({ requestId: uuidv7(), csrDer })),
        )) {
          if ('refused' in answer) refuse(answer.refused, sentAtMs);
          else
            taken.push({
              serial: unwrap(parseCertificate(answer.chainDer[0] as Buffer)).serialHex,
              sentAtMs,
              receivedAtMs: performance.now(),
            });
        }
        // a refusal costs nothing: without a pause the loop would starve this process
        if (answeredMs !== Infinity) await sleep(10);
      } catch (thrown) {
        refuse(codeOf(thrown), sentAtMs);
        await sleep(10);
      }
    }
    world.calls.forget(client);
  };
  const callers = Promise.all([caller(), caller(), caller()]);
  await until(() => taken.length > 0, `something is signed before the ${ending}`);
  await sleep(randomInt(5, 150));
  if (ending === 'ban')
    await world.calls.admin('Agents/BanAgent', { spiffeId: agent.spiffeId, reason: 'drill' });
  else await world.calls.admin('Entries/DeleteEntries', { ids: [entryId] });
  answeredMs = performance.now();
  // each way again and again
  await until(() => refusedAfter >= 30, `what is asked for is refused after the ${ending}`);
  running = false;
  await callers;
  breaches.expect(taken.length > 0, `nothing was signed before the ${ending}`);
  breaches.expect(refusedAfter > 0, `nothing was asked for after the ${ending}`);
  return { taken, answeredMs, refusedAfter };
}
