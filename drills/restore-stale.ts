import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PkiError } from '../src/common/errors/index.ts';
import { uuidv7 } from '../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../src/common/x509/index.ts';
import { replaceDatabase } from '../src/store/index.ts';
import { until } from '../test/support/until.ts';
import {
  codeOf,
  serverStreamCall,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../test/support/server.ts';
import { Breaches, type Drill, type DrillContext } from './drill.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;

/** A backup from before a ban and a rotation is put back, and the server is started. */
export const restoreStale: Drill = {
  name: 'restore-stale',
  promise:
    'a database older than what was signed is noticed, signs nothing until an operator ' +
    'accepts it, and the bans of the lost time stand again',
  options: ['--records N   issuances between the backup and its return (short: 100, else 2000)'],
  run: async ({ short, options, say }) => {
    const breaches = new Breaches();
    const wanted = Number(options['records'] ?? (short ? 100 : 2_000));
    await using server = await startTestServer();
    const [good, thief] = [await server.joinAgent('node-1'), await server.joinAgent('node-2')];
    const scene = {
      server,
      good,
      thief,
      backup: join(server.dir, 'backup.db'),
      database: join(server.dir, 'data', 'meshca.db'),
      breaches,
      say,
    };
    await createEntries(scene);
    await writeFile(scene.backup, await stream(server, 'Server/Backup'));
    const epochBefore = (await server.admin('Server/GetStatus')).epoch as string;
    say('backup taken');
    await banRotateAndSign(scene, wanted);
    putBack(scene, scene.backup);
    const { expected, lost, noticed } = await isNoticed(scene);
    const signedBeforeAcceptance = await signsNothing(scene);
    say(`noticed: ${lost} records are missing; nothing is signed`);
    const banStands = await isAccepted(scene, expected, epochBefore);
    await countsOnce(scene, expected);
    return {
      figures: { noticed, lostRecords: lost, signedBeforeAcceptance, banStands },
      broken: breaches.list,
    };
  },
};

/** What the acts of this drill share. */
interface Scene {
  readonly server: TestServer;
  readonly good: Credential;
  /** The agent that is banned after the backup. */
  readonly thief: Credential;
  readonly backup: string;
  readonly database: string;
  readonly breaches: Breaches;
  readonly say: DrillContext['say'];
}

async function createEntries({ server, good, thief, breaches }: Scene): Promise<void> {
  for (const [entryId, agent] of [
    ['web', good],
    ['db', thief],
  ] as const) {
    await server.admin('Entries/CreateEntries', {
      entries: [
        {
          id: entryId,
          spiffeId: id(`/${entryId}`),
          parentId: agent.spiffeId,
          selectors: ['unix:uid:1000'],
        },
      ],
    });
  }
  breaches.expect(
    (await sign(server, thief, 'db', 1)) === 'issued',
    'the second agent does not sign before its ban',
  );
}

/** What the backup does not have. Stops the server. */
async function banRotateAndSign(scene: Scene, wanted: number): Promise<void> {
  const { server, good, thief, breaches, say } = scene;
  await server.admin('Agents/BanAgent', { spiffeId: thief.spiffeId, reason: 'stolen' });
  await server.admin('Authorities/RotateAuthorities', rotation);
  await until(
    async () => (await issuingKeys(server)) >= 2,
    'the rotation makes a second intermediate',
  );
  for (let done = 0; done < wanted; done += 100)
    await sign(server, good, 'web', Math.min(100, wanted - done));
  breaches.expect(
    (await codeOf(sign(server, thief, 'db', 1))) !== 'resolved',
    'the ban does not hold before the restore',
  );
  await server.stop();
  say('banned, rotated, stopped');
}

const rotation = { kind: 'issuing', force: true, reason: 'drill' };

function putBack({ database }: Scene, from: string): void {
  replaceDatabase({
    path: database,
    from,
    pid: process.pid,
    now: Math.floor(Date.now() / 1000),
  });
}

/** Starts the server with an acceptance. Resolves to `started`, or to the code of its error. */
const startAccepting = ({ server }: Scene, acceptRestore: number): Promise<string> =>
  server.restart({ acceptRestore }).then(
    () => 'started',
    (thrown: unknown) => PkiError.from(thrown).code,
  );

/** Starts the server on the old database, and compares what it says. */
async function isNoticed(scene: Scene): Promise<{
  readonly noticed: boolean;
  readonly expected: number;
  readonly lost: number;
}> {
  const { server, breaches } = scene;
  const wrong = await startAccepting(scene, 1);
  breaches.expect(
    wrong === 'TREE_TRUNCATED',
    `an acceptance of something else was taken at the start: ${wrong}`,
  );
  // a successor is due by schedule: it waits for the acceptance
  Object.assign(server.config.rotation, { automatic: true, prepareAtPercent: 1e-6 });
  await server.restart();
  const before = await server.admin('Server/GetStatus');
  const difference = await server.admin('Server/ShowRestore');
  const noticed =
    difference.stale === true &&
    !before.ready &&
    (before.reasons as string[]).some((reason) => reason.startsWith('DATABASE_STALE'));
  breaches.expect(noticed, `the older database was not noticed: ${JSON.stringify(before.reasons)}`);
  breaches.expect(
    difference.proven === true &&
      (difference.lost as { kind: string }[]).some(({ kind }) => kind === 'agent.banned'),
    'the difference does not name the ban',
  );
  const expected = Number(difference.expected);
  return { noticed, expected, lost: expected - Number(difference.size) };
}

/** Tries every way to a signature. Returns how many signatures were made. */
async function signsNothing({ server, breaches }: Scene): Promise<number> {
  const issuedBefore = await issuances(server);
  breaches.expect(server.server.port === 0, 'the TLS port is open');
  const minted = await codeOf(server.mint(id('/by-hand')));
  breaches.expect(minted === 'DATABASE_STALE', `minting was answered ${minted}`);
  const rotated = await codeOf(server.admin('Authorities/RotateAuthorities', rotation));
  breaches.expect(rotated === 'DATABASE_STALE', `a rotation was answered ${rotated}`);
  breaches.expect(
    (await issuingKeys(server)) === 1,
    'an authority was made while the database was stale',
  );
  const signed = (await issuances(server)) - issuedBefore;
  breaches.expect(signed === 0, 'something was signed before the acceptance');
  return signed;
}

/** Accepts the loss. Returns whether the ban of the lost time stands. */
async function isAccepted(scene: Scene, expected: number, epochBefore: string): Promise<boolean> {
  const { server, good, thief, breaches, say } = scene;
  const wrong = await codeOf(server.admin('Server/AcceptRestore', { size: expected - 1 }));
  breaches.expect(wrong === 'CONFLICT', `an acceptance of something else was taken: ${wrong}`);
  await server.admin('Server/AcceptRestore', { size: expected });
  await until(() => server.server.port !== 0, 'the TLS port opens');
  await until(async () => (await issuingKeys(server)) > 1, 'the successor that was due is made');
  const status = await server.admin('Server/GetStatus');
  breaches.expect(status.epoch !== epochBefore, 'the epoch is the one of before');
  const banStands =
    (await server.admin('Agents/GetAgent', { spiffeId: thief.spiffeId })).agent?.state === 'banned';
  breaches.expect(banStands, 'the ban of the lost time does not stand');
  breaches.expect(
    (await codeOf(sign(server, thief, 'db', 1))) !== 'resolved',
    'the banned agent signs after the restore',
  );
  breaches.expect(
    (await sign(server, good, 'web', 1)) === 'issued',
    'the other agent does not sign after the acceptance',
  );
  say('accepted: the ban stands, issuing goes on');
  await server.restart();
  breaches.expect(
    (await sign(server, good, 'web', 1)) === 'issued',
    'the acceptance does not last over a restart',
  );
  return banStands;
}

/** An acceptance that was used once does not count for the same backup again. */
async function countsOnce(scene: Scene, expected: number): Promise<void> {
  await scene.server.stop();
  putBack(scene, scene.backup);
  const again = await startAccepting(scene, expected);
  scene.breaches.expect(again === 'TREE_TRUNCATED', `an acceptance counts twice: ${again}`);
  putBack(scene, `${scene.database}.replaced`);
}

/** Intents too: a certificate that could have been signed is one. */
async function issuances(server: TestServer): Promise<number> {
  let count = 0;
  let token = '';
  do {
    const { certificates, nextPageToken } = await server.admin('Certificates/ListCertificates', {
      page: { size: 500, token },
    });
    count += certificates.length;
    token = nextPageToken;
  } while (token !== '');
  return count;
}

const issuingKeys = async (server: TestServer): Promise<number> =>
  (await server.admin('Authorities/ListAuthorities', { kind: 'issuing' })).authorities.length;

async function stream(server: TestServer, method: string): Promise<Buffer> {
  const chunks: Buffer[] = [];
  await serverStreamCall(
    server.adminClient(),
    `/meshca.admin.v1.${method}`,
    {},
    (message: { data: Buffer }) => void chunks.push(message.data),
  );
  return Buffer.concat(chunks);
}

async function sign(
  server: TestServer,
  agent: Credential,
  entryId: string,
  times: number,
): Promise<string> {
  const csrDer = createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
  const items = Array.from({ length: times }, () => ({
    requestId: uuidv7(),
    entryId,
    csrDer,
    selectors: [{ type: 'unix', value: 'uid:1000' }],
  }));
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    { items },
  );
  return (
    (results as { svid: unknown; refusal: { code: string } }[]).find(({ svid }) => !svid)?.refusal
      .code ?? 'issued'
  );
}
