import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { linuxKernel } from '../../../../sidecar/attest/index.ts';
import { descriptorOf } from '../../../../sidecar/local-server/descriptor.ts';
import { nextTurn, until } from '../../../support/until.ts';

test('signals to the agent let no process count as exited', async () => {
  const kernel = linuxKernel();
  const pidfd = kernel.pidfdOpen(process.pid);
  assert.ok(pidfd !== undefined, 'this test needs a kernel with pidfd (Linux 5.3)');
  let signals = 0;
  const heard = (): void => void (signals += 1);
  process.on('SIGWINCH', heard);
  const sender = spawn('sh', ['-c', `while kill -WINCH ${process.pid}; do :; done`], {
    stdio: 'ignore',
  });
  try {
    let wrong = 0;
    while (signals < 2_000) {
      for (let asked = 0; asked < 1_000; asked += 1) if (kernel.exited([pidfd])[0]) wrong += 1;
      await nextTurn();
    }
    assert.equal(wrong, 0);
  } finally {
    sender.kill('SIGKILL');
    closeSync(pidfd);
    process.off('SIGWINCH', heard);
  }
});

test('what is peeked at stays in the socket, and no more is copied than has arrived or fits', async () => {
  const kernel = linuxKernel();
  const directory = await mkdtemp(join(tmpdir(), 'meshca-peek-'));
  const path = join(directory, 's');
  const accepted = Promise.withResolvers<Socket>();
  const server = createServer({ pauseOnConnect: true }, accepted.resolve).listen(path);
  const client = connect(path);
  try {
    const socket = await accepted.promise;
    const fd = descriptorOf(socket);
    assert.equal(kernel.peek(fd, Buffer.alloc(8)), 0, 'nothing was sent');
    client.write('hello');
    const into = Buffer.alloc(8);
    await until(() => kernel.peek(fd, into) === 5);
    assert.equal(into.toString('latin1', 0, 5), 'hello');
    assert.equal(kernel.peek(fd, Buffer.alloc(2)), 2);
    assert.equal(kernel.peek(-1, into), 0, 'a descriptor that is closed');
    const read = once(socket, 'data');
    socket.resume();
    assert.equal(String((await read)[0]), 'hello');
  } finally {
    client.destroy();
    server.close();
    await rm(directory, { recursive: true });
  }
});
