import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { connect } from 'node:tls';
import { certificatesToPem, pemEncode, pkcs8Of } from '../../../src/common/x509/index.ts';
import { changePin } from '../../support/change-pin.ts';
import { productEntry } from '../../support/product.ts';
import { createTokens } from '../../support/softhsm.ts';
import { createRoot, createSvid, type TestSvid } from '../../support/test-pki.ts';
import { until } from '../../support/until.ts';

type LogLine = Readonly<Record<string, unknown>>;

interface Product {
  readonly child: ChildProcess;
  readonly lines: readonly LogLine[];
  /** Sends SIGHUP, and resolves to what was logged since, up to the line that ends a reload. */
  reload(): Promise<readonly LogLine[]>;
  stop(): Promise<void>;
}

/** A server or agent in a process of its own, as a unit of systemd starts it. */
async function start(kind: 'server' | 'agent', configPath: string): Promise<Product> {
  const child = spawn(process.execPath, [productEntry, kind, 'run', '--config', configPath]);
  const lines: LogLine[] = [];
  let [text, complaints] = ['', ''];
  child.stdout.on('data', (bytes: Buffer) => {
    text += bytes.toString();
    const whole = text.split('\n');
    text = whole.pop() ?? '';
    lines.push(...whole.map((line) => JSON.parse(line) as LogLine));
  });
  child.stderr.on('data', (bytes: Buffer) => void (complaints += bytes.toString()));
  const exit = once(child, 'exit');
  const said = (from: number, pattern: RegExp): boolean =>
    lines.slice(from).some(({ msg }) => pattern.test(String(msg)));
  await until(
    () => child.exitCode !== null || said(0, /is running$/),
    `the ${kind} runs: ${complaints}`,
  );
  assert.equal(child.exitCode, null, complaints);
  return {
    child,
    lines,
    async reload() {
      const from = lines.length;
      child.kill('SIGHUP');
      await until(() => said(from, /^the configuration was/), 'the reload is over');
      return lines.slice(from);
    },
    async stop() {
      child.kill('SIGTERM');
      await exit;
    },
  };
}

const withCode = (lines: readonly LogLine[]): readonly unknown[] =>
  lines.flatMap(({ code }) => (code === undefined ? [] : [code]));

async function folder(context: TestContext): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-reload-'));
  context.after(() => rm(dir, { recursive: true, force: true }));
  return dir;
}

/** The serial number that a TLS port shows. */
async function serialAt(port: number): Promise<string> {
  const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber;
}

test('a server reads log level, certificates of ports and PINs again at SIGHUP', async (context) => {
  const dir = await folder(context);
  await using tokens = await createTokens();
  const { issuing, root } = tokens.tokens;
  const configPath = join(dir, 'server.json');
  const [certFile, keyFile] = [join(dir, 'ops.pem'), join(dir, 'ops.key')];
  const write = (config: object = {}): Promise<void> =>
    writeFile(
      configPath,
      JSON.stringify({
        trustDomain: 'mesh.test',
        dataDir: join(dir, 'data'),
        listen: { port: 0 },
        ops: { port: 0, tlsCertFile: certFile, tlsKeyFile: keyFile },
        http: { plain: { port: 0 } },
        hsm: {
          module: tokens.modulePath,
          softhsmConf: tokens.confPath,
          signers: 1,
          deadlineMs: 30_000,
          issuing: { label: issuing.label, pinFile: issuing.pinFile },
          root: { label: root.label, pinFile: root.pinFile },
        },
        log: { format: 'json' },
        ...config,
      }),
    );
  const authority = createRoot('mesh.test');
  const newPair = (): TestSvid => createSvid(authority, 'spiffe://mesh.test/operations');
  const install = async ({ chainDer, privateKey }: TestSvid): Promise<void> => {
    await writeFile(certFile, certificatesToPem(chainDer));
    await writeFile(keyFile, pemEncode('PRIVATE KEY', pkcs8Of(privateKey)));
  };
  await write();
  await install(newPair());
  const server = await start('server', configPath);
  context.after(() => server.stop());
  const opsPort = Number(server.lines.find(({ opsPort: port }) => port !== undefined)?.['opsPort']);
  const before = await serialAt(opsPort);

  // a fault in any part changes nothing
  await install(newPair());
  await write({ log: { format: 'json', level: 'loud' } });
  assert.deepEqual(withCode(await server.reload()), ['CONFIG_INVALID']);
  await write({ log: { format: 'json', level: 'debug' } });
  await writeFile(keyFile, 'no key');
  assert.deepEqual(withCode(await server.reload()), ['CONFIG_INVALID']);
  await install(newPair());
  await writeFile(issuing.pinFile, '');
  assert.deepEqual(withCode(await server.reload()), ['HSM_PIN_MISSING']);
  assert.equal(await serialAt(opsPort), before);
  assert.ok(server.lines.every(({ level }) => level !== 'debug'));

  // a PIN that the token refuses is tried once; everything else is taken over
  await writeFile(issuing.pinFile, 'wrong-pin');
  const refused = await server.reload();
  assert.deepEqual(withCode(refused), ['HSM_PIN_WRONG']);
  assert.ok(refused.every(({ error }) => !/refused before/.test(String(error))));
  assert.notEqual(await serialAt(opsPort), before);
  const again = await server.reload();
  assert.deepEqual(withCode(again), ['HSM_PIN_WRONG']);
  assert.ok(again.some(({ error }) => /refused before/.test(String(error))));

  changePin(tokens, issuing.label, issuing.pin, 'new-pin');
  await writeFile(issuing.pinFile, 'new-pin');
  await write({ log: { format: 'json', level: 'info' }, retention: { certificatesDays: 91 } });
  const taken = await server.reload();
  assert.deepEqual(withCode(taken), []);
  assert.ok(taken.some(({ msg }) => msg === 'the token took the new PIN'));
  await until(
    () => server.lines.some(({ keys }) => String(keys) === 'retention.certificatesDays'),
    'the key that needs a restart is named',
  );
});

test('an agent reads its log level again at SIGHUP', async (context) => {
  const dir = await folder(context);
  const configPath = join(dir, 'agent.json');
  const write = (log: object): Promise<void> =>
    writeFile(
      configPath,
      JSON.stringify({
        trustDomain: 'mesh.test',
        // nobody listens there
        serverAddress: '127.0.0.1:1',
        dataDir: join(dir, 'data'),
        bootstrap: { rootFingerprint: 'ab'.repeat(32) },
        attestation: { joinToken: { token: 'token' } },
        workloadApi: { socketPath: join(dir, 'w.sock') },
        localApi: { socketPath: join(dir, 'l.sock') },
        ops: { port: 0 },
        log,
      }),
    );
  await write({ format: 'json' });
  const agent = await start('agent', configPath);
  context.after(() => agent.stop());
  await write({ format: 'json', level: 'loud' });
  assert.ok(withCode(await agent.reload()).includes('CONFIG_INVALID'));
  await write({ format: 'json', level: 'debug' });
  const reloaded = await agent.reload();
  assert.ok(reloaded.some(({ logLevel }) => logLevel === 'debug'));
  assert.equal(agent.child.exitCode, null);
});
