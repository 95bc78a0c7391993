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
import { Breaches, type Drill } from './drill.ts';

const id = (path: string): string => `spiffe://mesh.test${path}`;

/** A backup from before a ban and a rotation is put back, and the server is started. */
export const restoreStale: Drill = {
  name: 'restore-stale',
  promise:
    'a database older than what was signed is noticed, signs nothing until an operator accepts it, and the bans of the lost time stand again',
  options: ['--records N   issuances between the backup and its return (short: 100, else 2000)'],
  run: async ({ short, options, say }) => {
    const breaches = new Breaches();
    const wanted = Number(options['records'] ?? (short ? 100 : 2_000));
    await using server = await startTestServer();
    const [good, thief] = [await server.joinAgent('node-1'), await server.joinAgent('node-2')];
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
      'the second agent signs before its ban',
    );
    const path = join(server.dir, 'backup.db');
    await writeFile(path, await stream(server, 'Server/Backup'));
    const epochBefore = (await server.admin('Server/GetStatus')).epoch as string;
    say('backup taken');

    await server.admin('Agents/BanAgent', { spiffeId: thief.spiffeId, reason: 'stolen' });
    await server.admin('Authorities/RotateAuthorities', {
      kind: 'issuing',
      force: true,
      reason: 'drill',
    });
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

    const database = join(server.dir, 'data', 'meshca.db');
    replaceDatabase({
      path: database,
      from: path,
      pid: process.pid,
      now: Math.floor(Date.now() / 1000),
    });
    const wrongArgument = await server.restart({ acceptRestore: 1 }).then(
      () => 'started',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
    breaches.expect(
      wrongArgument === 'TREE_TRUNCATED',
      `an acceptance of something else was taken at the start: ${wrongArgument}`,
    );
    await server.restart();
    const before = await server.admin('Server/GetStatus');
    const difference = await server.admin('Server/ShowRestore');
    const noticed =
      difference.stale === true &&
      !before.ready &&
      (before.reasons as string[]).some((reason) => reason.startsWith('DATABASE_STALE'));
    breaches.expect(
      noticed,
      `the older database was not noticed: ${JSON.stringify(before.reasons)}`,
    );
    const expected = Number(difference.expected);
    const lost = expected - Number(difference.size);
    breaches.expect(
      difference.proven === true &&
        (difference.lost as { kind: string }[]).some(({ kind }) => kind === 'agent.banned'),
      'the difference does not name the ban',
    );
    const issuedBefore = await issuances(server);
    breaches.expect(server.server.port === 0, 'the TLS port is open');
    const minted = await codeOf(server.mint(id('/by-hand')));
    breaches.expect(minted === 'DATABASE_STALE', `minting was answered ${minted}`);
    await server
      .admin('Authorities/RotateAuthorities', { kind: 'issuing', force: true, reason: 'drill' })
      .catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 500));
    breaches.expect(
      (await issuingKeys(server)) === 1,
      'an authority was made while the database was stale',
    );
    const signedBeforeAcceptance = (await issuances(server)) - issuedBefore;
    breaches.expect(signedBeforeAcceptance === 0, 'something was signed before the acceptance');
    say(`noticed: ${lost} records are missing; nothing is signed`);
    const wrong = await codeOf(server.admin('Server/AcceptRestore', { size: expected - 1 }));
    breaches.expect(wrong === 'CONFLICT', `an acceptance of something else was taken: ${wrong}`);

    await server.admin('Server/AcceptRestore', { size: expected });
    await until(() => server.server.port !== 0);
    const status = await server.admin('Server/GetStatus');
    breaches.expect(status.epoch !== epochBefore, 'the epoch is the one of before');
    const banStands =
      (await server.admin('Agents/GetAgent', { spiffeId: thief.spiffeId })).agent?.state ===
      'banned';
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
    await server.stop();
    replaceDatabase({
      path: database,
      from: path,
      pid: process.pid,
      now: Math.floor(Date.now() / 1000),
    });
    const again = await server.restart({ acceptRestore: expected }).then(
      () => 'started',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
    breaches.expect(again === 'TREE_TRUNCATED', `an acceptance counts twice: ${again}`);
    replaceDatabase({
      path: database,
      from: `${database}.replaced`,
      pid: process.pid,
      now: Math.floor(Date.now() / 1000),
    });
    return {
      figures: { noticed, lostRecords: lost, signedBeforeAcceptance, banStands },
      broken: breaches.list,
    };
  },
};

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
