import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer, type TlsOptions } from 'node:tls';
import { describe, it } from 'node:test';
import type { Evidence, Judged } from '../../../../src/common/validation/outcome.ts';
import { Dialer } from '../../../../src/common/validation/dialer.ts';
import { serverName, validateTlsAlpn01 } from '../../../../src/common/validation/tls-alpn-01.ts';

const keyAuthorization = 'token.thumbprint';
const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const markOf = (text: string, critical = 'critical,'): string =>
  `1.3.6.1.5.5.7.1.31=${critical}DER:0420${digestOf(text)}`;

const dialer = new Dialer({
  addressesOf: () => Promise.resolve({ ok: true, value: ['127.0.0.1'] }),
  policy: { refusal: () => undefined },
  connectTimeoutMs: 5000,
});

/** A certificate as OpenSSL makes it: what real clients present. */
function certificate(extensions: readonly string[]): { key: Buffer; cert: Buffer } {
  const directory = mkdtempSync(join(tmpdir(), 'meshca-alpn-'));
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  try {
    execFileSync(
      'openssl',
      [
        'req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=x'.split(
          ' ',
        ),
        ['-keyout', key, '-out', cert],
        extensions.flatMap((extension) => ['-addext', extension]),
      ].flat(),
      { stdio: 'ignore' },
    );
    return { key: readFileSync(key), cert: readFileSync(cert) };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

async function judged(
  options: TlsOptions,
  host = 'app.test',
): Promise<{ readonly outcome: Judged<Evidence>; readonly sni: string | undefined }> {
  let sni: string | undefined;
  const server = createServer({
    ...options,
    SNICallback: (name, done) => {
      sni = name;
      done(null);
    },
  });
  server.on('tlsClientError', () => {});
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const outcome = await validateTlsAlpn01(
    { host, keyAuthorization },
    { dialer, port },
    AbortSignal.timeout(20_000),
  );
  server.close();
  return { outcome, sni };
}
const typeOf = (outcome: Judged<Evidence>): string => (outcome.ok ? 'valid' : outcome.failure.type);
const ALPNProtocols = ['acme-tls/1'];
const san = 'subjectAltName=DNS:app.test';

describe('tls-alpn-01', () => {
  it('is valid with the name and the digest', async () => {
    const { outcome, sni } = await judged({
      ...certificate([san, markOf(keyAuthorization)]),
      ALPNProtocols,
    });
    assert.equal(typeOf(outcome), 'valid', JSON.stringify(outcome));
    assert.equal(sni, 'app.test');
  });

  it('validates an address by its name in the reverse zone', async () => {
    const { outcome, sni } = await judged(
      { ...certificate(['subjectAltName=IP:127.0.0.1', markOf(keyAuthorization)]), ALPNProtocols },
      '127.0.0.1',
    );
    assert.equal(typeOf(outcome), 'valid', JSON.stringify(outcome));
    assert.equal(sni, '1.0.0.127.in-addr.arpa');
    assert.equal(
      serverName('2001:db8::1'),
      '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa',
    );
  });

  const wrong: readonly [string, readonly string[]][] = [
    ['another digest', [san, markOf('token.other')]],
    ['no digest', [san]],
    ['a digest that is not critical', [san, markOf(keyAuthorization, '')]],
    ['another name', ['subjectAltName=DNS:other.test', markOf(keyAuthorization)]],
    ['a second name', [`${san},DNS:other.test`, markOf(keyAuthorization)]],
    ['the name of an e-mail', ['subjectAltName=email:app.test', markOf(keyAuthorization)]],
    ['no name', [markOf(keyAuthorization)]],
    [
      'bytes behind the digest',
      [san, `1.3.6.1.5.5.7.1.31=critical,DER:0420${digestOf(keyAuthorization)}00`],
    ],
  ];
  for (const [name, extensions] of wrong)
    it(`is invalid with ${name}`, async () => {
      const { outcome } = await judged({ ...certificate(extensions), ALPNProtocols });
      assert.equal(typeOf(outcome), 'unauthorized', JSON.stringify(outcome));
    });

  it('is invalid where the server takes no part in the protocol', async () => {
    const pair = certificate([san, markOf(keyAuthorization)]);
    assert.equal(typeOf((await judged(pair)).outcome), 'unauthorized');
    assert.equal(typeOf((await judged({ ...pair, ALPNProtocols: ['h2'] })).outcome), 'tls');
  });

  it('is invalid with an old version of TLS', async () => {
    const { outcome } = await judged({
      ...certificate([san, markOf(keyAuthorization)]),
      ALPNProtocols,
      minVersion: 'TLSv1',
      maxVersion: 'TLSv1.1',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    assert.equal(typeOf(outcome), 'tls');
  });
});
