import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { productEntry } from '../../support/product.ts';
import { until } from '../../support/until.ts';

/** A command in a process of its own, as a shell starts it. */
function command(server: TestServer, args: readonly string[]) {
  const child = spawn(process.execPath, [
    productEntry,
    '--server-socket',
    server.server.adminSocketPath,
    ...args,
  ]);
  const seen = { out: '', err: '' };
  child.stdout.on('data', (bytes: Buffer) => void (seen.out += bytes.toString()));
  child.stderr.on('data', (bytes: Buffer) => void (seen.err += bytes.toString()));
  const exit = once(child, 'exit') as Promise<[number | null, string | null]>;
  return { child, seen, exit };
}

test('Ctrl-C and SIGTERM end a long command with 130, and it says what may still happen', async () => {
  await using server = await startTestServer();
  // it has a certificate and never speaks: the rotation waits for it
  await server.joinAgent('silent');
  for (const [index, signal] of (['SIGINT', 'SIGTERM'] as const).entries()) {
    const args =
      index === 0
        ? ['authority', 'rotate', '--kind', 'issuing']
        : ['authority', 'activate', '--kind', 'issuing'];
    const { child, seen, exit } = command(server, args);
    await until(() => seen.out.includes('waits for silent'), 'the command waits');
    child.kill(signal);
    assert.deepEqual(await exit, [130, null], `${signal}: ${seen.err}`);
    assert.match(seen.err, /CANCELLED/);
    assert.match(seen.err, /next: .*(server|meshca)/i);
  }
});
