import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authorizeAny, connectTls, X509Source } from '../../src/workload/index.ts';
import { runCommand } from './command.ts';
import { rotateIssuing } from './first-contact.ts';
import type { Impostor } from './impostor.ts';
import { startNode } from './mesh.ts';
import { codeOf, testTrustDomain, type TestServer } from './server.ts';

/** Who asks from afar, and can not tell servers apart but by their certificates. */
export interface DistantCaller extends AsyncDisposable {
  /** The code that comes of asking whoever answers at this address. */
  ask(address: string, ...more: readonly string[]): Promise<string>;
}

/** An admin at another machine, with the files that `meshca mint` wrote for him. */
export async function distantAdmin(server: TestServer): Promise<DistantCaller> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-admin-'));
  const spiffeId = `spiffe://${testTrustDomain}/admin`;
  const minted = ['mint', '--admin', '--spiffe-id', spiffeId, '--write', dir];
  assert.equal((await runCommand(server, minted)).code, 0);
  const files = ['--cert', 'svid.pem', '--key', 'key.pem', '--bundle', 'bundle.pem'];
  const access = files.map((each) => (each.startsWith('--') ? each : join(dir, each)));
  return {
    ask: async (address, ...more) => {
      const args = ['--server', address, ...access, ...more, 'status'];
      const { err } = await runCommand(server, args);
      return /error ([A-Z_]+)/.exec(err)?.[1] ?? err;
    },
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

/** A workload of an agent of this server, which connects by the client library. */
export async function distantWorkload(server: TestServer): Promise<DistantCaller> {
  const node = await startNode(server, 'web');
  const source = await X509Source.connect({ socketPath: node.socketPath });
  return {
    ask: async (address) => {
      const [host = '', port] = address.split(':');
      const dialled = connectTls(source, {
        expect: authorizeAny(),
        host,
        port: Number(port),
        ALPNProtocols: ['h2'],
      });
      return codeOf(dialled.then((socket) => socket.destroy()));
    },
    [Symbol.asyncDispose]: async () => {
      await source.close();
      await node[Symbol.asyncDispose]();
    },
  };
}

/** What an admin without roles gets from the CA itself: he was believed, and may do nothing. */
const answered = 'ROLE_MISSING';

/**
 * Neither a command nor a workload takes one of these for the server, before and after a rotation
 * of the issuing authority. `marked`: the root marks the issuers of a server, so that a command
 * needs no fingerprint once its own certificate is of the issuer before.
 */
export async function talkToTheServerAlone(
  server: TestServer,
  impostors: readonly Impostor[],
  {
    marked,
    certifyServer,
  }: { readonly marked: boolean; readonly certifyServer: () => Promise<unknown> },
): Promise<void> {
  await using stack = new AsyncDisposableStack();
  const admin = stack.use(await distantAdmin(server));
  const workload = stack.use(await distantWorkload(server));
  const real = (): string => `127.0.0.1:${server.server.port}`;
  const fingerprint = async (): Promise<readonly string[]> => {
    const { issuerFingerprints } = await server.admin('Tokens/CreateJoinToken', { agentName: 'p' });
    return ['--issuer-fingerprint', issuerFingerprints.join(',')];
  };
  const refuseImpostors = async (): Promise<void> => {
    const known = await fingerprint();
    assert.ok(impostors.length > 0);
    for (const { address } of impostors) {
      assert.equal(await admin.ask(address), 'RESERVED_ID_UNTRUSTED');
      assert.equal(await admin.ask(address, ...known), 'RESERVED_ID_UNTRUSTED');
      assert.equal(await workload.ask(address), 'RESERVED_ID_UNTRUSTED');
    }
  };
  assert.equal(await admin.ask(real()), answered);
  assert.equal(await admin.ask(real(), ...(await fingerprint())), answered);
  assert.equal(await workload.ask(real()), 'resolved');
  await refuseImpostors();
  // nothing else keeps a command from one: named by a person, it is asked
  for (const { address, issuerFingerprint } of impostors)
    assert.equal(
      await admin.ask(address, '--issuer-fingerprint', issuerFingerprint),
      'NOT_IMPLEMENTED',
    );

  await rotateIssuing(server, certifyServer);
  await server.restart();
  assert.equal(await admin.ask(real()), marked ? answered : 'RESERVED_ID_UNTRUSTED');
  assert.equal(await admin.ask(real(), ...(await fingerprint())), answered);
  assert.equal(await workload.ask(real()), 'resolved');
  await refuseImpostors();
}
