import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { effectiveUser } from '../../../../src/common/unix/effective-user.ts';
import { loadAgentConfig, privateDirectoriesOf } from '../../../../sidecar/config.ts';
import { fileTargetsOf, type FileTarget } from '../../../../sidecar/files/index.ts';

type Target = Readonly<Record<string, unknown>>;
const web: Target = {
  name: 'web',
  directory: '/etc/web/tls',
  driver: { type: 'none' },
};

const load = (targets: readonly Target[]) =>
  loadAgentConfig({
    env: {
      MESHCA_AGENT_TRUST_DOMAIN: 'td.test',
      MESHCA_AGENT_SERVER_ADDRESS: 'ca:8443',
      MESHCA_AGENT_TARGETS: JSON.stringify(targets),
    },
  });

async function directoryOf(context: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'meshca-target-config-'));
  context.after(() => rm(directory, { recursive: true, force: true }));
  await writeFile(
    join(directory, 'passwd'),
    'root:x:0:0:root:/root:/bin/sh\nnginx:x:101:102::/:/bin/false\n',
  );
  await writeFile(join(directory, 'group'), 'root:x:0:\nwww:x:103:\n');
  return directory;
}

/** The targets of a configuration, or what is wrong with it. */
async function targetsOf(
  context: TestContext,
  targets: readonly Target[],
): Promise<readonly FileTarget[] | string> {
  const config = await load(targets);
  if (!config.ok) return `${config.error.code} ${config.error.message}`;
  const { workloadApi } = config.value;
  const directory = await directoryOf(context);
  const resolved = await fileTargetsOf(config.value.targets, {
    accounts: { passwd: join(directory, 'passwd'), group: join(directory, 'group') },
    user: effectiveUser(),
    privateDirectories: privateDirectoriesOf(config.value),
    socketPath: workloadApi.socketPath,
  });
  return resolved.ok ? resolved.value : `${resolved.error.code} ${resolved.error.message}`;
}

async function targetOf(context: TestContext, over: Target): Promise<FileTarget> {
  const targets = await targetsOf(context, [{ ...web, ...over }]);
  assert.ok(typeof targets !== 'string', String(targets));
  return targets[0] as FileTarget;
}

test('what is not configured is safe', async (context) => {
  assert.deepEqual(await targetOf(context, {}), {
    name: 'web',
    directory: '/etc/web/tls',
    spiffeId: undefined,
    keyType: 'ec-p256',
    layout: {
      links: false,
      ...{ cert: 'cert.pem', chain: 'chain.pem', fullchain: 'fullchain.pem', key: 'key.pem' },
      ...{ combined: 'combined.pem', ca: 'ca.pem', crl: undefined },
      ...{ federated: {}, pkcs12: undefined, jks: undefined },
    },
    permissions: {
      ...{ uid: undefined, gid: undefined },
      ...{ mode: 0o644, keyMode: 0o600, directoryMode: 0o750 },
    },
    driver: { type: 'none', settings: {}, timeoutSeconds: 30 },
    listeners: [],
    proof: { handshakes: 3, timeoutSeconds: 30 },
    rollout: undefined,
    promote: 'automatic',
    graceSeconds: 86_400,
  });
});

test('a server whose driver is its own shows a set at once, or the set goes back within 5 s', async (context) => {
  const limitOf = async (over: Target): Promise<number> =>
    (await targetOf(context, over)).proof.timeoutSeconds;
  const redis = { type: 'redis', address: '127.0.0.1:6379' };
  assert.equal(await limitOf({ driver: redis }), 4);
  assert.equal(await limitOf({ driver: redis, proof: { timeoutSeconds: 20 } }), 20);
  const command = { type: 'command', reload: ['/bin/true'] };
  assert.equal(await limitOf({ driver: command }), 30);
});

test('owners are found by name or number, and a group that is named may read the key', async (context) => {
  const idsOf = async (over: Target): Promise<readonly (number | undefined)[]> => {
    const { uid, gid, keyMode } = (await targetOf(context, over)).permissions;
    return [uid, gid, keyMode];
  };
  assert.deepEqual(await idsOf({ owner: 'nginx' }), [101, 102, 0o600]);
  assert.deepEqual(await idsOf({ owner: 101 }), [101, 102, 0o600]);
  assert.deepEqual(await idsOf({ owner: 'nginx', group: 'www' }), [101, 103, 0o640]);
  assert.deepEqual(await idsOf({ group: 'www' }), [undefined, 103, 0o640]);
  assert.deepEqual(await idsOf({ owner: 5, group: 6, keyMode: '0400' }), [5, 6, 0o400]);
  for (const [over, reason] of [
    [{ owner: 'nobody-here' }, /target web: owner nobody-here is not in /],
    [{ group: 'nobody-here' }, /group nobody-here is not in /],
    [{ owner: 5 }, /user 5 is not in .*: give its group too/],
  ] as const)
    assert.match(String(await targetsOf(context, [{ ...web, ...over }])), reason);
});

