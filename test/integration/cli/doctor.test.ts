import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import type { CliContext } from '../../../src/cli/context.ts';
import { ok } from '../../../src/common/errors/index.ts';
import { checkServerMachine } from '../../../src/compose/index.ts';
import { runCommand } from '../../support/command.ts';
import { startTestServer } from '../../support/server.ts';

test('doctor finds a right machine right, and names a wrong token, module and data directory', async () => {
  await using server = await startTestServer();
  const { config } = server;
  const check = async (
    changed: Partial<typeof config>,
  ): Promise<{ readonly code: number; readonly states: Record<string, string>; out: string }> => {
    const parts = {
      checkMachine: async () =>
        ok(
          await checkServerMachine({
            config: { ...config, ...changed },
            env: {},
            execPath: process.execPath,
            uid: process.getuid?.() ?? 0,
            nodeVersion: process.version,
          }),
        ),
    } as unknown as CliContext['dependencies'];
    const { code, out } = await runCommand(server, ['doctor', 'server.yaml', '--json'], {
      dependencies: parts,
    });
    const checks = JSON.parse(out) as { what: string; state: string; text: string }[];
    return {
      code,
      out,
      states: Object.fromEntries(checks.map(({ what, state }) => [what, state])),
    };
  };
  const right = await check({});
  assert.equal(right.code, 0, right.out);
  assert.equal(right.states['issuing token'], 'ok');
  assert.equal(right.states['root token'], 'ok');
  assert.equal(right.states['clock'], 'ok');

  const { hsm } = config;
  const wrong = await check({
    dataDir: join(config.dataDir, 'meshca.db', 'below-a-file'),
    hsm: { ...hsm, issuing: { ...hsm.issuing, label: 'no-such-token' } },
  });
  assert.equal(wrong.code, 1);
  assert.equal(wrong.states['data directory'], 'failed', wrong.out);
  assert.equal(wrong.states['issuing token'], 'failed');
  assert.equal(wrong.states['root token'], 'ok');
  assert.match(wrong.out, /HSM_TOKEN_NOT_FOUND/);
  const noModule = await check({ hsm: { ...hsm, module: '/no/such/module.so' } });
  assert.equal(noModule.states['PKCS#11 module'], 'failed');
  assert.match(noModule.out, /HSM_MODULE_MISSING/);
});
