import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { copyFileSync, realpathSync, rmSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import {
  codeOf,
  driverOf,
  neverAborted,
  TargetDirectory,
} from '../../../../support/servers/index.ts';
import { until } from '../../../../support/until.ts';

const shell = realpathSync('/bin/sh');
const children: ChildProcess[] = [];
afterEach(() => children.splice(0).forEach((child) => child.kill('SIGKILL')));

/** A server that notes each signal, and its pid file. */
class Server {
  readonly target = new TargetDirectory();
  readonly set = this.target.write();
  readonly pidFile = join(this.target.path, 'pid');
  readonly notes = join(this.target.path, 'notes');

  start(program = '/bin/sh'): void {
    const script = `trap 'echo HUP >> ${this.notes}' HUP; trap 'echo USR2 >> ${this.notes}' USR2; echo up >> ${this.notes}; while :; do sleep 0.01; done`;
    const child = spawn(program, ['-c', script], { stdio: 'ignore' });
    children.push(child);
    writeFileSync(this.pidFile, `${child.pid}\nfurther lines\n`);
  }

  noted(): readonly string[] {
    try {
      return readFileSync(this.notes, 'utf8').trim().split('\n');
    } catch {
      return [];
    }
  }

  apply(settings: object = {}) {
    const { pidFile, target, set } = this;
    const given = { pidFile, executable: '/bin/sh', ...settings };
    return driverOf({ type: 'signal', settings: given }).apply(target.call(set), neverAborted);
  }

  [Symbol.dispose](): void {
    this.target[Symbol.dispose]();
  }
}

test('the process of the pid file gets the signal, at apply and on the way back', async () => {
  using server = new Server();
  server.start();
  await until(() => server.noted().includes('up'));
  assert.equal(unwrap(await server.apply()).trust, 'unknown');
  await until(() => server.noted().includes('HUP'));
  assert.ok((await server.apply({ signal: 'SIGUSR2' })).ok);
  await until(() => server.noted().includes('USR2'));
  const driver = driverOf({
    type: 'signal',
    settings: { pidFile: server.pidFile, executable: shell },
  });
  assert.ok((await driver.rollback(server.target.call(server.set), neverAborted)).ok);
  await until(() => server.noted().filter((note) => note === 'HUP').length === 2);
});

test('a process that runs another program gets no signal', async () => {
  using server = new Server();
  server.start();
  await until(() => server.noted().includes('up'));
  const result = await server.apply({ executable: '/usr/sbin/nginx' });
  assert.equal(codeOf(result), 'DRIVER_FAILED');
  assert.match(String(!result.ok && result.error.message), /it runs .*, not \/usr\/sbin\/nginx/);
  assert.deepEqual(server.noted(), ['up']);
});

test('a process that started after the pid file was written gets no signal: its number is re-used', async () => {
  using server = new Server();
  server.start();
  await until(() => server.noted().includes('up'));
  const anHourAgo = Date.now() / 1000 - 3600;
  utimesSync(server.pidFile, anHourAgo, anHourAgo);
  const result = await server.apply();
  assert.equal(codeOf(result), 'DRIVER_FAILED');
  assert.match(String(!result.ok && result.error.message), /started after the file was written/);
  assert.deepEqual(server.noted(), ['up']);
});

test('a server whose program was replaced by an upgrade still gets its signal', async () => {
  using server = new Server();
  const program = join(server.target.path, 'server');
  copyFileSync(shell, program);
  server.start(program);
  await until(() => server.noted().includes('up'));
  unlinkSync(program);
  copyFileSync('/bin/true', program);
  assert.ok((await server.apply({ executable: program })).ok);
  await until(() => server.noted().includes('HUP'));
});

test('without pid file or process the server does not run, which is no failure', async () => {
  using server = new Server();
  assert.match(unwrap(await server.apply()).note, /does not run/);
  server.start();
  const [child] = children as [ChildProcess];
  child.kill('SIGKILL');
  await until(() => child.signalCode !== null);
  assert.match(unwrap(await server.apply()).note, /does not run/);
});

test('a pid file with no number, or with that of init, sends nothing', async () => {
  using server = new Server();
  for (const text of ['', 'nginx', '-1', '0', '1', '12x', ' ']) {
    writeFileSync(server.pidFile, text);
    const result = await server.apply();
    assert.equal(codeOf(result), 'DRIVER_FAILED', text);
  }
  rmSync(server.pidFile);
});
