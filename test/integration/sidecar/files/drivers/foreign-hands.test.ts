import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { namesRoots } from '../../../../../sidecar/files/drivers/caddy/driver.ts';
import { contextsIn } from '../../../../../sidecar/files/drivers/envoy/admin.ts';
import { openDriver } from '../../../../../sidecar/files/drivers/index.ts';
import { systemClock } from '../../../../../src/common/runtime/index.ts';
import {
  codeOf,
  driverOf,
  neverAborted,
  TargetDirectory,
} from '../../../../support/servers/index.ts';

/** What users without root could have made of the files around a server. */
const shell = realpathSync('/bin/sh');

test('what is no plain file in the place of a pid file holds up nobody', async () => {
  using target = new TargetDirectory();
  const set = target.write();
  const pidFile = join(target.path, 'pid');
  execFileSync('mkfifo', [pidFile]);
  for (const path of [pidFile, target.path, '/dev/zero']) {
    const driver = driverOf({ type: 'signal', settings: { pidFile: path, executable: shell } });
    const result = await driver.apply(target.call(set), neverAborted);
    assert.equal(codeOf(result), 'DRIVER_FAILED');
    assert.match(String(!result.ok && result.error.message), /is no plain file/);
  }
});

for (const type of ['nginx', 'haproxy'] as const)
  test(`a configuration that others may write is given to no program of ${type}`, async () => {
    using target = new TargetDirectory();
    const set = target.write();
    const [pidFile, configFile, program, ran] = ['pid', 'config', 'check', 'ran'].map((name) =>
      join(target.path, name),
    ) as [string, string, string, string];
    writeFileSync(program, `#!/bin/sh\necho ran > ${ran}\nexit 1\n`, { mode: 0o755 });
    writeFileSync(configFile, '');
    chmodSync(configFile, 0o666);
    const server = spawn(shell, ['-c', 'while :; do sleep 1; done'], { stdio: 'ignore' });
    try {
      await once(server, 'spawn');
      writeFileSync(pidFile, `${server.pid}\n`);
      const given = { program, executable: shell, pidFile, configFile };
      const settings = type === 'nginx' ? given : { reload: given };
      const driver = driverOf({ type, settings });
      const result = await driver.apply(target.call(set), neverAborted);
      assert.equal(codeOf(result), 'DRIVER_FAILED');
      assert.match(
        String(!result.ok && result.error.message),
        /config is not believed: others may/,
      );
      assert.ok(!existsSync(ran));
      chmodSync(configFile, 0o644);
      assert.equal(codeOf(await driver.apply(target.call(set), neverAborted)), 'DRIVER_REFUSED');
      assert.ok(existsSync(ran));
    } finally {
      server.kill('SIGKILL');
    }
  });

test('the key is sent to no socket that everybody could have made', async () => {
  using target = new TargetDirectory();
  const set = target.write();
  target.swap(set);
  const folder = join(target.path, 'open');
  mkdirSync(folder);
  const path = join(folder, 'admin.sock');
  const texts: string[] = [];
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    let text = '';
    socket.on('data', (bytes) => (text += String(bytes)));
    socket.on('end', () => {
      texts.push(text);
      socket.end('Serial: 01');
    });
  }).listen(path);
  await once(server, 'listening');
  const driver = driverOf({ type: 'haproxy', settings: { socket: path } });
  try {
    for (const mode of [0o777, 0o1777]) {
      chmodSync(folder, mode);
      const result = await driver.apply(target.call(set), neverAborted);
      assert.equal(codeOf(result), 'DRIVER_FAILED');
      assert.match(
        String(!result.ok && result.error.message),
        /nothing secret is sent to .*everybody/,
      );
    }
    assert.ok(!texts.some((text) => text.includes('PRIVATE KEY')));
    chmodSync(folder, 0o775);
    await driver.apply(target.call(set), neverAborted);
    assert.ok(texts.some((text) => text.includes('PRIVATE KEY')));
  } finally {
    server.close();
  }
});

test('a password is sent to no socket that everybody could have made', async () => {
  using target = new TargetDirectory();
  const set = target.write();
  target.swap(set);
  const [folder, passwordFile] = [join(target.path, 'open'), join(target.path, 'password')];
  mkdirSync(folder);
  writeFileSync(passwordFile, 'secret\n', { mode: 0o600 });
  const address = join(folder, 'redis.sock');
  let text = '';
  const server = createServer((socket) => {
    socket.on('data', (bytes) => {
      text += String(bytes);
      socket.end('-ERR no\r\n');
    });
  }).listen(address);
  await once(server, 'listening');
  const driver = driverOf({ type: 'redis', settings: { address, passwordFile } });
  try {
    chmodSync(folder, 0o1777);
    const result = await driver.apply(target.call(set), neverAborted);
    assert.match(String(!result.ok && result.error.message), /nothing secret is sent to/);
    assert.equal(text, '');
    chmodSync(folder, 0o755);
    assert.equal(codeOf(await driver.apply(target.call(set), neverAborted)), 'DRIVER_FAILED');
    assert.match(text, /AUTH[^]*secret/);
  } finally {
    server.close();
  }
});

test('the key is sent to no port, at which any user can listen', () => {
  const settings = { socket: '127.0.0.1:9999' };
  const choice = { type: 'haproxy', settings, timeoutSeconds: 60 };
  const opened = openDriver(choice, { clock: systemClock, stapled: () => {} });
  assert.ok(!opened.ok && /absolute path of a Unix socket/.test(opened.error.message));
});

test('an answer in the place of Caddy is read in time in proportion to its size', () => {
  const call = { directory: '/etc/meshca/web', files: { ca: 'ca.pem' } };
  const path = JSON.stringify('/etc/meshca/web/current/ca.pem');
  for (const [config, names] of [
    [`{"pem_files":[${path}]}`, true],
    [`{"pem_files":["/a",${path},"/b"]}`, true],
    [`{"pem_files":["/a"],"other":[${path}]}`, false],
    [`{"pem_files":["/a"],"other":{"pem_files":["/b",${path}]}}`, true],
    [`{"pem_files":[],"pem_files":["/b"]}`, false],
    [`{"other":[${path}],"pem_files":["/b"]}`, false],
  ] as const)
    assert.equal(namesRoots(config, call), names, config);
  // with a pattern that looks back this takes hours
  const flood = `${'"pem_files":['.repeat(600_000)}]${path}`;
  assert.equal(namesRoots(flood, call), false);
});

test('of an answer in the place of Envoy nothing is kept but its first fault', () => {
  const certificates = [
    { cert_chain: [{ serial_number: '0AB' }], ca_cert: [{ serial_number: '01' }] },
    { cert_chain: [{ serial_number: 'cd' }] },
    {},
  ];
  assert.deepEqual(contextsIn({ certificates }), [
    { leaves: ['ab'], roots: ['1'] },
    { leaves: ['cd'], roots: [] },
    { leaves: [], roots: [] },
  ]);
  const before = process.memoryUsage().heapUsed;
  for (const answer of [
    ...[null, 1, [], {}, { certificates: {} }, { certificates: [null] }],
    ...[{ certificates: [{ ca_cert: 1 }] }, { certificates: [{ cert_chain: [{}] }] }],
    { certificates: Array(1_000_000).fill(1) },
  ])
    assert.throws(() => contextsIn(answer), { code: 'DRIVER_FAILED' });
  // a list of all faults took more than 1.9 GB for four million of them
  assert.ok(process.memoryUsage().heapUsed - before < 100_000_000);
});
