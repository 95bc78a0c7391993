import assert from 'node:assert/strict';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, beforeEach, test } from 'node:test';
import { openDriver } from '../../../../../sidecar/files/drivers/index.ts';
import type { Driver } from '../../../../../sidecar/files/driver.ts';
import { systemClock, type Clock } from '../../../../../src/common/runtime/index.ts';
import { unwrap, type PkiError, type Result } from '../../../../../src/common/errors/index.ts';
import { TargetDirectory } from '../../../../support/servers/target-directory.ts';
import { until } from '../../../../support/until.ts';

const never = new AbortController().signal;
const folder = mkdtempSync(join(tmpdir(), 'meshca-exec-'));
const program = join(folder, 'driver');
using target = new TargetDirectory();
const set = target.write();
const previous = target.write();
const call = target.call(set, previous);
after(() => rmSync(folder, { recursive: true }));
beforeEach(() => chmodSync(folder, 0o755));

/** A driver of one's own, as a shell script. */
function script(...lines: readonly string[]): void {
  rmSync(program, { force: true });
  writeFileSync(program, ['#!/bin/sh', ...lines, ''].join('\n'), { mode: 0o755 });
}

const open = (settings: object = {}, clock: Clock = systemClock): Driver =>
  unwrap(
    openDriver(
      { type: 'exec', settings: { program, ...settings }, timeoutSeconds: 60 },
      { clock, stapled: () => {} },
    ),
  );

const errorOf = (result: Result<unknown>): { code: string; message: string } => {
  assert.ok(!result.ok, 'the step was to fail');
  return result.error;
};

test('each step gets its name as last argument, the call as JSON, and a clean environment', async () => {
  script(`echo "$@" >> ${folder}/steps`, `cat > ${folder}/call`, `env > ${folder}/environment`);
  const driver = open({ arguments: ['--fast', 'a b; $(c)'] });
  for (const step of ['stage', 'apply', 'verify', 'rollback', 'remove'] as const)
    assert.ok((await driver[step](call, never)).ok, step);
  assert.equal(
    readFileSync(join(folder, 'steps'), 'utf8'),
    ['stage', 'apply', 'verify', 'rollback', 'remove']
      .map((step) => `--fast a b; $(c) ${step}\n`)
      .join(''),
  );
  // what is undefined stands in no JSON
  const told: unknown = JSON.parse(JSON.stringify(call));
  assert.deepEqual(JSON.parse(readFileSync(join(folder, 'call'), 'utf8')), told);
  const names = readFileSync(join(folder, 'environment'), 'utf8').match(/^\w+(?==)/gm);
  assert.deepEqual(
    names?.filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name)).sort(),
    ['LANG', 'PATH'],
  );
});

test('the line of JSON on standard output says whether the roots are loaded, and a note', async () => {
  script('echo \'{"trust":"loaded","note":"reload 7"}\'');
  assert.deepEqual(unwrap(await open().apply(call, never)), { trust: 'loaded', note: 'reload 7' });
  script('true');
  assert.deepEqual(unwrap(await open().verify(call, never)), { trust: 'unknown', note: '' });
  for (const line of ['reloaded', '{"trust":"proven"}', '{"note":"a\\nb"}', '{}\n{}']) {
    script(`printf '%s' '${line}'`);
    assert.equal(errorOf(await open().apply(call, never)).code, 'DRIVER_FAILED', line);
  }
});

test('exit 3 is a refusal, with what the program said; the next delivery may do well', async () => {
  script(`[ -e ${folder}/mended ] && exit 0`, 'echo "key does not fit" >&2', 'exit 3');
  const { code, message } = errorOf(await open().apply(call, never));
  assert.equal(code, 'DRIVER_REFUSED');
  assert.match(message, /exec driver of target web, step apply: .* refused the set: key does not/);
  writeFileSync(join(folder, 'mended'), '');
  assert.ok((await open().apply(call, never)).ok);
});

test('any other end is a failure: nobody knows what the server has', async () => {
  for (const line of ['exit 1', 'exit 127', 'kill -9 $$']) {
    script('echo "no such unit" >&2', line);
    const { code, message } = errorOf(await open().rollback(call, never));
    assert.equal(code, 'DRIVER_FAILED', line);
    assert.match(message, /no such unit/);
  }
});

