import { randomInt } from 'node:crypto';
import { DatabaseSync } from 'node:sqlite';
import { unwrap } from '../src/common/errors/index.ts';
import { parseCertificate } from '../src/common/x509/index.ts';
import { SimAgent } from '../test/support/sim-agent.ts';
import { patienceMs, until } from '../test/support/until.ts';
import { createEntry } from './crash-kills.ts';
import { Breaches, round, type Drill } from './drill.ts';
import { availabilityCodes, Load, type Received } from './load.ts';
import { RecordCheck } from './record.ts';
import { createWorld, trustDomain, type World } from './world.ts';

/**
 * The intermediate that signs is tainted at random instants, while everybody has certificates
 * signed as fast as they can.
 */
export const taint: Drill = {
  name: 'taint',
  promise:
    'nothing is signed by a tainted intermediate any more, and no leaf of it that anybody ' +
    'received is missing among those to be replaced',
  options: ['--rounds N           how often (default 3 with --short, else 30)'],
  async run({ short, options, say, signal }) {
    const breaches = new Breaches();
    const rounds = Number(options['rounds'] ?? (short ? 3 : 30));
    if (!Number.isInteger(rounds) || rounds < 1)
      throw new Error('--rounds wants a whole number from 1 on');
    await using world = await createWorld({
      signal,
      issuance: { bundleRefreshHintSeconds: 1 },
      sections: { rotation: { automatic: false } },
    });
    const server = world.start();
    await server.ready;
    await world.calls.learnRoots();
    await using stack = new AsyncDisposableStack();
    const { load, agents } = await busyAgents(world, breaches, stack);
    load.start();
    const sums = { tainted: 0, receivedOfTainted: 0, withheld: 0, slowestMs: 0 };
    try {
      for (let turn = 0; turn < rounds; turn += 1) {
        signal.throwIfAborted();
        // at a random instant, and with the load on, however slow the machine is
        const wanted = load.received.size + 50 + randomInt(200);
        await until(() => load.received.size >= wanted, 'the load is on');
        const seen = await oneTaint(world, agents, load, breaches);
        sums.tainted += 1;
        sums.receivedOfTainted += seen.received;
        sums.withheld = seen.withheld;
        sums.slowestMs = Math.max(sums.slowestMs, seen.orderToTaintedMs);
        if (turn % 10 === 9) say(`${turn + 1} intermediates tainted`);
      }
    } finally {
      await load.stop();
    }
    await server.stop();
    breaches.expect(
      sums.receivedOfTainted > 0,
      'nobody had received anything of the tainted: the drill shows nothing',
    );
    return {
      figures: {
        rounds: sums.tainted,
        received: load.received.size,
        receivedOfTainted: sums.receivedOfTainted,
        withheld: sums.withheld,
        refused: Object.fromEntries(load.refused),
        slowestOrderToTaintedSeconds: round(sums.slowestMs / 1000),
      },
      broken: breaches.list,
    };
  },
};

/** Three agents and a minter, who have certificates signed as fast as they can. */
async function busyAgents(
  world: World,
  breaches: Breaches,
  stack: AsyncDisposableStack,
): Promise<{ readonly load: Load; readonly agents: readonly SimAgent[] }> {
  const load = new Load({
    calls: world.calls,
    breaches,
    allowed: new Set([...availabilityCodes, 'AUTHORITY_TAINTED', 'WITHHELD']),
  });
  await load.prepare();
  const agents: SimAgent[] = [];
  for (const name of ['one', 'two', 'three']) {
    const agent = stack.use(
      await SimAgent.join(
        {
          rootsDer: world.calls.rootsDer,
          port: world.port,
          joinAgent: (joining) => world.calls.joinAgent(joining),
        },
        name,
      ),
    );
    agents.push(agent);
    const entry = { id: `entry-${name}`, spiffeId: `spiffe://${trustDomain}/${name}` };
    await createEntry(world, entry, agent.credential.spiffeId);
    load.addAgent(name, agent.credential, entry, 8);
  }
  load.addMinter('minter');
  return { load, agents };
}

interface SeenTaint {
  readonly received: number;
  readonly withheld: number;
  readonly orderToTaintedMs: number;
}