test('layouts have the names that programs expect, and each file can get another', async (context) => {
  const namesOf = async (over: Target): Promise<Target> =>
    Object.fromEntries(
      Object.entries((await targetOf(context, over)).layout).filter(
        ([kind, name]) => name !== undefined && kind !== 'federated',
      ),
    );
  assert.deepEqual(await namesOf({ layout: 'grpc' }), {
    links: false,
    ...{ fullchain: 'certificates.pem', key: 'private_key.pem', ca: 'ca_certificates.pem' },
  });
  assert.deepEqual(await namesOf({ layout: 'istio' }), {
    links: true,
    ...{ fullchain: 'cert-chain.pem', key: 'key.pem', ca: 'root-cert.pem' },
  });
  assert.deepEqual(
    await namesOf({ layout: 'kubernetes', links: true, files: { ca: false, cert: 'leaf.crt' } }),
    { links: true, cert: 'leaf.crt', fullchain: 'tls.crt', key: 'tls.key' },
  );
});

test('each foreign trust domain has a file of its own, also beside a configuration of spiffe-helper', async (context) => {
  const federatedFiles = { 'partner.test': 'partner.pem', 'other.test': 'other.pem' };
  assert.deepEqual((await targetOf(context, { federatedFiles })).layout.federated, federatedFiles);
  for (const [files, reason] of [
    [{ 'td.test': 'td.pem' }, /federatedFiles of web names the own trust domain/],
    [{ 'spiffe://partner.test': 'p.pem' }, /federatedFiles/],
    [{ 'Partner.test': 'p.pem' }, /federatedFiles/],
    [{ 'partner.test': '../p.pem' }, /write it as a plain name of a file/],
    [{ 'partner.test': 'current' }, /the agent itself uses this name/],
    [{ 'partner.test': 'ca.pem' }, /two files have the same name/],
  ] as const)
    assert.match(String(await targetsOf(context, [{ ...web, federatedFiles: files }])), reason);
});

test('what can not work, or would be unsafe, is refused with its key', async (context) => {
  const store = { name: 'a.p12', passwordFile: '/etc/p' };
  for (const [over, reason] of [
    [{ name: 'Web' }, /targets.0.name: write it in small letters/],
    [{ directory: 'tls' }, /targets.0.directory: write it as an absolute path/],
    [{ directory: '/etc/web/../x' }, /targets.0.directory: write it as an absolute path/],
    [{ directory: '/etc/web/' }, /targets.0.directory: write it as an absolute path/],
    [{ directory: undefined }, /directory is missing/],
    [{ directory: '/var/lib/meshca/agent/x' }, /web overlaps with .*where the agent keeps keys/],
    [{ directory: '/run/meshca/agent/keys' }, /web overlaps with .*where the agent keeps keys/],
    [{ directory: '/var/lib' }, /target web overlaps with .*where the agent keeps keys/],
    [{ driver: undefined }, /driver is missing; write \{ type: none \}/],
    [{ driver: { type: 'ngnix' } }, /targets.0.driver.type: there is no driver ngnix; known: /],
    [{ driver: { type: 'exec' } }, /targets.0.driver.\w+: /],
    [
      { driver: { type: 'exec', program: '/x', timeoutSeconds: 0 } },
      /targets.0.driver.timeoutSeconds/,
    ],
    [
      { driver: { type: 'exec', program: '/x', pid: 1 } },
      /targets.0.driver: Unrecognized key: "pid"/,
    ],
    [{ keyMode: '0644' }, /targets.0.keyMode: everybody could read the key/],
    [{ mode: '0664' }, /targets.0.mode: others than the owner may write/],
    [{ keyMode: 600 }, /targets.0.keyMode: write it as three octal digits in quotes/],
    [{ directoryMode: '0550' }, /targets.0.directoryMode: the agent needs/],
    [{ directoryMode: '0700', group: 0 }, /directoryMode keeps owner and group out/],
    [{ files: { key: '../key' } }, /targets.0.files.key: /],
    [{ files: { key: 'current' } }, /targets.0.files.key: /],
    [{ files: { kay: 'x' } }, /targets.0.files/],
    [{ files: { key: 'cert.pem' } }, /two files have the same name/],
    [{ files: { key: false, combined: false } }, /no file has the key/],
    [{ files: { chain: false, fullchain: false, combined: false } }, /no file has the chain/],
    [{ pkcs12: { ...store, name: 'cert.pem' } }, /two files have the same name/],
    [{ pkcs12: { name: 'a.p12' } }, /targets.0.pkcs12.passwordFile is missing/],
    [{ jks: { ...store, alias: 'Ä' } }, /targets.0.jks.alias: /],
    [{ spiffeId: 'web' }, /targets.0.spiffeId: /],
    [{ spiffeId: 'spiffe://b.test/web' }, /not in the trust domain td.test/],
    [{ listeners: [{ address: '443' }] }, /targets.0.listeners.0.address: write it as host:port/],
    [{ rollout: { group: 'web', canaryShare: 2 } }, /targets.0.rollout.canaryShare: /],
    [{ layuot: 'grpc' }, /unknown key targets.0.layuot; did you mean targets.0.layout\?/],
    [{ signalledProgram: '/x' }, /signalledProgram stands without spiffeHelperConfig/],
    [{ spiffeHelperConfig: '/x' }, /directory stands beside spiffeHelperConfig/],
  ] as const) {
    const said = String(await targetsOf(context, [{ ...web, ...over }]));
    assert.match(said, new RegExp(`^CONFIG_INVALID .*${reason.source}`), JSON.stringify(over));
  }
});

