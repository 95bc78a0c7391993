import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAccounts } from '../../../../sidecar/attest/unix/account-names.ts';
import {
  parseCgroup,
  parseStat,
  parseStatus,
  systemdUnit,
} from '../../../../sidecar/attest/proc-parse.ts';

test('the status gives all four IDs and the groups', () => {
  const text =
    'Name:\tx\nUmask:\t0022\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nFDSize:\t64\nGroups:\t9 10 \nNStgid:\t1\n';
  assert.deepEqual(parseStatus(text), { uids: [1, 2, 3, 4], gids: [5, 6, 7, 8], groups: [9, 10] });
  assert.deepEqual(parseStatus('Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\n')?.groups, []);
});

test('a process can not write lines of its own into its status by its name', () => {
  // the kernel escapes the newline as \n in two characters
  const text = 'Name:\ta\\nUid:\t0\t0\t0\t0\nUid:\t7\t7\t7\t7\nGid:\t7\t7\t7\t7\nGroups:\t\n';
  assert.deepEqual(parseStatus(text)?.uids, [7, 7, 7, 7]);
});

test('an incomplete or strange status is refused', () => {
  for (const text of [
    '',
    'Uid:\t1\t2\t3\nGid:\t5\t6\t7\t8\nGroups:\t\n',
    'Uid:\t1\t2\t3\tx\nGid:\t5\t6\t7\t8\nGroups:\t\n',
    'Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\n',
  ]) {
    assert.equal(parseStatus(text), undefined);
  }
});

const statOf = (name: string, change: Readonly<Record<number, string>> = {}): string => {
  const fields = Array.from({ length: 50 }, (_, index) => change[index + 3] ?? String(index + 3));
  return `12 (${name}) ${fields.join(' ')}\n`;
};

test('the start time and the image are found behind any command name', () => {
  for (const name of ['sh', 'a b', ') R 1 1', '((x))', 'x) S 0 0 0'])
    assert.equal(parseStat(statOf(name))?.startTime, '22');
  assert.equal(parseStat(statOf('a'))?.image, parseStat(statOf('b'))?.image);
  for (const field of [26, 27, 28, 45, 46, 47])
    assert.notEqual(
      parseStat(statOf('a'))?.image,
      parseStat(statOf('a', { [field]: '999' }))?.image,
    );
});

test('hidden addresses give no image, and broken text gives nothing', () => {
  assert.deepEqual(parseStat(statOf('a', { 28: '0' })), { startTime: '22', image: undefined });
  for (const text of ['', '1 (x', '1 (x) R 1 2', statOf('a', { 22: '-' })])
    assert.equal(parseStat(text), undefined);
});

test('the cgroup is of the unified hierarchy or of systemd, the limit key of any but the root', () => {
  assert.deepEqual(parseCgroup('0::/system.slice/a.service\n'), {
    path: '/system.slice/a.service',
    limitKey: '/system.slice/a.service',
  });
  assert.deepEqual(parseCgroup('12:pids:/p\n1:name=systemd:/system.slice/b.service\n0::/\n'), {
    path: '/system.slice/b.service',
    limitKey: '/system.slice/b.service',
  });
  assert.deepEqual(parseCgroup('8:cpu,cpuacct:/c\n4:memory:/m\n0::/\n'), {
    path: undefined,
    limitKey: '/m',
  });
  assert.deepEqual(parseCgroup('0::/\n'), { path: undefined, limitKey: '/' });
  assert.deepEqual(parseCgroup(''), { path: undefined, limitKey: '/' });
  assert.equal(parseCgroup('0::/a:b::c\n').path, '/a:b::c');
});

test('the systemd unit is the first element that is no slice; what a user names below it does not count', () => {
  assert.equal(systemdUnit('/system.slice/web.service'), 'web.service');
  assert.equal(
    systemdUnit('/system.slice/system-getty.slice/getty@tty1.service'),
    'getty@tty1.service',
  );
  assert.equal(
    systemdUnit('/user.slice/user-1000.slice/user@1000.service/app.slice/web.service'),
    'user@1000.service',
  );
  assert.equal(systemdUnit('/user.slice/user-1000.slice/session-2.scope'), 'session-2.scope');
  assert.equal(systemdUnit('/system.slice/web.service/system.slice/db.service'), 'web.service');
  assert.equal(systemdUnit('/system.slice/_cpu.service'), 'cpu.service');
  for (const path of [
    '/',
    '/docker/abc',
    '/system.slice',
    '/../web.service',
    '/a b.service',
    '/x/web.service',
  ])
    assert.equal(systemdUnit(path), undefined, path);
});

test('names that Debian and directories allow are account names', () => {
  const names = parseAccounts(
    [
      'svc+web:x:1:',
      'müller:x:2:',
      'DOM\\alice:x:3:',
      '-dash:x:4:',
      '~tilde:x:5:',
      'a,b:x:6:',
      'a/b:x:7:',
    ]
      .map((line) => `${line}1::/:/bin/sh`)
      .join('\n'),
  );
  assert.deepEqual(
    [...names],
    [
      [1, 'svc+web'],
      [2, 'müller'],
      [3, 'DOM\\alice'],
    ],
  );
});

test('account files give the first name of each ID and skip what is malformed', () => {
  const names = parseAccounts(
    'root:x:0:0::/:/bin/sh\ntoor:x:0:0::/:/bin/sh\n# comment\n+@nis::::::\nbad ' +
      'name:x:5:5\nx:y:notanumber:1\nweb:x:33:33:www:/:/x\nshort:x\n',
  );
  assert.deepEqual(
    [...names],
    [
      [0, 'root'],
      [33, 'web'],
    ],
  );
});
