import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../support/ports.ts';
import { until } from '../../support/until.ts';

const root = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../../' : '../../../../', import.meta.url),
);

test('a process whose starter is killed ends by itself', async (context) => {
  const folder = await mkdtemp(join(tmpdir(), 'meshca-starter-'));
  context.after(() => rm(folder, { recursive: true, force: true }));
  // takes connections and says nothing: the agent tries for ever
  const silent = createServer().listen(0, '127.0.0.1');
  await once(silent, 'listening');
  context.after(() => silent.close());
  const opsPort = await freePort();
  const config = join(folder, 'agent.json');
  await writeFile(
    config,
    JSON.stringify({
      trustDomain: 'mesh.test',
      serverAddress: `127.0.0.1:${(silent.address() as AddressInfo).port}`,
      dataDir: join(folder, 'data'),
      bootstrap: { insecureBootstrap: true },
      attestation: { joinToken: { token: `${'a'.repeat(43)}` } },
      workloadApi: { socketPath: join(folder, 'w') },
      localApi: { socketPath: join(folder, 'l') },
      ops: { port: opsPort },
    }),
  );
  const main = import.meta.url.endsWith('.ts') ? 'src/main.ts' : 'dist/product/main.js';
  const starter = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `import { foreground } from ${JSON.stringify(join(root, 'scripts/lib.mjs'))};
       await foreground(process.execPath, ${JSON.stringify([join(root, main), 'agent', 'run', '--config', config])}, { tethered: true });`,
    ],
    { stdio: 'inherit' },
  );
  const live = (): Promise<boolean> =>
    fetch(`http://127.0.0.1:${opsPort}/live`).then(
      ({ ok }) => ok,
      () => false,
    );
  await until(live, 'the agent');
  starter.kill('SIGKILL');
  await once(starter, 'exit');
  await until(async () => !(await live()), 'that the agent has ended');
  assert.equal(await live(), false);
});
