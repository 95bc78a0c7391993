import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { FakeWorkloadApi } from '../../support/fake-workload-api.ts';
import { createIntermediate, createRoot, createSvid } from '../../support/test-pki.ts';
import { freePort } from '../../support/ports.ts';
import { until } from '../../support/until.ts';

const project = import.meta
  .resolve('#proto/spiffe/workload.proto')
  .replace(/proto\/spiffe\/workload\.proto$/, '');
const library = import.meta.url.endsWith('.ts')
  ? `${project}src/workload/index.ts`
  : `${project}dist/src/workload/index.js`;
const text = await readFile(new URL('docs/client-library.md', project), 'utf8');
const examples = new Map(
  [...text.matchAll(/```ts (\S+)\n([\s\S]*?)```/g)].map(([, name, code]) => [
    name as string,
    code as string,
  ]),
);

let folder: string;
const agents: FakeWorkloadApi[] = [];
before(async () => {
  folder = await mkdtemp(join(tmpdir(), 'meshca-docs-'));
  await symlink(new URL('node_modules', project), join(folder, 'node_modules'));
  const root = createRoot('example.org');
  const issuer = createIntermediate(root, 'example.org');
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true });
  for (const name of ['greeter', 'caller']) {
    const id = `spiffe://example.org/${name}`;
    const agent = await FakeWorkloadApi.start();
    agent.setX509({
      svids: [{ ...createSvid(issuer, id), bundleDer: [root.certificateDer], hint: 'internal' }],
    });
    agent.setJwks({
      'spiffe://example.org': JSON.stringify({
        keys: [{ ...(await exportJWK(publicKey)), kid: 'k', use: 'jwt-svid' }],
      }),
    });
    const token = await new SignJWT({})
      .setSubject(id)
      .setAudience('api.example.org')
      .setExpirationTime('5m')
      .setProtectedHeader({ alg: 'ES256', kid: 'k' })
      .sign(privateKey);
    agent.onJwt = () => ({ spiffeId: id, svid: token });
    agents.push(agent);
  }
});
after(async () => {
  for (const agent of agents) await agent[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

async function run(name: string, agent: FakeWorkloadApi, port: number): Promise<ChildProcess> {
  const file = join(folder, `${name.replace('=', '-')}.mts`);
  const code = (examples.get(name) as string)
    .replaceAll("'@meshca/workload'", JSON.stringify(library))
    .replaceAll('8443', String(port));
  await writeFile(file, code);
  return spawn(process.execPath, [file], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${agent.socketPath}` },
  });
}

async function outputOf(child: ChildProcess): Promise<string> {
  let output = '';
  child.stdout?.on('data', (bytes: Buffer) => (output += bytes.toString()));
  const [code] = await once(child, 'close');
  assert.equal(code, 0);
  return output;
}

async function reachable(port: number): Promise<void> {
  await until(async () => {
    const socket = connect(port, '127.0.0.1');
    const up = await new Promise<boolean>((resolve) =>
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false)),
    );
    socket.destroy();
    return up;
  }, 'the example listens');
}

for (const protocol of ['https', 'tls', 'grpc']) {
  test(`the examples for ${protocol} in the documentation work as they stand`, async () => {
    const [greeter, caller] = agents as [FakeWorkloadApi, FakeWorkloadApi];
    const port = await freePort();
    const server = await run(`server=${protocol}`, greeter, port);
    try {
      await reachable(port);
      assert.match(
        await outputOf(await run(`client=${protocol}`, caller, port)),
        /hello spiffe:\/\/example\.org\/caller/,
      );
    } finally {
      server.kill('SIGKILL');
    }
  });
}

for (const topic of ['jwt', 'events']) {
  test(`the example for ${topic} in the documentation works as it stands`, async () => {
    const output = await outputOf(await run(`alone=${topic}`, agents[1] as FakeWorkloadApi, 0));
    assert.match(output, /hello spiffe:\/\/example\.org\/caller/);
  });
}

test('every example in the documentation is one that is run', () => {
  assert.equal(examples.size, 8);
  assert.equal((text.match(/```ts/g) ?? []).length, 8);
});
