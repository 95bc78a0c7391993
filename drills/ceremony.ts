import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { verifyTranscript } from '../src/ceremony/index.ts';
import { unwrap } from '../src/common/errors/index.ts';
import { systemClock } from '../src/common/runtime/index.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  pemEncode,
  sha256Hex,
  verifyX509Svid,
} from '../src/common/x509/index.ts';
import { createCeremonyDesk, shiftedClock, type CeremonyDesk } from '../test/support/ceremony.ts';
import { createCompanyCa } from '../test/support/company-ca.ts';
import { codeOf, startTestServer, testTrustDomain } from '../test/support/server.ts';
import { until } from '../test/support/until.ts';
import { Breaches, round, type Drill } from './drill.ts';

const id = `spiffe://${testTrustDomain}`;

/**
 * A root in the token of an offline machine and an issuing authority in the token of a server, from
 * the plan to leaves that verify under the offline root. First the drill offers whatever the
 * ceremony must not sign and the server must not import.
 */
export const ceremony: Drill = {
  name: 'ceremony',
  promise:
    'an offline root certifies the key in another token, and what is tampered, foreign, unfit or expired is refused',
  options: ['--rounds N   intermediates to certify (short: 1, else 3)'],
  // oxlint-disable-next-line max-lines-per-function -- one scene, act by act
  run: async ({ short, options, say, signal }) => {
    const breaches = new Breaches();
    const rounds = Number(options['rounds'] ?? (short ? 1 : 3));
    await using desk = await createCeremonyDesk(testTrustDomain);
    await using server = await startTestServer({ config: { authorities: { source: 'external' } } });
    const refusals: Record<string, string> = {};
    const refused = async (
      what: string,
      code: string,
      attempt: Promise<unknown>,
    ): Promise<void> => {
      signal.throwIfAborted();
      const found = await codeOf(attempt);
      refusals[what] = found;
      breaches.expect(found === code, `${what}: ${found} instead of ${code}`);
      say(`${what}: ${found}`);
    };

    await desk.hold(desk.plan({ root: { keyType: 'ec-p384', lifeDays: 3_650, out: 'root.pem' } }));
    const rootDer = (await dersOf(desk, 'root.pem'))[0] as Buffer;
    const made = await server.admin('AuthoritySources/CreateAuthorityCsr', { kind: 'issuing' });
    const csrDer = made.csrDer as Buffer;
    const authorityId = made.authority!.id as string;
    const csrSha256 = sha256Hex(csrDer);
    writeFileSync(desk.file('ours.csr'), pemEncode('CERTIFICATE REQUEST', csrDer));
    const intermediate = (over: object = {}): object => ({
      intermediate: { issuer: 'root.pem', csr: 'ours.csr', csrSha256, out: 'issuing.pem', ...over },
    });
    say('root made in the offline token, CSR made in the token of the server');

    // at the ceremony
    const offer = (der: Buffer, sha256 = sha256Hex(der)): Promise<unknown> => {
      writeFileSync(desk.file('offered.csr'), pemEncode('CERTIFICATE REQUEST', der));
      return desk.hold(desk.plan(intermediate({ csr: 'offered.csr', csrSha256: sha256 })));
    };
    const tampered = Buffer.from(csrDer);
    tampered[tampered.length - 3] = (tampered[tampered.length - 3] as number) ^ 1;
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    await refused('tampered CSR', 'CSR_DIGEST_MISMATCH', offer(tampered, csrSha256));
    await refused('tampered CSR with its own digest', 'CSR_SIGNATURE_INVALID', offer(tampered));
    await refused(
      'CSR of another key',
      'CSR_DIGEST_MISMATCH',
      offer(createCsr(privateKey, { uriSan: id }), csrSha256),
    );
    await refused(
      'CSR of another trust domain',
      'CSR_IDENTITY_MISMATCH',
      offer(createCsr(privateKey, { uriSan: 'spiffe://other.test' })),
    );
    await refused(
      'CSR for a workload',
      'CSR_IDENTITY_MISMATCH',
      offer(createCsr(privateKey, { uriSan: `${id}/workload` })),
    );
    const {
      modulePath: module,
      confPath: softhsmConf,
      tokens: { issuing },
    } = desk.tokens;
    await refused(
      'token without the key of the root',
      'HSM_KEY_NOT_FOUND',
      desk.hold(
        desk.plan(intermediate(), {
          token: { module, softhsmConf, label: issuing.label, pinFile: issuing.pinFile },
        }),
      ),
    );
    await refused(
      'expired root',
      'CERTIFICATE_EXPIRED',
      desk.hold(desk.plan(intermediate()), { clock: shiftedClock(4_000) }),
    );
    await refused(
      'life longer than that of the root',
      'ISSUER_LIFETIME',
      desk.hold(desk.plan(intermediate({ lifeDays: 4_000 }))),
    );
    await desk.openssl(
      'req',
      '-x509',
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:P-256',
      '-nodes',
      '-keyout',
      'leaf.key',
      '-subj',
      '/CN=leaf',
      '-addext',
      'basicConstraints=critical,CA:FALSE',
      '-addext',
      `subjectAltName=URI:${id}`,
      '-out',
      'leaf.pem',
    );
    await refused(
      'issuer that is no CA',
      'AUTHORITY_UNFIT',
      desk.hold(desk.plan(intermediate({ issuer: 'leaf.pem' }))),
    );
    await refused(
      'nobody who says yes',
      'CEREMONY_DECLINED',
      desk.hold(desk.plan(intermediate()), { answer: undefined }),
    );
    breaches.expect(
      await readFile(desk.file('issuing.pem')).then(
        () => false,
        () => true,
      ),
      'a refused ceremony left a certificate',
    );

    // at the server
    const importing = (certificatesDer: readonly Buffer[], to = authorityId): Promise<any> =>
      server.admin('AuthoritySources/ImportAuthority', {
        id: to,
        certificatesDer: [...certificatesDer],
      });
    await using company = await createCompanyCa();
    const signedOutside = async (settings: Parameters<typeof company.sign>[1]): Promise<Buffer[]> =>
      [await company.sign(csrDer, settings), company.subPem, company.rootPem].flatMap((pem) => [
        ...unwrap(certificatesFromPem(pem)),
      ]);
    await refused(
      'import with the profile of a leaf',
      'AUTHORITY_UNFIT',
      importing(
        await signedOutside({
          extensions: [
            'basicConstraints=critical,CA:FALSE',
            'keyUsage=critical,digitalSignature',
            'subjectKeyIdentifier=hash',
            'authorityKeyIdentifier=keyid',
          ],
        }),
      ),
    );
    await refused(
      'import of an expired certificate',
      'CERTIFICATE_EXPIRED',
      importing(await signedOutside({ startDate: '200101000000Z', endDate: '210101000000Z' })),
    );
    const foreign = createCsr(privateKey, { uriSan: id });
    writeFileSync(desk.file('foreign.csr'), pemEncode('CERTIFICATE REQUEST', foreign));
    await desk.hold(
      desk.plan(
        intermediate({ csr: 'foreign.csr', csrSha256: sha256Hex(foreign), out: 'foreign.pem' }),
      ),
    );
    await refused(
      'import for another key',
      'CERTIFICATE_KEY_MISMATCH',
      importing(await dersOf(desk, 'foreign.pem')),
    );
    // a ceremony with its clock set back gives a certificate, which is of no use
    const past = shiftedClock(-4_000);
    await desk.hold(desk.plan({ root: { lifeDays: 3_650, out: 'old-root.pem' } }), { clock: past });
    await desk.hold(desk.plan(intermediate({ issuer: 'old-root.pem', out: 'old.pem' })), {
      clock: past,
    });
    await refused(
      'import below an expired root',
      'CERTIFICATE_EXPIRED',
      importing(await dersOf(desk, 'old.pem')),
    );
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    breaches.expect(
      !(authorities as { kind: string }[]).some(({ kind }) => kind === 'root'),
      'a refused import left a root',
    );
    breaches.expect(
      (await server.admin('Authorities/GetAuthority', { id: authorityId })).state === 'preparing',
      'a refused import changed the authority',
    );
    await refused('leaf before the import', 'NO_ISSUER', server.mint(`${id}/early`));

    const seconds: number[] = [];
    const warnings: string[] = [];
    let verifiedByOpenssl = 0;
    for (let index = 1; index <= rounds && !signal.aborted; index += 1) {
      const startedMs = performance.now();
      const further =
        index === 1
          ? made
          : await server.admin('AuthoritySources/CreateAuthorityCsr', { kind: 'issuing' });
      writeFileSync(
        desk.file(`${index}.csr`),
        pemEncode('CERTIFICATE REQUEST', further.csrDer as Buffer),
      );
      const outcome = await desk.hold(
        desk.plan(
          intermediate({
            csr: `${index}.csr`,
            csrSha256: sha256Hex(further.csrDer as Buffer),
            out: `issuing-${index}.pem`,
          }),
        ),
      );
      const chain = await dersOf(desk, `issuing-${index}.pem`);
      const imported = await importing(chain, further.authority!.id);
      warnings.push(...(imported.warnings as string[]));
      if (index === 1) await until(() => server.server.port > 0);
      else
        breaches.expect(
          imported.authority.state === 'prepared',
          `further intermediate: ${imported.authority.state} after its import`,
        );
      const svid = await server.mint(`${id}/workload`);
      seconds.push(round((performance.now() - startedMs) / 1000));
      breaches.expect(
        verifyX509Svid({ chainDer: svid.chainDer, bundle: () => [rootDer], now: systemClock.now() })
          .ok,
        'a leaf does not verify under the offline root alone',
      );
      writeFileSync(desk.file('leaf.pem'), certificatesToPem(svid.chainDer.slice(0, 1)));
      writeFileSync(desk.file('chain.pem'), certificatesToPem(svid.chainDer.slice(1)));
      for (const args of [['-untrusted', 'chain.pem', 'leaf.pem'], [`issuing-${index}.pem`]]) {
        const verified = /: OK/.test(
          await desk
            .openssl('verify', '-x509_strict', '-CAfile', 'root.pem', ...args)
            .catch(String),
        );
        verifiedByOpenssl += verified ? 1 : 0;
        breaches.expect(verified, `OpenSSL does not take ${args.at(-1)}`);
      }
      breaches.expect(
        verifyTranscript(await readFile(outcome.files?.transcript ?? '', 'utf8')).ok,
        'the transcript does not verify',
      );
      say(
        `intermediate ${index}: from its CSR to a leaf under the offline root in ${seconds.at(-1)} s`,
      );
    }
    const { rootsDer } = await server.admin('Authorities/GetBundle');
    breaches.expect(
      rootsDer.length === 1 && rootDer.equals(rootsDer[0]!),
      'the bundle is not the offline root alone',
    );
    return {
      figures: {
        refusals,
        intermediates: seconds.length,
        seconds,
        verifiedByOpenssl,
        warnings: [...new Set(warnings)],
      },
      broken: breaches.list,
    };
  },
};

const dersOf = async (desk: CeremonyDesk, name: string): Promise<readonly Buffer[]> =>
  unwrap(certificatesFromPem(await readFile(desk.file(name), 'utf8')));
