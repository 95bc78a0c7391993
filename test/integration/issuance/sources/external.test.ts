import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  sha256Hex,
  verifyX509Svid,
} from '../../../../src/common/x509/index.ts';
import { parseCsr } from '../../../../src/certs/index.ts';
import { caExtensions, createCompanyCa, type CompanyCa } from '../../../support/company-ca.ts';
import { codeOf, startTestServer, type TestServer } from '../../../support/server.ts';
import { rotationLooked } from '../../../support/settled.ts';
import { until } from '../../../support/until.ts';

const ders = (...pems: string[]): Buffer[] =>
  pems.flatMap((pem) => [...unwrap(certificatesFromPem(pem))]);

describe('an intermediate that a company CA certifies', () => {
  let ca: CompanyCa;
  let server: TestServer;
  let id: string;
  let csrDer: Buffer;
  before(async () => {
    ca = await createCompanyCa();
    server = await startTestServer({ config: { authorities: { source: 'external' } } });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await ca?.[Symbol.asyncDispose]();
  });
  const chain = async (options: Parameters<CompanyCa['sign']>[1] = {}): Promise<Buffer[]> =>
    ders(await ca.sign(csrDer, options), ca.subPem, ca.rootPem);
  const refused = async (certificatesDer: readonly Buffer[], more: object = {}): Promise<string> =>
    codeOf(
      server.admin('AuthoritySources/ImportAuthority', {
        id,
        certificatesDer: [...certificatesDer],
        ...more,
      }),
    );

  test('a server without a root of its own starts, is not ready and says what to do', async () => {
    const status = await server.admin('Server/GetStatus');
    assert.equal(status.ready, false);
    assert.match(status.reasons.join('\n'), /NO_ISSUER.*meshca authority csr/);
    assert.equal(server.server.port, 0);
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    assert.deepEqual(
      authorities
        .map((each: { kind: string }) => each.kind)
        .filter((kind: string) => kind === 'root' || kind === 'issuing'),
      [],
    );
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    assert.equal(
      await codeOf(
        server.admin('Certificates/MintX509Svid', {
          spiffeId: 'spiffe://mesh.test/x',
          csrDer: createCsr(privateKey),
        }),
      ),
      'NO_ISSUER',
    );
  });

  test('the CSR is for a key in the token, verifies in OpenSSL, and is the same bytes after a restart', async () => {
    const made = await server.admin('AuthoritySources/CreateAuthorityCsr', { kind: 'issuing' });
    id = made.authority!.id;
    csrDer = made.csrDer;
    assert.equal(made.authority!.state, 'preparing');
    const file = join(ca.dir, 'ours.csr');
    writeFileSync(file, csrDer);
    assert.match(
      execFileSync(
        'openssl',
        ['req', '-in', file, '-inform', 'DER', '-verify', '-noout', '-text'],
        { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] },
      ),
      /URI:spiffe:\/\/mesh\.test/,
    );
    await server.restart();
    const again = await server.admin('AuthoritySources/CreateAuthorityCsr', { id });
    assert.deepEqual(again.csrDer, csrDer, 'people compare its digest');
    const { records } = await server.admin('Audit/ListAuditRecords', {
      kind: 'authority.requested',
      subject: id,
    });
    assert.equal(records.length, 1);
    assert.ok(records[0]?.canonical.toString().includes(sha256Hex(csrDer as Buffer)));
    assert.equal((await server.admin('Server/GetStatus')).ready, false);
  });

  test('what does not hold is refused, each with its code, and nothing is recorded', async () => {
    const good = await chain();
    const other = await server.admin('AuthoritySources/CreateAuthorityCsr', { kind: 'issuing' });
    assert.equal(
      await refused(ders(await ca.sign(other.csrDer), ca.subPem, ca.rootPem)),
      'CERTIFICATE_KEY_MISMATCH',
    );
    assert.equal(await refused(good.slice(0, 2)), 'CHAIN_UNTRUSTED');
    assert.equal(await refused([good[0] as Buffer, good[2] as Buffer]), 'CHAIN_UNTRUSTED');
    assert.equal(await refused([]), 'CERTIFICATE_MALFORMED');
    assert.equal(await refused(good, { rootSha256: 'ab'.repeat(32) }), 'CHAIN_UNTRUSTED');
    const [basic, usage, ski, aki] = caExtensions;
    const cases: readonly (readonly [string, readonly string[]])[] = [
      ['AUTHORITY_UNFIT', ['basicConstraints=critical,CA:FALSE', usage, ski, aki]],
      ['AUTHORITY_UNFIT', [basic, 'keyUsage=critical,cRLSign', ski, aki]],
      [
        'AUTHORITY_UNFIT',
        [basic, usage, ski, aki, 'nameConstraints=critical,permitted;URI:.mesh.test'],
      ],
      ['AUTHORITY_UNFIT', [basic, usage, ski, aki, 'extendedKeyUsage=serverAuth']],
      ['AUTHORITY_UNFIT', [basic, usage, ski, aki, 'subjectAltName=URI:spiffe://other.test']],
      [
        'AUTHORITY_UNFIT',
        [basic, usage, ski, aki, 'subjectAltName=URI:spiffe://mesh.test/workload'],
      ],
      ['AUTHORITY_UNFIT', [basic, usage, 'subjectKeyIdentifier=none', aki]],
    ];
    for (const [code, extensions] of cases)
      assert.equal(await refused(await chain({ extensions })), code, extensions.join(' '));
    assert.equal(await refused(await chain({ days: 2 })), 'ISSUER_LIFETIME');
    assert.equal(
      await refused(await chain({ days: 3000 })),
      'ISSUER_LIFETIME',
      'an authority that outlives its parent',
    );
    assert.equal(
      await refused(await chain({ startDate: '200101000000Z', endDate: '210101000000Z' })),
      'CERTIFICATE_EXPIRED',
    );
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    assert.deepEqual(
      authorities.filter((each: { kind: string }) => each.kind === 'root'),
      [],
    );
  });

  test('a parent without room below it, and an expired one, are refused', async () => {
    await using narrow = await createCompanyCa({
      subExtensions: [
        'basicConstraints=critical,CA:TRUE,pathlen:0',
        'keyUsage=critical,keyCertSign',
        'subjectKeyIdentifier=hash',
        'authorityKeyIdentifier=keyid',
      ],
    });
    assert.equal(
      await refused(ders(await narrow.sign(csrDer), narrow.subPem, narrow.rootPem)),
      'AUTHORITY_UNFIT',
    );
    await using constrained = await createCompanyCa({
      subExtensions: [
        ...caExtensions.slice(1),
        'basicConstraints=critical,CA:TRUE,pathlen:1',
        'nameConstraints=critical,excluded;URI:.mesh.test',
      ],
    });
    assert.equal(
      await refused(ders(await constrained.sign(csrDer), constrained.subPem, constrained.rootPem)),
      'CHAIN_UNTRUSTED',
    );
  });

  test('a dry run changes nothing and tells the warnings', async () => {
    const bare = await chain({ extensions: caExtensions });
    const { warnings, authority } = await server.admin('AuthoritySources/ImportAuthority', {
      id,
      certificatesDer: bare,
      dryRun: true,
    });
    assert.equal(authority, null);
    assert.match(warnings.join('\n'), /does not name the trust domain/);
    assert.equal((await server.admin('Authorities/GetAuthority', { id })).state, 'preparing');
  });

  test('an imported intermediate signs at once on a first start, with the company root in the bundle', async () => {
    const certificatesDer = await chain();
    const imported = await server.admin('AuthoritySources/ImportAuthority', {
      id,
      certificatesDer: certificatesDer.toReversed(),
      rootSha256: sha256Hex(certificatesDer[2] as Buffer),
    });
    assert.equal(imported.activated, true);
    assert.equal(imported.authority!.state, 'active');
    assert.deepEqual(
      [imported.root!.kind, imported.root!.token, imported.root!.state],
      ['root', 'external', 'active'],
    );
    await until(() => server.server.port > 0);
    assert.equal((await server.admin('Server/GetStatus')).ready, true);
    const bundle = await server.admin('Authorities/GetBundle');
    assert.deepEqual(bundle.rootsDer, [certificatesDer[2]]);
    const svid = await server.mint('spiffe://mesh.test/workload');
    assert.equal(svid.chainDer.length, 3);
    const verified = verifyX509Svid({
      chainDer: svid.chainDer,
      bundle: () => bundle.rootsDer,
      now: Math.floor(Date.now() / 1000),
    });
    assert.ok(verified.ok);
    writeFileSync(join(ca.dir, 'leaf.pem'), certificatesToPem(svid.chainDer.slice(0, 1)));
    writeFileSync(join(ca.dir, 'chain.pem'), certificatesToPem(svid.chainDer.slice(1)));
    assert.match(
      execFileSync(
        'openssl',
        [
          'verify',
          '-x509_strict',
          '-CAfile',
          join(ca.dir, 'root.pem'),
          '-untrusted',
          join(ca.dir, 'chain.pem'),
          join(ca.dir, 'leaf.pem'),
        ],
        { encoding: 'utf8' },
      ),
      /OK/,
    );
    assert.equal(await refused(certificatesDer), 'CONFLICT');
  });

  test('it is the same after a restart: an agent joins over TLS below the company root', async () => {
    await server.restart();
    assert.equal((await server.admin('Server/GetStatus')).ready, true);
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    assert.equal(
      await codeOf(
        server.admin('Certificates/MintX509Svid', {
          spiffeId: 'spiffe://mesh.test/y',
          csrDer: createCsr(privateKey),
        }),
      ),
      'resolved',
    );
    assert.ok(server.server.port > 0);
  });

  test('a second import below the same root waits as prepared, and the company CAs are on record once', async () => {
    const made = await server.admin('AuthoritySources/CreateAuthorityCsr', {
      kind: 'issuing',
      keyType: 'ec-p384',
    });
    csrDer = made.csrDer;
    id = made.authority!.id;
    const imported = await server.admin('AuthoritySources/ImportAuthority', {
      id,
      certificatesDer: await chain(),
    });
    assert.equal(imported.activated, false);
    assert.equal(imported.authority!.state, 'prepared');
    const { authorities } = await server.admin('Authorities/ListAuthorities');
    assert.equal(
      authorities.filter((each: { token: string }) => each.token === 'external').length,
      2,
    );
    const minted = await server.mint('spiffe://mesh.test/z');
    assert.notDeepEqual(
      unwrap(parseCertificate(minted.chainDer[1] as Buffer)).spkiDer,
      unwrap(parseCsr(csrDer)).spkiDer,
    );
  });

  const state = async (of: string): Promise<string> =>
    (await server.admin('Authorities/GetAuthority', { id: of })).state;
  const reaches = async (of: string, wanted: string): Promise<void> => {
    await until(async () => (await state(of)) === wanted, `${of} is ${wanted}`);
  };

  test('rotation takes the imported one over when the operator goes on, and it signs', async () => {
    await rotationLooked(server);
    assert.equal(await state(id), 'prepared');
    await server.admin('Authorities/ContinueRotation', { id, reason: 'go on' });
    await reaches(id, 'active');
    const minted = await server.mint('spiffe://mesh.test/rotated');
    assert.deepEqual(
      unwrap(parseCertificate(minted.chainDer[1] as Buffer)).spkiDer,
      unwrap(parseCsr(csrDer)).spkiDer,
    );
  });

  test('a rotation on command waits for an import, and goes on by itself once it has come', async () => {
    const status = await server.admin('Authorities/RotateAuthorities', {
      kind: 'issuing',
      reason: 'drill',
    });
    const wanted = status.operations[0]!.successorId;
    const made = await server.admin('AuthoritySources/CreateAuthorityCsr', { kind: 'issuing' });
    assert.equal(made.authority!.id, wanted);
    assert.deepEqual(
      unwrap(parseCsr((await server.admin('AuthoritySources/CreateAuthorityCsr', {})).csrDer))
        .spkiDer,
      unwrap(parseCsr(made.csrDer)).spkiDer,
    );
    csrDer = made.csrDer;
    await server.admin('AuthoritySources/ImportAuthority', {
      id: wanted,
      certificatesDer: await chain(),
    });
    await reaches(wanted, 'active');
  });

  test('one for a region signs on servers of that region alone, beside the others under the same root', async () => {
    const before = unwrap(
      parseCertificate((await server.mint('spiffe://mesh.test/anywhere')).chainDer[1] as Buffer),
    ).spkiDer;
    const made = await server.admin('AuthoritySources/CreateAuthorityCsr', {
      kind: 'issuing',
      region: 'eu',
    });
    csrDer = made.csrDer;
    await server.admin('AuthoritySources/ImportAuthority', {
      id: made.authority!.id,
      certificatesDer: await chain(),
    });
    await server.admin('Authorities/ContinueRotation', { id: made.authority!.id, reason: 'go on' });
    await reaches(made.authority!.id, 'active');
    assert.deepEqual(
      JSON.parse(
        (await server.admin('Authorities/GetAuthority', { id: made.authority!.id })).scopeJson,
      ),
      { region: 'eu' },
    );
    assert.deepEqual(
      unwrap(
        parseCertificate((await server.mint('spiffe://mesh.test/elsewhere')).chainDer[1] as Buffer),
      ).spkiDer,
      before,
    );
    await server.stop();
    await using there = await startTestServer({
      tokens: server.tokens,
      dir: server.dir,
      config: { authorities: { source: 'external', region: 'eu' } },
    });
    assert.deepEqual(
      unwrap(parseCertificate((await there.mint('spiffe://mesh.test/here')).chainDer[1] as Buffer))
        .spkiDer,
      unwrap(parseCsr(csrDer)).spkiDer,
    );
    await there.stop();
    await server.restart();
  });

  test('an operator adds another company root to the bundle before an intermediate below it signs', async () => {
    await using second = await createCompanyCa();
    const made = await server.admin('AuthoritySources/CreateAuthorityCsr', { kind: 'issuing' });
    const imported = await server.admin('AuthoritySources/ImportAuthority', {
      id: made.authority!.id,
      certificatesDer: ders(await second.sign(made.csrDer), second.subPem, second.rootPem),
    });
    assert.deepEqual([imported.root!.state, imported.authority!.state], ['prepared', 'prepared']);
    await rotationLooked(server);
    assert.deepEqual((await server.admin('Authorities/GetBundle')).rootsDer.length, 1);
    await server.admin('Authorities/ContinueRotation', {
      id: imported.root!.id,
      force: true,
      reason: 'nobody else reads the bundle here',
    });
    await reaches(imported.root!.id, 'active');
    assert.deepEqual((await server.admin('Authorities/GetBundle')).rootsDer.length, 2);
    await server.admin('Authorities/ContinueRotation', { id: made.authority!.id, reason: 'go on' });
    await reaches(made.authority!.id, 'active');
    const svid = await server.mint('spiffe://mesh.test/second');
    assert.ok(
      verifyX509Svid({
        chainDer: svid.chainDer,
        bundle: () => ders(second.rootPem),
        now: Math.floor(Date.now() / 1000),
      }).ok,
    );
    assert.equal((await server.admin('Server/GetStatus')).ready, true);
  });
});
