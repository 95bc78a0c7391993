import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const root = dirname(dirname(fileURLToPath(import.meta.resolve('#proto/README.md'))));

/** The server's half: an HMAC over the challenge, with a secret that both ends were given. */
const serverHalf = `
import { createHmac, timingSafeEqual } from 'node:crypto';
import { z } from 'zod';
import { PkiError } from '../../../common/errors/index.ts';
import { nodeAttestorType } from '../node-attestor.ts';

export const sharedSecret = nodeAttestorType({
  type: 'shared_secret',
  namespace: 'own',
  isAgentName: (name) => /^rack-[0-9]+$/.test(name),
  configuration: z.strictObject({ secret: z.string().min(1) }).optional(),
  create(configuration) {
    if (configuration === undefined) return undefined;
    return {
      start: (evidence) =>
        Promise.resolve({
          kind: 'challenge',
          payload: Buffer.from('rack?'),
          prove(answer, message) {
            const expected = createHmac('sha256', configuration.secret).update(message).digest();
            if (answer.length !== expected.length || !timingSafeEqual(answer, expected))
              throw new PkiError('ATTESTATION_FAILED', 'another secret');
            return Promise.resolve({
              agentName: evidence.toString(),
              selectors: [{ type: 'shared_secret', value: 'rack:' + evidence.toString() }],
              use: { kind: 'repeatable' },
              detail: {},
            });
          },
        }),
    };
  },
});
`;

const agentHalf = `
import { createHmac } from 'node:crypto';
import { z } from 'zod';
import { nodeAttestorType } from '../node-attestor.ts';

export const sharedSecret = nodeAttestorType({
  type: 'shared_secret',
  configuration: z.strictObject({ rack: z.string(), secret: z.string().min(1) }),
  evidence: ({ rack, secret }) =>
    Promise.resolve({
      payload: Buffer.from(rack),
      name: rack,
      once: false,
      answer({ message, payload }) {
        if (payload.toString() !== 'rack?') throw new Error('the challenge has another payload');
        return createHmac('sha256', secret).update(message).digest();
      },
    }),
});
`;

const line = "export { sharedSecret } from './shared-secret/attestor.ts';\n";

/** Joins with the right secret, then with a wrong one; prints what became of both. */
const play = `
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sha256Hex } from './src/common/x509/index.ts';
import { startAgent } from './sidecar/compose.ts';
import { agentConfigSchema } from './sidecar/config.ts';
import { agentEnvironment } from './test/support/agent-environment.ts';
import { startTestServer, testTrustDomain } from './test/support/server.ts';
import { until } from './test/support/until.ts';

const server = await startTestServer({
  config: { attestation: { sharedSecret: { secret: 'open sesame' } } },
});
const directory = await mkdtemp(join(tmpdir(), 'meshca-rack-'));
const agentWith = (rack, secret) =>
  startAgent(
    agentEnvironment(
      agentConfigSchema.parse({
        trustDomain: testTrustDomain,
        serverAddress: '127.0.0.1:' + server.server.port,
        dataDir: join(directory, rack),
        bootstrap: { rootFingerprint: sha256Hex(server.rootsDer[0]) },
        attestation: { sharedSecret: { rack, secret } },
        workloadApi: { socketPath: join(directory, rack + '.w') },
        localApi: { socketPath: join(directory, rack + '.l') },
        ops: { port: 0 },
        connection: { backoffBaseMs: 50, backoffCapMs: 200 },
      }),
    ),
  );
const honest = await agentWith('rack-7', 'open sesame');
await until(() => honest.status().connected === true, 'the session');
const liar = await agentWith('rack-8', 'open barley');
await until(() => liar.status().lastError?.startsWith('ATTESTATION_FAILED'), 'the refusal');
const { agents } = await server.admin('Agents/ListAgents');
const shown = agents.map(({ spiffeId, attestationType, selectors }) => ({
  spiffeId,
  attestationType,
  selectors,
}));
for (const each of [honest, liar]) await each[Symbol.asyncDispose]();
await server[Symbol.asyncDispose]();
process.stdout.write('agents ' + JSON.stringify(shown) + '\\n', () => process.exit(0));
`;

async function addType(copy: string, place: string, half: string): Promise<void> {
  await mkdir(join(copy, place, 'shared-secret'));
  await writeFile(join(copy, place, 'shared-secret', 'attestor.ts'), half);
  const registry = join(copy, place, 'types.ts');
  await writeFile(registry, (await readFile(registry, 'utf8')) + line);
}

test('an added type of node attestation takes its own folder and one line at each end', async () => {
  const copy = await mkdtemp(join(tmpdir(), 'meshca-added-type-'));
  try {
    for (const place of ['src', 'sidecar', 'test/support', 'proto', 'softhsm', 'package.json'])
      await cp(join(root, place), join(copy, place), { recursive: true });
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
    await addType(copy, 'src/services/attestation', serverHalf);
    await addType(copy, 'sidecar/node-attestation', agentHalf);
    await writeFile(join(copy, 'play.mjs'), play);
    const { stdout } = await promisify(execFile)(process.execPath, ['play.mjs'], { cwd: copy });
    const told = stdout.split('\n').find((each) => each.startsWith('agents '));
    assert.deepEqual(JSON.parse(told?.slice('agents '.length) ?? ''), [
      {
        spiffeId: 'spiffe://mesh.test/meshca/agent/shared_secret/rack-7',
        attestationType: 'shared_secret',
        selectors: ['shared_secret:rack:rack-7'],
      },
    ]);
  } finally {
    await rm(copy, { recursive: true, force: true });
  }
});