test('a program that is not there, or that others may write, is not run', async () => {
  const refusals: [string, () => void][] = [
    ['ENOENT', () => rmSync(program, { force: true })],
    ['EACCES', () => chmodSync(program, 0o644)],
    ['others may write .*0757', () => chmodSync(program, 0o757)],
    ['others may write into .*0777', () => chmodSync(folder, 0o777)],
    ['no plain file', () => (rmSync(program), mkdirSync(program))],
  ];
  for (const [reason, spoil] of refusals) {
    rmSync(program, { force: true, recursive: true });
    chmodSync(folder, 0o755);
    script(`touch ${folder}/ran`);
    spoil();
    const { code, message } = errorOf(await open().apply(call, never));
    assert.equal(code, 'DRIVER_FAILED');
    assert.match(message, new RegExp(reason));
  }
  assert.ok(!existsSync(join(folder, 'ran')));
  rmSync(program, { recursive: true });
  chmodSync(folder, 0o755);
  script('true');
  assert.ok((await open().apply(call, never)).ok);
});

test('a link that others may point elsewhere is not followed', async () => {
  script(`touch ${folder}/ran`);
  const open1 = join(folder, 'open');
  mkdirSync(open1);
  chmodSync(open1, 0o777);
  symlinkSync(program, join(open1, 'driver'));
  const driver = open({ program: join(open1, 'driver') });
  assert.equal(errorOf(await driver.apply(call, never)).code, 'DRIVER_FAILED');
  assert.ok(!existsSync(join(folder, 'ran')));
});

test('a link in the middle of the way that others may point elsewhere is not followed', async () => {
  script(`touch ${folder}/ran`);
  const [open1, closed] = [join(folder, 'middle'), join(folder, 'closed')];
  mkdirSync(open1);
  chmodSync(open1, 0o777);
  mkdirSync(closed);
  symlinkSync(program, join(open1, 'driver'));
  symlinkSync(join(open1, 'driver'), join(closed, 'driver'));
  const driver = open({ program: join(closed, 'driver') });
  assert.match(errorOf(await driver.apply(call, never)).message, /others may write into .*middle/);
  assert.ok(!existsSync(join(folder, 'ran')));
});