async function oneTaint(
  world: World,
  agents: readonly SimAgent[],
  load: Load,
  breaches: Breaches,
): Promise<SeenTaint> {
  const active = (await authorities(world)).find(
    ({ authority }) => authority.kind === 'issuing' && authority.state === 'active',
  );
  if (active === undefined) throw new Error('no issuing authority is active');
  const { id, subjectKeyId } = active.authority;
  const orderedMs = performance.now();
  await world.calls.admin('Authorities/TaintAuthority', { id, reason: 'drill', windowSeconds: 60 });
  await until(
    async () =>
      (await authorities(world)).some(
        ({ authority }) => authority.id === id && authority.state === 'tainted',
      ),
    'the intermediate is tainted',
  );
  const taintedMs = performance.now();
  await until(
    async () => agents.every(({ tainted }) => tainted.includes(id)),
    'the agents are told',
  );
  await load.answered();

  const ofTainted = [...load.received.values()].filter(
    ({ der }) => unwrap(parseCertificate(der)).authorityKeyId === subjectKeyId,
  );
  for (const { sentAtMs } of ofTainted)
    breaches.expect(
      sentAtMs < taintedMs,
      'a certificate of the tainted intermediate was given to a request that was sent after it was tainted',
    );
  const withheld = checkRecord(world, id, ofTainted, breaches);
  await checkReplacements(world, id, ofTainted, breaches);
  return {
    received: ofTainted.length,
    withheld: withheld.size,
    orderToTaintedMs: taintedMs - orderedMs,
  };
}

/** What was received is on record before the taint. Returns the serials that were withheld. */
function checkRecord(
  world: World,
  authorityId: string,
  ofTainted: readonly Received[],
  breaches: Breaches,
): ReadonlySet<string> {
  const record = new RecordCheck(world.databasePath, breaches);
  record.check(ofTainted, 'after a taint');
  const { act, issued, withheld } = record.sequences(
    ofTainted.map(({ serial }) => serial),
    { kind: 'authority.tainted', subject: authorityId },
  );
  breaches.expect(act !== undefined, 'the taint has no audit record');
  for (const { serial } of ofTainted) {
    breaches.expect(
      (issued.get(serial) ?? Infinity) < (act ?? 0),
      'a certificate of the tainted intermediate is on record after the taint',
    );
    breaches.expect(
      !withheld.has(serial),
      'a certificate that is recorded as withheld was received',
    );
  }
  return withheld;
}

/** The server counts each leaf that somebody holds as one to be replaced. */
async function checkReplacements(
  world: World,
  authorityId: string,
  ofTainted: readonly Received[],
  breaches: Breaches,
): Promise<void> {
  const counted = toBeReplaced(world, authorityId);
  for (const { serial } of ofTainted)
    breaches.expect(
      counted.has(serial),
      'a leaf of the tainted intermediate that somebody holds is not among those to be replaced',
    );
  const progress = (await authorities(world)).find(({ authority }) => authority.id === authorityId);
  breaches.expect(
    progress?.live === counted.size,
    `the status tells of ${progress?.live} live leaves of the tainted intermediate, the record has ${counted.size}`,
  );
}

interface Authority {
  readonly id: string;
  readonly kind: string;
  readonly state: string;
  readonly subjectKeyId: string;
}

const authorities = async (
  world: World,
): Promise<readonly { readonly authority: Authority; readonly live: number }[]> =>
  (await world.calls.admin('Authorities/GetRotationStatus'))['authorities'];

function toBeReplaced(world: World, authorityId: string): ReadonlySet<string> {
  const database = new DatabaseSync(world.databasePath, { readOnly: true, timeout: patienceMs });
  try {
    const rows = database
      .prepare(
        'SELECT lower(hex(serial)) AS serial FROM certificates WHERE authority_id = ? AND ' +
          "state IN ('issued', 'abandoned') AND kind <> 'authority' AND " +
          'replacement_confirmed_at IS NULL AND not_after >= ?',
      )
      .all(authorityId, Math.floor(Date.now() / 1000));
    return new Set((rows as { serial: string }[]).map(({ serial }) => serial));
  } finally {
    database.close();
  }
}