test('names and directories of two targets must not meet', async (context) => {
  const problemOf = async (other: Target): Promise<string> =>
    String(await targetsOf(context, [web, { ...web, name: 'other', ...other }]));
  assert.match(await problemOf({ name: 'web', directory: '/x' }), /two targets have the name web/);
  for (const directory of ['/etc/web/tls', '/etc/web', '/etc/web/tls/more'])
    assert.match(await problemOf({ directory }), /targets web and other overlap/, directory);
  assert.match(await problemOf({ directory: '/etc/web/tls2' }), /^\[object Object\]/);
});

test('two paths to one directory are seen', async (context) => {
  const directory = await directoryOf(context);
  await mkdir(join(directory, 'real'));
  await symlink('real', join(directory, 'other'));
  const said = await targetsOf(context, [
    { ...web, directory: join(directory, 'real') },
    { ...web, name: 'other', directory: join(directory, 'other') },
  ]);
  assert.match(String(said), /targets web and other overlap/);
});

test('a configuration of spiffe-helper that others may write is not believed', async (context) => {
  const directory = await directoryOf(context);
  const path = join(directory, 'helper.conf');
  await writeFile(path, 'cmd = "/bin/x"');
  await chmod(path, 0o666);
  const helped: Target = { name: 'web', spiffeHelperConfig: path };
  const problemOf = async (): Promise<string> => String(await targetsOf(context, [helped]));
  assert.match(await problemOf(), /helper.conf is not believed: others may write .*0666/);
  await chmod(path, 0o644);
  await chmod(directory, 0o777);
  assert.match(await problemOf(), /helper.conf is not believed: others may write into .*0777/);
  await chmod(directory, 0o755);
  assert.match(await problemOf(), /cert_dir: is missing/);
});

test('the configuration of spiffe-helper makes a target with its fixed paths', async (context) => {
  const directory = await directoryOf(context);
  const path = join(directory, 'helper.conf');
  const write = (...lines: readonly string[]): Promise<void> =>
    writeFile(
      path,
      [
        'cert_dir = "/srv/mosquitto/certs"',
        'svid_file_name = "svid.pem"',
        'svid_key_file_name = "svid_key.pem"',
        'svid_bundle_file_name = "svid_bundle.pem"',
        ...lines,
      ].join('\n'),
    );
  const helped: Target = { name: 'mosquitto', spiffeHelperConfig: path, group: 'www' };
  await write('cmd = "/bin/systemctl"', 'cmd_args = "reload mosquitto"', 'key_file_mode = 0440');
  const targets = await targetsOf(context, [helped]);
  assert.ok(typeof targets !== 'string', String(targets));
  const [target] = targets as readonly [FileTarget];
  assert.equal(target.directory, '/srv/mosquitto/certs');
  assert.equal(target.layout.links, true);
  assert.deepEqual(target.permissions, {
    ...{ uid: undefined, gid: 103, mode: 0o644, keyMode: 0o440, directoryMode: 0o750 },
  });
  assert.deepEqual(target.driver, {
    type: 'command',
    settings: { reload: ['/bin/systemctl', 'reload', 'mosquitto'] },
    timeoutSeconds: 30,
  });

  const problemOf = async (...lines: readonly string[]): Promise<string> => {
    await write(...lines);
    return String(await targetsOf(context, [helped]));
  };
  assert.match(await problemOf('key_file_mode = 0444'), /everybody could read the key/);
  assert.match(
    await problemOf('pid_file_name = "/run/x.pid"', 'renew_signal = "SIGHUP"'),
    /target mosquitto: .*pid_file_name: needs signalledProgram/,
  );
  assert.match(await problemOf('hint = "x"'), /target mosquitto: .*hint: is not carried out/);
  assert.match(
    await problemOf('cmd = "/bin/x"', `cmd_args = "${'a '.repeat(70)}"`),
    /the command driver refuses reload/,
  );
  const signalled = { ...helped, signalledProgram: '/usr/sbin/mosquitto' };
  await write('pid_file_name = "/run/x.pid"', 'renew_signal = "SIGTERM"');
  assert.match(
    String(await targetsOf(context, [signalled])),
    /the signal driver refuses signal: .*SIGHUP/,
  );
  await rm(path);
  assert.match(String(await targetsOf(context, [helped])), /can not be read \(ENOENT\)/);
  unwrap(await load([helped]));
});
