import assert from 'node:assert/strict';
import { execFile, execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { verifyTranscript, type CeremonyOutcome } from '../../../src/ceremony/index.ts';
import { checkTranscript } from '../../../src/ceremony/verify.ts';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  pemDecode,
  pemEncode,
  sha256Hex,
} from '../../../src/common/x509/index.ts';
import {
  createCeremonyDesk,
  shiftedClock,
  type CeremonyDesk,
  type HoldOptions,
} from '../../support/ceremony.ts';
import { codeOf, startTestServer, type TestServer } from '../../support/server.ts';
import type { TestTokens } from '../../support/softhsm.ts';
import { until } from '../../support/until.ts';
import { productEntry } from '../../support/product.ts';

const run = promisify(execFile);
const trustDomain = 'mesh.test';

describe('an offline ceremony, from the plan to the imported intermediate, with two separate tokens', () => {
  let desk: CeremonyDesk;
  let offline: TestTokens;
  let server: TestServer;
  let csrSha256: string;
  let id: string;
  let rootTranscript: string;
  before(async () => {
    desk = await createCeremonyDesk(trustDomain);
    offline = desk.tokens;
    server = await startTestServer({ config: { authorities: { source: 'external' } } });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await desk?.[Symbol.asyncDispose]();
  });

  const file = (name: string): string => desk.file(name);
  const planFile = (sections: object, over?: object): string => desk.plan(sections, over);
  const hold = (planPath: string, over?: HoldOptions): Promise<CeremonyOutcome> =>
    desk.hold(planPath, over);
  const intermediate = (over: object = {}): object => ({
    intermediate: { issuer: 'root.pem', csr: 'ours.csr', csrSha256, out: 'issuing.pem', ...over },
  });
  const openssl = (...args: string[]): string =>
    execFileSync('openssl', args, {
      cwd: desk.dir,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    });

  test('a plan with an unknown key, without a ceremony or with two is refused', async () => {
    const root = { lifeDays: 3650, out: 'root.pem' };
    await assert.rejects(
      hold(planFile({ root: { ...root, livedays: 1 } })),
      (error: { code: string; message: string }) =>
        error.code === 'PLAN_INVALID' && /did you mean root\.lifeDays/.test(error.message),
    );
    assert.equal(await codeOf(hold(planFile({}))), 'PLAN_INVALID');
    assert.equal(
      await codeOf(hold(planFile({ root, crl: { issuer: 'root.pem', number: 1, out: 'x.pem' } }))),
      'PLAN_INVALID',
    );
    assert.equal(await codeOf(hold(file('absent.yaml'))), 'PLAN_INVALID');
  });

  test('a dry run checks everything down to the token and leaves no key and no file', async () => {
    const plan = planFile({ root: { out: 'root.pem' } });
    const outcome = await hold(plan, { dryRun: true });
    assert.equal(outcome.files, undefined);
    assert.equal(await codeOf(hold(plan, { answer: false })), 'CEREMONY_DECLINED');
    assert.equal(await codeOf(hold(plan, { answer: undefined })), 'CEREMONY_DECLINED');
    assert.throws(() => readFileSync(file('root.pem')));
    assert.equal(
      await codeOf(
        hold(
          planFile(
            { root: { out: 'root.pem' } },
            {
              token: {
                module: offline.modulePath,
                softhsmConf: offline.confPath,
                label: 'no-such-token',
                pinFile: offline.tokens.root.pinFile,
              },
            },
          ),
          { dryRun: true },
        ),
      ),
      'HSM_TOKEN_NOT_FOUND',
    );
  });

  test('a root is made in its token, and OpenSSL takes it', async () => {
    const outcome = await hold(
      planFile(
        { root: { keyType: 'ec-p384', lifeDays: 3650, out: 'root.pem' } },
        { note: 'first root; A and B were there' },
      ),
    );
    rootTranscript = outcome.files?.transcript ?? '';
    assert.equal(
      outcome.sha256,
      sha256Hex(unwrap(certificatesFromPem(readFileSync(file('root.pem'), 'utf8')))[0] as Buffer),
    );
    assert.match(openssl('verify', '-x509_strict', '-CAfile', 'root.pem', 'root.pem'), /OK/);
    assert.equal(await codeOf(hold(planFile({ root: { out: 'root.pem' } }))), 'ALREADY_EXISTS');
  });

  test('the CSR comes from the other token; a tampered, swapped or foreign one is refused', async () => {
    const made = await server.admin('AuthoritySources/CreateAuthorityCsr', { kind: 'issuing' });
    const csrDer = made.csrDer as Buffer;
    id = made.authority!.id;
    csrSha256 = sha256Hex(csrDer);
    writeFileSync(file('ours.csr'), pemEncode('CERTIFICATE REQUEST', csrDer));
    const offered = async (der: Buffer, sha256 = sha256Hex(der)): Promise<string> => {
      writeFileSync(file('offered.csr'), pemEncode('CERTIFICATE REQUEST', der));
      return codeOf(hold(planFile(intermediate({ csr: 'offered.csr', csrSha256: sha256 }))));
    };
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    assert.equal(
      await offered(createCsr(privateKey, { uriSan: 'spiffe://mesh.test' }), csrSha256),
      'CSR_DIGEST_MISMATCH',
    );
    const tampered = Buffer.from(csrDer);
    tampered[tampered.length - 3] = (tampered[tampered.length - 3] as number) ^ 1;
    assert.equal(await offered(tampered, csrSha256), 'CSR_DIGEST_MISMATCH');
    assert.equal(await offered(tampered), 'CSR_SIGNATURE_INVALID');
    assert.equal(
      await offered(createCsr(privateKey, { uriSan: 'spiffe://other.test' })),
      'CSR_IDENTITY_MISMATCH',
    );
    assert.equal(
      await offered(createCsr(privateKey, { uriSan: 'spiffe://mesh.test/workload' })),
      'CSR_IDENTITY_MISMATCH',
    );
    assert.equal(await offered(csrDer.subarray(0, csrDer.length - 1)), 'CSR_MALFORMED');
  });

  test('a wrong token, a wrong issuer, an expired parent and a life that does not fit are refused', async () => {
    const wrongToken = {
      token: {
        module: offline.modulePath,
        softhsmConf: offline.confPath,
        label: offline.tokens.issuing.label,
        pinFile: offline.tokens.issuing.pinFile,
      },
    };
    assert.equal(await codeOf(hold(planFile(intermediate(), wrongToken))), 'HSM_KEY_NOT_FOUND');
    assert.equal(
      await codeOf(hold(planFile(intermediate(), { trustDomain: 'other.test' }))),
      'TRUST_DOMAIN_FOREIGN',
    );
    assert.equal(await codeOf(hold(planFile(intermediate({ lifeDays: 4000 })))), 'ISSUER_LIFETIME');
    assert.equal(
      await codeOf(hold(planFile(intermediate()), { clock: shiftedClock(4000) })),
      'CERTIFICATE_EXPIRED',
    );
    assert.equal(
      await codeOf(hold(planFile(intermediate()), { clock: shiftedClock(-30) })),
      'CERTIFICATE_NOT_YET_VALID',
    );
    const leaf = execFileSync(
      'openssl',
      [
        'req',
        '-x509',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        '/dev/null',
        '-subj',
        '/CN=leaf',
        '-addext',
        'basicConstraints=critical,CA:FALSE',
        '-addext',
        'subjectAltName=URI:spiffe://mesh.test',
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] },
    );
    writeFileSync(file('leaf.pem'), leaf);
    assert.equal(
      await codeOf(hold(planFile(intermediate({ issuer: 'leaf.pem' })))),
      'AUTHORITY_UNFIT',
    );
    assert.throws(() => readFileSync(file('issuing.pem')));
  });

  test('the imported intermediate becomes the issuer, and its leaves verify under the offline root alone', async () => {
    await hold(planFile(intermediate()));
    const certificatesDer = unwrap(certificatesFromPem(readFileSync(file('issuing.pem'), 'utf8')));
    assert.equal(certificatesDer.length, 2);
    const imported = await server.admin('AuthoritySources/ImportAuthority', {
      id,
      certificatesDer: [...certificatesDer],
    });
    assert.deepEqual(imported.warnings, [
      'it names no CRL: if it is stolen, only replacing the root stops it',
    ]);
    assert.equal(imported.authority!.state, 'active');
    await until(() => server.server.port > 0);
    const svid = await server.mint('spiffe://mesh.test/workload');
    writeFileSync(file('leaf.pem'), pemEncode('CERTIFICATE', svid.chainDer[0] as Buffer));
    assert.match(
      openssl(
        'verify',
        '-x509_strict',
        '-CAfile',
        'root.pem',
        '-untrusted',
        'issuing.pem',
        'leaf.pem',
      ),
      /OK/,
    );
  });

  test('a cross-certificate joins the new root to the old one, and a CRL revokes what OpenSSL then refuses', async () => {
    await hold(planFile({ root: { lifeDays: 3000, out: 'root-2.pem' } }));
    const [second] = unwrap(certificatesFromPem(readFileSync(file('root-2.pem'), 'utf8')));
    const cross = (over: object = {}): object => ({
      crossCertificate: {
        issuer: 'root.pem',
        subject: 'root-2.pem',
        subjectSha256: sha256Hex(second as Buffer),
        lifeDays: 300,
        out: 'cross.pem',
        ...over,
      },
    });
    assert.equal(await codeOf(hold(planFile(cross({ lifeDays: 3200 })))), 'ISSUER_LIFETIME');
    assert.equal(await codeOf(hold(planFile(cross({ issuer: 'root-2.pem' })))), 'AUTHORITY_UNFIT');
    await hold(planFile(cross()));
    await hold(planFile(intermediate({ issuer: 'root-2.pem', out: 'issuing-2.pem' })));
    writeFileSync(
      file('chain-2.pem'),
      readFileSync(file('issuing-2.pem'), 'utf8').split('-----END CERTIFICATE-----\n')[0] +
        '-----END CERTIFICATE-----\n' +
        readFileSync(file('cross.pem'), 'utf8'),
    );
    const under = (): string =>
      openssl(
        'verify',
        '-x509_strict',
        '-CAfile',
        'root.pem',
        '-untrusted',
        'cross.pem',
        'issuing-2.pem',
      );
    assert.match(under(), /OK/);
    const { serialHex } = unwrap(
      parseCertificate(
        unwrap(certificatesFromPem(readFileSync(file('cross.pem'), 'utf8')))[0] as Buffer,
      ),
    );
    await hold(
      planFile({
        crl: {
          issuer: 'root.pem',
          number: 1,
          revoked: [{ serial: serialHex, revokedAt: '2026-01-01T00:00:00Z', reason: 'superseded' }],
          out: 'root.crl',
        },
      }),
    );
    assert.equal(unwrap(pemDecode(readFileSync(file('root.crl'), 'utf8')))[0]?.label, 'X509 CRL');
    assert.match(
      openssl('crl', '-in', 'root.crl', '-CAfile', 'root.pem', '-noout', '-text'),
      new RegExp(serialHex, 'i'),
    );
    await assert.rejects(
      run(
        'openssl',
        ['verify', '-crl_check', '-CRLfile', 'root.crl', '-CAfile', 'root.pem', 'cross.pem'],
        { cwd: desk.dir },
      ),
      /revoked/,
    );
    // it completes the set of the server below this root
    assert.equal((await server.admin('Authorities/GetRotationStatus')).crlsHandedOut, false);
    const [crl] = unwrap(pemDecode(readFileSync(file('root.crl'), 'utf8')));
    const taken = await server.admin('AuthoritySources/ImportCrl', { crlDer: crl!.der });
    assert.deepEqual([taken.revoked, taken.warnings], [1, []]);
    await until(() => taken.crlsHandedOut === true);
  });

  test('a transcript verifies, and does not once a record is changed, left out, cut off or moved', () => {
    const text = readFileSync(rootTranscript, 'utf8');
    const { records } = unwrap(verifyTranscript(text));
    assert.deepEqual(
      records.map((record) => record['kind']),
      ['plan', 'generate', 'key', 'intent', 'signed', 'file', 'end'],
    );
    const lines = text.split('\n');
    const broken = (change: (copy: string[]) => void): boolean => {
      const copy = [...lines];
      change(copy);
      const result = verifyTranscript(copy.join('\n'));
      return !result.ok && result.error.code === 'TRANSCRIPT_INVALID';
    };
    for (let index = 1; index < lines.length - 1; index += 1) {
      assert.ok(
        broken((copy) => copy.splice(index, 1)),
        `without line ${index}`,
      );
      assert.ok(
        broken((copy) => {
          copy[index] = (copy[index] as string).replace(/[0-9]/, (digit) =>
            String((Number(digit) + 1) % 10),
          );
        }),
        `line ${index} changed`,
      );
      assert.ok(
        broken((copy) => copy.splice(index)),
        `cut at line ${index}`,
      );
      if (index > 1)
        assert.ok(
          broken((copy) =>
            copy.splice(index - 1, 2, copy[index] as string, copy[index - 1] as string),
          ),
          `lines ${index} swapped`,
        );
    }
  });

  test('the CLI has a dry run, refuses without a terminal or --yes, and verifies against root and file', async () => {
    const cli = async (...args: string[]): Promise<{ code: number; out: string; err: string }> =>
      run(process.execPath, [productEntry, ...args], { env: { PATH: process.env['PATH'] } }).then(
        ({ stdout, stderr }) => ({ code: 0, out: stdout, err: stderr }),
        (error: { code: number; stdout: string; stderr: string }) => ({
          code: error.code,
          out: error.stdout,
          err: error.stderr,
        }),
      );
    const plan = planFile(intermediate({ out: 'issuing-3.pem' }));
    const dry = await cli('ceremony', 'run', plan, '--dry-run');
    assert.match(dry.out, /dry run: nothing was signed/);
    const declined = await cli('ceremony', 'run', plan);
    assert.notEqual(declined.code, 0);
    assert.match(declined.err, /CEREMONY_DECLINED/);
    const held = await cli('ceremony', 'run', plan, '--yes', '--json');
    const { files } = JSON.parse(held.out) as { files: { transcript: string } };
    const verified = await cli(
      'ceremony',
      'verify',
      files.transcript,
      '--signer',
      file('root.pem'),
      '--file',
      file('issuing-3.pem'),
      '--file',
      file('ours.csr'),
      '--file',
      plan,
    );
    assert.equal(verified.code, 0, verified.err);
    assert.match(verified.out, /the signer is the root that you gave/);
    // the whole file is judged: neither the certificates above nor the text around them may differ
    for (const name of ['issuing-3.pem', 'ours.csr']) {
      const good = readFileSync(file(name));
      const altered = file('altered.pem');
      for (let at = 0; at <= good.length; at += 1) {
        const bytes = Buffer.from(at < good.length ? good : Buffer.concat([good, Buffer.of(10)]));
        if (at < good.length) bytes[at] = (bytes[at] as number) ^ 1;
        writeFileSync(altered, bytes);
        assert.throws(
          () => checkTranscript({ path: files.transcript, filePaths: [altered] }),
          { code: 'TRANSCRIPT_INVALID' },
          `${name}, octet ${at}`,
        );
      }
    }
    assert.match(
      (await cli('ceremony', 'verify', files.transcript, '--signer', file('root-2.pem'))).err,
      /TRANSCRIPT_INVALID/,
    );
    assert.match(
      (await cli('ceremony', 'verify', files.transcript, '--file', file('cross.pem'))).err,
      /TRANSCRIPT_INVALID/,
    );
  });
});
