import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, suite, test } from 'node:test';
import { promisify } from 'node:util';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { freePort } from '../../../support/ports.ts';
import { createRoot } from '../../../support/test-pki.ts';
import {
  listenerAt,
  lookAt,
  probeRoot,
  serverPair,
  type ServerKey,
} from '../../../support/tls-servers.ts';
import { until } from '../../../support/until.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'meshca-probe-'));
after(() => rmSync(folder, { recursive: true }));

const otherRoot = createRoot('example.org', { subject: 'Ünother root, with a comma' });
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
const roots = file(
  'roots.pem',
  certificatesToPem([probeRoot.certificateDer, otherRoot.certificateDer]),
);

/** `openssl s_server`, while `use` runs. */
async function withOpenSsl(
  kind: ServerKey,
  options: readonly string[],
  use: (address: string) => Promise<void>,
): Promise<void> {
  const pair = serverPair(kind);
  const port = await freePort();
  const child = spawn('openssl', [
    's_server',
    ...['-accept', `127.0.0.1:${port}`, '-www', '-quiet'],
    ...['-cert', file('cert.pem', pair.cert), '-key', file('key.pem', pair.key)],
    ...options,
  ]);
  const ended = once(child, 'exit');
  try {
    const listener = listenerAt(`127.0.0.1:${port}`);
    await until(async () => child.exitCode !== null || (await lookAt(listener)).ok, 's_server');
    assert.equal(child.exitCode, null, 's_server goes on');
    await use(listener.address);
  } finally {
    child.kill();
    await ended;
  }
}

/** What `openssl s_client` sees there. */
async function judged(address: string): Promise<{ serial: string; caNames: readonly string[] }> {
  const client = run('openssl', [
    's_client',
    '-connect',
    address,
    '-nameopt',
    'utf8,sep_comma_plus',
  ]);
  client.child.stdin?.end();
  const { stdout } = await client.catch((thrown: { stdout: string }) => thrown);
  const pem = /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/.exec(stdout)?.[0];
  const names = /Acceptable client certificate CA names\n([^]*?)\n(?:Client|Requested|Peer|Shared)/;
  return {
    serial: new X509Certificate(pem ?? '').serialNumber.toLowerCase(),
    caNames: names.exec(stdout)?.[1]?.split('\n') ?? [],
  };
}

suite('OpenSSL sees the same at its own server', () => {
  const shapes: readonly (readonly [ServerKey, readonly string[]])[] = [
    ['ec-p256', ['-tls1_3']],
    ['ec-p256', ['-tls1_2']],
    ['rsa', ['-tls1_2', '-cipher', 'ECDHE-RSA-AES256-SHA384']],
    ['rsa', ['-tls1_2', '-cipher', 'DHE-RSA-AES128-GCM-SHA256']],
    ['rsa-pss', ['-tls1_3']],
    ['ed25519', []],
    ['ec-p384', ['-tls1_3', '-curves', 'P-384']],
    ['ec-p256', ['-tls1_3', '-curves', 'P-521', '-ciphersuites', 'TLS_CHACHA20_POLY1305_SHA256']],
    ['ec-p256', ['-tls1_3', '-stateless']],
    ['ec-p256', ['-tls1_3', '-record_padding', '512']],
    ['ec-p256', ['-tls1_2', '-max_send_frag', '512']],
  ];
  for (const [kind, options] of shapes)
    test(`a key of ${kind} ${options.join(' ')}`, async () => {
      await withOpenSsl(kind, options, async (address) => {
        const shown = unwrap(await lookAt(listenerAt(address)));
        assert.equal(shown.serial, (await judged(address)).serial);
        assert.equal(shown.caNamesDer, undefined);
      });
    });

  for (const version of ['-tls1_2', '-tls1_3'])
    for (const demand of ['-verify', '-Verify'])
      test(`a server that asks for certificates ${version} ${demand}`, async () => {
        const options = [version, demand, '1', '-CAfile', roots];
        await withOpenSsl('ec-p256', options, async (address) => {
          const shown = unwrap(await lookAt(listenerAt(address)));
          const { serial, caNames } = await judged(address);
          assert.equal(shown.serial, serial);
          assert.deepEqual(caNames.toSorted(), [
            'CN=root of example.org',
            'CN=Ünother root, with a comma',
          ]);
          assert.deepEqual(
            new Set(shown.caNamesDer),
            new Set([probeRoot.subjectDer, otherRoot.subjectDer]),
          );
        });
      });

  test('a server that asks for certificates of nobody in particular', async () => {
    await withOpenSsl('ec-p256', ['-verify', '1', '-no-CAfile'], async (address) => {
      assert.deepEqual(unwrap(await lookAt(listenerAt(address))).caNamesDer, []);
      assert.deepEqual((await judged(address)).caNames, []);
    });
  });
});
