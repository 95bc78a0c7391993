import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test } from 'node:test';
import { runCli } from '../../../../src/cli/program.ts';
import { certificatesToPem, pemDecode } from '../../../../src/common/x509/index.ts';
import { agentSeat } from '../../../support/agent-seat.ts';
import { runCommand, testContext } from '../../../support/command.ts';
import { freePort } from '../../../support/ports.ts';
import { rotationOf } from '../../../support/mesh.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import { setFiles, startNginx, type RunningServer } from '../../../support/servers/index.ts';
import { until } from '../../../support/until.ts';

const owner = 'spiffe://mesh.test/shop/front';
const host = 'www.shop.test';

const entryFor = (parentId: string) => ({
  ...{ id: 'web', spiffeId: owner, parentId, profile: 'short' },
  ...{ dnsNames: [host, '*.shop.test'], ips: ['192.0.2.7'], selectors: ['target:name:web'] },
});

async function edge() {
  // the agent finds the server again after its restart
  const server = await startTestServer({ config: { listen: { port: await freePort() } } });
  const { token, agentId } = await server.admin('Tokens/CreateJoinToken', { agentName: 'n1' });
  return { server, agentId, attestation: { joinToken: { token } } };
}

/** What `openssl s_client` says of the server, for a client that wants this name. */
function judge(
  { port }: RunningServer,
  roots: string,
  name: string,
): Promise<{ readonly accepted: boolean; readonly text: string }> {
  const options = ['-verify_hostname', name, '-servername', name, '-verify_return_error'];
  return new Promise((resolve) => {
    const child = execFile(
      'openssl',
      ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', roots, ...options],
      (error, out, err) =>
        resolve({
          accepted: error === null && out.includes('Verify return code: 0 (ok)'),
          text: out + err,
        }),
    );
    child.stdin?.end('Q\n');
  });
}

const published = async (server: TestServer): Promise<string> =>
  (await fetch(`http://127.0.0.1:${server.server.httpPorts.plain}/names/roots.pem`)).text();

// oxlint-disable-next-line test-sizes/function-lines -- one server, agent and nginx for the whole life
test('an agent keeps nginx in certificates for names: proven, renewed, and apart from the mesh', async () => {
  const { server: started, agentId, attestation } = await edge();
  await using server = started;
  const directory = mkdtempSync(join(tmpdir(), 'meshca-names-'));
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
  const current = (kind: keyof typeof setFiles): string =>
    join(directory, 'current', setFiles[kind]);
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [entryFor(agentId)],
  });
  assert.equal(results[0]?.outcome, 'entry', JSON.stringify(results));

  const target = { name: 'web', directory, files: { crl: 'crl.pem' } };
  const untold = { ...target, driver: { type: 'none' } };
  const first = await agentSeat(server, attestation, { sections: { targets: [untold] } });
  await using seat = cleanup.use(first);
  await seat.start();
  const { context: localContext, seen } = testContext();
  await until(async () => {
    seen.out = '';
    const socketOf = seat.config.localApi.socketPath;
    await runCli(['set', 'show', 'web', '--local', '--socket', socketOf], localContext);
    return seen.out.includes('NO_ISSUER');
  }, 'the refusal of a server without names');
  assert.match(seen.out, /Set names\.enabled and start the server again/);
  await server.restart({ changes: { names: { enabled: true } } });
  await until(() => {
    try {
      return readlinkSync(join(directory, 'current')) !== '';
    } catch {
      return false;
    }
  }, 'the first set');
  const ofNames = await published(server);
  assert.equal(readFileSync(current('ca'), 'latin1'), ofNames, 'the roots of names alone');
  assert.throws(() => readFileSync(join(directory, 'current', 'crl.pem')), /ENOENT/);

  await using nginx = await startNginx({
    path: directory,
    get currentSerial() {
      return basename(readlinkSync(join(directory, 'current'))).replace(/^\d+-/, '');
    },
    file: current,
  });
  const before = await nginx.serial();
  const copy = await seat.copy();
  await seat.stop();
  const listeners = [{ address: `127.0.0.1:${nginx.port}`, serverName: host }];
  const driven = {
    ...{ ...target, listeners, proof: { timeoutSeconds: 30 } },
    driver: { type: nginx.driver.type, ...nginx.driver.settings },
  };
  const next = await agentSeat(server, attestation, {
    dataFrom: copy,
    sections: { targets: [driven] },
  });
  await using again = cleanup.use(next);
  await again.start();
  await again.connected();
  assert.equal(await nginx.serial(), before, 'a restart of the agent is no reason for a new set');

  // the agent is told of no authority of names, and of the certificate that is to be replaced
  const { authorities } = await server.admin('Authorities/ListAuthorities', {
    ...{ kind: 'names-issuing', state: 'active' },
  });
  await server.admin('Authorities/TaintAuthority', {
    ...{ id: authorities[0]!.id, reason: 'a test', windowSeconds: 1 },
  });
  await until(async () => (await nginx.serial()) !== before, 'the renewed certificate is shown');
  const socket = again.config.localApi.socketPath;
  const local = async (...args: readonly string[]): Promise<string> => {
    const { context, seen } = testContext();
    assert.equal(await runCli([...args, '--socket', socket], context), 0, seen.err);
    return seen.out;
  };
  await until(
    async () => /state +proven/.test(await local('set', 'show', 'web', '--local')),
    'the new certificate is proven',
  );

  const files = { names: join(directory, '.names.pem'), mesh: join(directory, '.mesh.pem') };
  writeFileSync(files.names, ofNames);
  writeFileSync(files.mesh, certificatesToPem(server.rootsDer));
  const verdict = async (roots: string, name: string): Promise<boolean> =>
    (await judge(nginx, roots, name)).accepted;
  const asked = await judge(nginx, files.names, host);
  assert.ok(asked.accepted, asked.text);
  assert.equal(await verdict(files.names, 'mail.shop.test'), true, 'the wildcard');
  assert.equal(await verdict(files.names, 'www.bank.test'), false, 'another name');
  assert.equal(await verdict(files.mesh, host), false, 'a peer of the mesh');

  for (const text of [
    await local('set', 'show', 'web', '--local'),
    await local('explain', '--target', 'web'),
    (await runCommand(server, ['set', 'show', 'web', '--agent', agentId])).out,
  ]) {
    assert.match(text, /names +www\.shop\.test/, text);
    assert.match(text, /unprovable/, text);
    assert.doesNotMatch(text, /SPIFFE ID +spiffe/, text);
  }
  const listed = await runCommand(server, ['set', 'list', '--json']);
  assert.match(listed.out, /"\*\.shop\.test"/);

  // no rotation waits for it
  const rotation = rotationOf(server);
  assert.deepEqual(
    (await rotation.consumersOf(agentId)).filter(({ kind }) => kind === 'files'),
    [],
  );
  await server.admin('Authorities/RotateAuthorities', { kind: 'root' });
  await until(async () => {
    const counted = (await rotation.inState('root', 'published'))?.confirmation;
    return counted?.provenNeeded === 1 && counted.provenConfirmed === 1;
  }, 'the agent alone is asked for the next root of the mesh');
  assert.equal(pemDecode(readFileSync(current('ca'), 'latin1')).ok, true);
  assert.equal(readFileSync(current('ca'), 'latin1'), await published(server));
});
