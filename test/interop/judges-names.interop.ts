import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { uuidv7 } from '../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  pemEncode,
} from '../../src/common/x509/index.ts';
import { assembleSigned, buildCrlTbs } from '../../src/certs/index.ts';
import { startTestServer, type TestServer } from '../support/server.ts';
import { until } from '../support/until.ts';
import { signWith } from '../support/x509.ts';
import { authority, leaf } from './certs/support.ts';
import { foreignProgram, type Judge } from './foreign-programs.ts';
import { ask, type Case } from './judge.ts';
import { Publisher } from './publisher.ts';

const run = promisify(execFile);

interface Issued {
  readonly serial: string;
  readonly chainDer: readonly Buffer[];
  readonly rootsDer: readonly Buffer[];
}

describe('judges that check revocation, of certificates from a server', () => {
  const stack = new AsyncDisposableStack();
  let publisher: Publisher;
  let server: TestServer;
  let good: Issued;
  let revoked: Issued;
  let short: Issued;

  async function issue(profile: string): Promise<Issued> {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    return server.admin('Certificates/IssueCertificate', {
      dnsNames: ['www.shop.test'],
      csrDer: createCsr(privateKey),
      profile,
      requestId: uuidv7(),
    });
  }

  const caseOf = (issued: Issued, more: Partial<Case>): Case => ({
    name: 'a leaf',
    purpose: 'server',
    chain: issued.chainDer,
    root: issued.rootsDer[0] as Buffer,
    ...more,
  });

  /** The verdict, and what was asked for it. */
  async function judged(judge: Judge, issued: Issued, more: Partial<Case>) {
    publisher.asked.length = 0;
    const verdict = (await ask(judge, [caseOf(issued, more)])).get('a leaf');
    return { accepted: verdict?.accepted, why: verdict?.why ?? '', asked: [...publisher.asked] };
  }

  const file = async (name: string, ders: readonly Buffer[]): Promise<string> => {
    const path = join(server.dir, name);
    await writeFile(path, certificatesToPem(ders));
    return path;
  };

  /** `openssl verify` that downloads the CRL of the leaf: OK, or the number of its error. */
  async function openssl(issued: Issued) {
    publisher.asked.length = 0;
    const verdict = await run('openssl', [
      ...['verify', '-x509_strict', '-crl_check', '-crl_download', '-purpose', 'sslserver'],
      ...['-CAfile', await file('roots.pem', issued.rootsDer)],
      ...['-untrusted', await file('issuers.pem', issued.chainDer.slice(1))],
      await file('leaf.pem', issued.chainDer.slice(0, 1)),
    ]).then(
      () => 'OK',
      (error: { stderr: string }) => /error (\d+) /.exec(error.stderr)?.[1] ?? error.stderr,
    );
    return { verdict, asked: [...publisher.asked] };
  }

  /** `vfychain` that must learn the state of the leaf, where the leaf says how. */
  async function nss(issued: Issued, method: 'crl' | 'ocsp') {
    const database = join(server.dir, `nss-${method}-${issued.serial}`);
    await mkdir(database, { recursive: true });
    const [leafFile, issuers, roots] = [
      await file('leaf.pem', issued.chainDer.slice(0, 1)),
      await file('issuers.pem', issued.chainDer.slice(1, 2)),
      await file('roots.pem', issued.rootsDer),
    ];
    const [manage = ''] = foreignProgram('certutil');
    const [verify = ''] = foreignProgram('vfychain');
    const at = ['-d', `sql:${database}`];
    await run(manage, ['-N', ...at, '--empty-password']);
    await run(manage, ['-A', ...at, '-n', 'root', '-t', 'CT,C,C', '-a', '-i', roots]);
    publisher.asked.length = 0;
    const { stdout, stderr } = await run(verify, [
      ...['-pp', ...at, '-u', '1', '-g', 'leaf', '-m', method, '-s', 'failIfNoInfo'],
      ...['-a', leafFile, issuers],
    ]).catch((thrown: unknown) => thrown as { stdout: string; stderr: string });
    return { good: /Chain is good/.test(stdout + stderr), asked: [...publisher.asked] };
  }

  before(async () => {
    publisher = stack.use(await Publisher.start());
    server = stack.use(
      await startTestServer({
        config: {
          names: { enabled: true, ocsp: { baseUrl: `${publisher.base}/ocsp` } },
          issuance: { crlBaseUrl: `${publisher.base}/crl` },
        },
      }),
    );
    publisher.forwardsTo = server.server.httpPorts.plain as number;
    [good, revoked, short] = [await issue('classic'), await issue('classic'), await issue('short')];
    await server.admin('Certificates/RevokeCertificate', {
      serial: revoked.serial,
      reason: 'keyCompromise',
    });
    await until(async () => (await openssl(revoked)).verdict === '23', 'the CRL has it');
    for (const [issued, accepted] of [
      [good, true],
      [revoked, false],
    ] as const)
      await until(
        async () => (await judged('go', issued, { revocation: 'ocsp' })).accepted === accepted,
        'the responder answers',
      );
  });
  after(() => stack.disposeAsync());

  for (const judge of ['go', 'java'] as const)
    for (const revocation of ['crl', 'ocsp'] as const)
      test(`${judge} asks by ${revocation} where leaves say, and refuses the revoked one`, async () => {
        const asked = [
          revocation === 'crl' ? 'GET crl' : judge === 'java' ? 'GET ocsp' : 'POST ocsp',
        ];
        assert.deepEqual(await judged(judge, good, { revocation }), {
          ...{ accepted: true, why: '', asked },
        });
        const { why, ...refused } = await judged(judge, revoked, { revocation });
        assert.deepEqual(refused, { accepted: false, asked });
        assert.match(why, /revoked/);
      });

  test('OpenSSL downloads the CRL of the shard, and refuses the revoked leaf', async () => {
    assert.deepEqual(await openssl(good), { verdict: 'OK', asked: ['GET crl'] });
    assert.deepEqual(await openssl(revoked), { verdict: '23', asked: ['GET crl'] });
  });

  test('GnuTLS asks the responder, and reads good and revoked', async () => {
    for (const [issued, status] of [
      [good, 'good'],
      [revoked, 'revoked'],
    ] as const) {
      const issuer = await file('issuer.pem', issued.chainDer.slice(1, 2));
      const { stdout } = await run('ocsptool', [
        ...['--ask', '--load-cert', await file('leaf.pem', issued.chainDer.slice(0, 1))],
        ...['--load-issuer', issuer, '--load-trust', issuer],
      ]);
      assert.match(stdout, new RegExp(`Certificate Status: ${status}`));
      assert.match(stdout, /Verifying OCSP Response: Success/);
    }
  });

  test('NSS asks the responder, and refuses the revoked leaf', async () => {
    assert.deepEqual(await nss(good, 'ocsp'), { good: true, asked: ['GET ocsp'] });
    assert.deepEqual(await nss(revoked, 'ocsp'), { good: false, asked: ['GET ocsp'] });
  });

  test('NSS reads no CRL of a shard: told to demand CRLs, it refuses good leaves too', async () => {
    assert.deepEqual(await nss(good, 'crl'), { good: false, asked: ['GET crl'] });
    assert.deepEqual(await nss(revoked, 'crl'), { good: false, asked: ['GET crl'] });
  });

  test('nobody is asked about a leaf with noRevAvail', async () => {
    for (const revocation of ['crl', 'ocsp'] as const) {
      assert.deepEqual(await nss(short, revocation), { good: true, asked: [] });
      const go = await judged('go', short, { revocation });
      assert.deepEqual([go.accepted, go.asked], [true, []]);
    }
    const java = await judged('java', short, { revocation: 'crl', soft: true });
    assert.deepEqual([java.accepted, java.asked], [true, []]);
  });

  test('who demands revocation without knowing RFC 9608 refuses a leaf with noRevAvail', async () => {
    const { verdict, asked } = await openssl(short);
    assert.deepEqual(asked, []);
    // 3: no CRL. A later release may know the extension.
    assert.match(verdict, /^(3|OK)$/);
    for (const revocation of ['crl', 'ocsp'] as const) {
      const java = await judged('java', short, { revocation });
      assert.deepEqual([java.accepted, java.asked], [false, []], java.why);
    }
  });

  describe('where the CRL of another shard is at the place of theirs', () => {
    const now = Math.floor(Date.now() / 1000);
    const year = { notBefore: now - 8_000, notAfter: now + 365 * 86_400, names: true };
    const root = authority('root', 'ec-p256', undefined, year);
    const issuer = authority('intermediate', 'ec-p256', root, year);
    const path = (shard: number): string => `/crl/1/${shard}.crl`;

    function crl(shard: number, serials: readonly string[]): Buffer {
      const tbs = buildCrlTbs({
        issuer: issuer.parsed,
        number: 7n,
        thisUpdate: now - 60,
        nextUpdate: now + 86_400,
        revoked: serials.map((serialHex) => ({ serialHex, revokedAt: now - 90 })),
        distributionPoint: `${publisher.base}${path(shard)}`,
      });
      return assembleSigned(tbs, 'ec-p256', signWith(issuer.key, tbs));
    }

    const leafOf = (shard: number): Issued => {
      const times = { notBefore: now - 60, notAfter: now + 3_600 };
      const url = `${publisher.base}${path(shard)}`;
      const { parsed } = leaf('classic', 'ec-p256', issuer, { ...times, url });
      return {
        ...{ serial: parsed.serialHex, chainDer: [parsed.raw, issuer.parsed.raw] },
        rootsDer: [root.parsed.raw],
      };
    };

    test('Go, Java and OpenSSL refuse the leaf, and accept it with its own', async () => {
      const issued = leafOf(7);
      publisher.fixed.set(path(7), crl(7, []));
      for (const judge of ['go', 'java'] as const)
        assert.equal((await judged(judge, issued, { revocation: 'crl' })).accepted, true, judge);
      assert.equal((await openssl(issued)).verdict, 'OK');
      publisher.fixed.set(path(7), crl(8, []));
      for (const judge of ['go', 'java'] as const)
        assert.equal((await judged(judge, issued, { revocation: 'crl' })).accepted, false, judge);
      // 44: different CRL scope
      assert.equal((await openssl(issued)).verdict, '44');
    });

    test('GnuTLS refuses what a CRL lists, and does not compare shards', async () => {
      const issued = leafOf(7);
      const roots = await file('roots.pem', issued.rootsDer);
      const chain = await file('chain.pem', issued.chainDer);
      for (const [given, trusted] of [
        [crl(7, []), true],
        [crl(7, [issued.serial]), false],
        [crl(8, []), true],
      ] as const) {
        const list = join(server.dir, 'list.pem');
        await writeFile(list, pemEncode('X509 CRL', given));
        const { stdout } = await run('certtool', [
          ...['--verify', '--load-ca-certificate', roots, '--load-crl', list, '--infile', chain],
        ]).catch((thrown: unknown) => thrown as { stdout: string });
        assert.match(stdout, trusted ? /The certificate is trusted/ : /chain is revoked/);
      }
    });
  });
});