test('a program that hangs is ended with all its children; a longer limit lets it finish', async () => {
  const pids = join(folder, 'pids');
  script(
    "trap '' TERM",
    `[ -e ${folder}/quick ] && exit 0`,
    `sh -c "trap '' TERM; echo \\$\\$ >> ${pids}; while :; do sleep 600; done" &`,
    `echo $$ >> ${pids}`,
    'while :; do sleep 600; done',
  );
  let reachLimit = (): void => {};
  const clock: Clock = {
    ...systemClock,
    after: (delayMs, callback) => {
      if (delayMs < 60_000) return systemClock.after(delayMs, callback);
      reachLimit = callback;
      return () => {};
    },
  };
  const step = open({}, clock).apply(call, never);
  const both = /^\d+\n\d+\n$/;
  await until(() => existsSync(pids) && both.test(readFileSync(pids, 'utf8')), 'both run');
  reachLimit();
  assert.equal(errorOf(await step).code, 'DRIVER_TIMEOUT');
  const gone = (pid: string): boolean => {
    try {
      return / [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
      return true;
    }
  };
  for (const pid of readFileSync(pids, 'utf8').trim().split('\n'))
    await until(() => gone(pid), `process ${pid} is gone`);
  writeFileSync(join(folder, 'quick'), '');
  assert.ok((await open({}, systemClock).apply(call, never)).ok);
});

test('a child that keeps the pipes open does not hold the step up', async () => {
  script('sleep 600 &', `echo $! > ${folder}/sleeper`, 'echo "{}"');
  try {
    assert.ok((await open().apply(call, never)).ok);
  } finally {
    process.kill(Number(readFileSync(join(folder, 'sleeper'), 'utf8')));
  }
});

test('output without end is cut, and fills no memory', async () => {
  script('head -c 50000000 /dev/zero | tr "\\0" x >&2', 'exit 1');
  const { message } = errorOf(await open().apply(call, never));
  assert.ok(message.length < 1000, `${message.length}`);
});

test('a program that does not read its input still counts by its end', async () => {
  script('exec < /dev/null', 'exit 0');
  assert.ok((await open().apply(call, never)).ok);
});

test('the end of the agent ends the program, and is no time limit', async () => {
  const stopping = new AbortController();
  script(`touch ${folder}/started`, 'exec sleep 600');
  const step = open().apply(call, stopping.signal);
  await until(() => existsSync(join(folder, 'started')));
  stopping.abort();
  const { code, message } = errorOf(await step);
  assert.equal(code, 'DRIVER_FAILED');
  assert.match(message, /interrupted/);
});

/** A driver of a server that does not run, with a program for its OCSP answers. */
function stapling(type: string, clock: Clock = systemClock) {
  const outcomes: Result<void>[] = [];
  const settings = {
    ...(type === 'haproxy' ? { socket: `${folder}/none.sock` } : { pidFile: `${folder}/none.pid` }),
    staple: [program, 'fetch'],
  };
  const stapled = (outcome: Result<void>): void => void outcomes.push(outcome);
  const driver = unwrap(openDriver({ type, settings, timeoutSeconds: 60 }, { clock, stapled }));
  return { driver, outcomes };
}

test('a program gets the OCSP answer of each set that is taken over, and of the one before on a way back', async () => {
  script(`echo "$1 $MESHCA_TARGET $MESHCA_SET $MESHCA_DIRECTORY" >> ${folder}/fetched`);
  for (const type of ['haproxy', 'nginx']) {
    rmSync(join(folder, 'fetched'), { force: true });
    const { driver, outcomes } = stapling(type);
    for (const step of ['stage', 'apply', 'verify', 'rollback', 'remove'] as const)
      assert.ok((await driver[step](call, never)).ok, step);
    assert.ok((await driver.rollback(target.call(set), never)).ok);
    assert.deepEqual(outcomes, [
      { ok: true, value: undefined },
      { ok: true, value: undefined },
    ]);
    assert.equal(
      readFileSync(join(folder, 'fetched'), 'utf8'),
      [set, previous].map(({ name }) => `fetch web ${name} ${target.path}\n`).join(''),
    );
  }
});

test('a program that gets no OCSP answer fails no step, and is told of each time', async () => {
  let reachLimit = (): void => {};
  const clock: Clock = {
    ...systemClock,
    after: (delayMs, callback) => {
      if (delayMs === 10_000) reachLimit = callback;
      return delayMs === 10_000 ? () => {} : systemClock.after(delayMs, callback);
    },
  };
  const { driver, outcomes } = stapling('haproxy', clock);
  script('echo "try later" >&2', 'exit 1');
  assert.ok((await driver.apply(call, never)).ok);
  chmodSync(program, 0o757);
  assert.ok((await driver.apply(call, never)).ok);
  script(`touch ${folder}/hangs`, 'exec sleep 600');
  const hanging = driver.rollback(call, never);
  await until(() => existsSync(join(folder, 'hangs')));
  reachLimit();
  assert.ok((await hanging).ok);
  script('true');
  assert.ok((await driver.apply(call, never)).ok);
  const told = outcomes.map((outcome) => (outcome.ok ? 'done' : outcome.error));
  assert.deepEqual(
    told.map((each) => (each === 'done' ? each : each.code)),
    ['STAPLE_FAILED', 'STAPLE_FAILED', 'STAPLE_FAILED', 'done'],
  );
  const patterns = [/ended with 1: try later/, /others may write/, /not done within 10 s/];
  for (const [index, pattern] of patterns.entries())
    assert.match((told[index] as PkiError).message, pattern);
});

test('unknown types and wrong settings are refused before anything runs', () => {
  const choose = (type: string, settings: object): string =>
    errorOf(
      openDriver({ type, settings, timeoutSeconds: 1 }, { clock: systemClock, stapled: () => {} }),
    ).code;
  assert.equal(choose('shell', {}), 'CONFIG_INVALID');
  assert.equal(choose('exec', { program: 'driver' }), 'CONFIG_INVALID');
  assert.equal(choose('exec', { program, shell: true }), 'CONFIG_INVALID');
  assert.equal(choose('nginx', { staple: ['fetch'] }), 'CONFIG_INVALID');
  assert.equal(choose('redis', { staple: ['/bin/true'] }), 'CONFIG_INVALID');
});
