import assert from 'node:assert/strict';
import test from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { readSpiffeHelper } from '../../../../sidecar/files/spiffe-helper.ts';

const socketPath = '/run/meshca/agent/workload.sock';
const needed = [
  'cert_dir = "/etc/web/tls/"',
  'svid_file_name = "svid.pem"',
  'svid_key_file_name = "svid_key.pem"',
  'svid_bundle_file_name = "svid_bundle.pem"',
];
const read = (lines: readonly string[], signalledProgram: string | undefined = '/usr/sbin/nginx') =>
  readSpiffeHelper(lines.join('\n'), 'helper.conf', { socketPath, signalledProgram });
const problemOf = (...lines: readonly string[]): string => {
  const result = read([...needed, ...lines]);
  return result.ok ? '' : `${result.error.code} ${result.error.message}`;
};

test('directory, names and modes are those of the file', () => {
  assert.deepEqual(unwrap(read(needed)), {
    directory: '/etc/web/tls',
    files: { fullchain: 'svid.pem', key: 'svid_key.pem', ca: 'svid_bundle.pem' },
    mode: 0o644,
    keyMode: 0o600,
    driver: { type: 'none', settings: {} },
  });
  const { mode, keyMode } = unwrap(
    read([
      ...needed,
      ...['cert_file_mode = 0444', 'key_file_mode = 0440', 'daemon_mode = true'],
      ...[`agent_address = "unix://${socketPath}"`, 'include_federated_domains = false'],
      'health_checks { listener_enabled = false }',
    ]),
  );
  assert.deepEqual([mode, keyMode], [0o444, 0o440]);
});

test('a command runs with the arguments as spiffe-helper splits them', () => {
  const argvOf = (args: string): unknown =>
    unwrap(
      read([
        ...needed,
        'cmd = "/bin/sh"',
        `cmd_args = ${JSON.stringify(args)}`,
        'renew_signal = ""',
      ]),
    ).driver;
  const command = (...reload: readonly string[]) => ({ type: 'command', settings: { reload } });
  assert.deepEqual(argvOf(''), command('/bin/sh'));
  assert.deepEqual(argvOf('-c "echo ""a b"""'), command('/bin/sh', '-c', 'echo "a b"'));
  assert.deepEqual(
    argvOf("-c 'echo hello'"),
    command('/bin/sh', '-c', "'echo", "hello'"),
    'single quotes are none',
  );
  assert.deepEqual(argvOf('a  b '), command('/bin/sh', 'a', '', 'b', ''));
});

test('a pid file gets its signal, if the program of its process is named', () => {
  const lines = [...needed, 'pid_file_name = "/run/nginx.pid"', 'renew_signal = "SIGHUP"'];
  assert.deepEqual(unwrap(read(lines)).driver, {
    type: 'signal',
    settings: { pidFile: '/run/nginx.pid', executable: '/usr/sbin/nginx', signal: 'SIGHUP' },
  });
  const unnamed = readSpiffeHelper(lines.join('\n'), 'helper.conf', {
    socketPath,
    signalledProgram: undefined,
  });
  assert.ok(!unnamed.ok && /pid_file_name: needs signalledProgram/.test(unnamed.error.message));
});

test('each key that a target does not carry out is refused with its name', () => {
  for (const [line, reason] of [
    ['jwt_svids = [{jwt_audience="a", jwt_svid_file_name="b"}]', /jwt_svids: is not carried out/],
    ['jwt_bundle_file_name = "bundle.json"', /jwt_bundle_file_name: is not carried out/],
    ['jwt_bundle_file_mode = 0600', /jwt_bundle_file_mode: is not carried out/],
    ['jwt_svid_file_mode = 0600', /jwt_svid_file_mode: is not carried out/],
    ['hint = "web"', /hint: is not carried out: .*spiffeId/],
    ['add_intermediates_to_bundle = true', /add_intermediates_to_bundle: .*only as false/],
    ['include_federated_domains = true', /include_federated_domains: .*only as false/],
    ['omit_expired = true', /omit_expired: .*only as false/],
    ['daemon_mode = false', /daemon_mode: .*only as true/],
    ['health_checks { listener_enabled = true }', /health_checks: .*listener_enabled/],
    ['agent_address = "/tmp/agent.sock"', /agent_address: is not the socket of this agent/],
    ['cert_file_mode = 444', /cert_file_mode: .*leading zero/],
    ['key_file_mode = "0600"', /key_file_mode: .*leading zero/],
    ['cmd = "ghostunnel"', /cmd: must be an absolute path/],
    ['cmd_args = "x"', /cmd_args: stands without cmd/],
    ['cmd = "/bin/x"\nrenew_signal = "SIGHUP"', /renew_signal: is not carried out/],
    ['cmd = "/bin/x"\npid_file_name = "/run/x"', /pid_file_name: is not carried out beside cmd/],
    ['cmd = "/bin/x"\ncmd_args = "a \\"b"', /cmd_args: has a quote that stands alone/],
    ['renew_signal = "SIGHUP"', /renew_signal: stands without pid_file_name/],
    ['pid_file_name = "/run/x"', /renew_signal: is missing/],
    ['svid_fle_name = "x"', /svid_fle_name: spiffe-helper has no such key/],
    ['cmd = true', /cmd: must be text/],
    ['x', /helper.conf: the text ends too early/],
  ] as const)
    assert.match(problemOf(line), new RegExp(`^CONFIG_INVALID .*${reason.source}`), line);
});

test('each of the three files and the directory must be named', () => {
  for (const [index, line] of needed.entries()) {
    const result = read(needed.toSpliced(index, 1));
    const key = line.split(' ')[0] as string;
    assert.ok(!result.ok && result.error.message.includes(`${key}: is missing`), key);
  }
});
