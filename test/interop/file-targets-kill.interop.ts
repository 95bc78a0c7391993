import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import type { FileTarget } from '../../sidecar/files/target.ts';
import type { TargetStatus } from '../../sidecar/ports/file-targets.ts';
import { plannedSet } from '../support/served-delivery.ts';
import { isWholePair, ServedClients } from '../support/served-scene.ts';
import { ServedTarget } from '../support/served-target.ts';
import { startNginx } from '../support/servers/index.ts';
import { serverPair, tlsServer } from '../support/tls-servers.ts';
import { until } from '../support/until.ts';

const child = fileURLToPath(
  import.meta.resolve(
    import.meta.url.endsWith('.ts') ? './delivery-child.ts' : './delivery-child.js',
  ),
);

interface Ended {
  readonly signal: string | undefined;
  readonly status: TargetStatus | undefined;
}

const run = (plan: string, ...step: readonly string[]): Promise<Ended> =>
  new Promise((resolve, reject) => {
    execFile(process.execPath, [child, plan, ...step], (error, stdout, stderr) => {
      if (error === null) resolve({ signal: undefined, status: JSON.parse(stdout) });
      else if (error.signal !== null && error.signal !== undefined)
        resolve({ signal: error.signal, status: undefined });
      else reject(new Error(stderr));
    });
  });

/** Kills the agent's part at each of these steps, and lets a new one go on. */
async function killAt(
  served: ServedTarget,
  target: FileTarget,
  steps: readonly string[],
  outcome: TargetStatus['state'],
): Promise<void> {
  const plan = join(served.journalDirectory, 'plan.json');
  const planned = [served.first, ...steps.map(() => plannedSet(served.authorities))];
  const { journalDirectory } = served;
  writeFileSync(plan, JSON.stringify({ target, journalDirectory, planned, offlineCheck: 'on' }));
  await using clients = new ServedClients(served);
  for (const step of steps) {
    assert.equal((await run(plan, step)).signal, 'SIGKILL', `no step ${step} came`);
    assert.ok(isWholePair(served.path), `a torn pair after ${step}`);
    await clients.unharmed();
    const { status } = await run(plan);
    assert.ok(
      status !== undefined && [outcome, 'proven', 'applied'].includes(status.state),
      `${step}: ${JSON.stringify(status)}`,
    );
    assert.ok(isWholePair(served.path));
    await until(
      async () => (await served.server.serial()) === served.currentSerial,
      `${step}: the server has what the files say`,
    );
    await clients.unharmed();
  }
}

const around = (...steps: readonly string[]): readonly string[] =>
  steps.flatMap((step) => [`before ${step}`, `after ${step}`]);

test('kill -9 at each step of a delivery: the pair that is served is whole, and the next one goes on', async () => {
  await using served = await ServedTarget.start(startNginx);
  const steps = around('lease', 'check', 'offer', 'swap', 'apply', 'verify', 'prove');
  await killAt(served, served.target(), steps, 'proven');
  assert.notEqual(served.currentSerial, served.first.serial);
});

test('kill -9 at each step of the way back: the set before is served in the end', async () => {
  await using served = await ServedTarget.start(startNginx);
  await using other = await tlsServer(serverPair());
  const target = served.target();
  // it never shows what is delivered
  const behind = { address: other.address, serverName: undefined, protocol: 'tls' } as const;
  const steps = around('swap-back', 'driver-back', 'prove-back');
  const proof = { handshakes: 2, timeoutSeconds: 1 };
  const listeners = [...target.listeners, behind];
  await killAt(served, { ...target, listeners, proof }, steps, 'failed');
  assert.equal(served.currentSerial, served.first.serial);
});
