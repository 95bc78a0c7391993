import assert from 'node:assert/strict';
import { createServer } from 'node:net';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { PkiError } from '../../../src/common/errors/index.ts';
import { readText } from '../../../demo/facts.ts';

test('a closed connection to an operations port is retried, and a silent port is named with the reason', async () => {
  let connections = 0;
  const server = createServer((socket) => {
    socket.on('error', () => {});
    connections += 1;
    if (connections < 3) socket.destroy();
    else
      socket.once('data', () =>
        socket.end('HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntext'),
      );
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  assert.equal(await readText(port, '/bundle', new AbortController().signal), 'text');
  assert.equal(connections, 3);
  server.close();
  await once(server, 'close');
  await assert.rejects(
    readText(port, '/bundle', new AbortController().signal),
    (error) =>
      error instanceof PkiError &&
      error.code === 'DEMO_PART_FAILED' &&
      /ECONNREFUSED/.test(error.message),
  );
});
