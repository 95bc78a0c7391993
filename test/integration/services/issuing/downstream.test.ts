import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createPrivateKey } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { uuidv7 } from '../../../../src/common/runtime/index.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  createCsr,
  generateKeyPairAsync,
  parseCertificate,
  parseCrl,
} from '../../../../src/common/x509/index.ts';
import {
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../../support/server.ts';
import { past, patienceMs, until } from '../../../support/until.ts';

const run = promisify(execFile);
const call = '/meshca.signing.v1.Signing/SignDownstreamAuthority';
const day = 86_400;

let server: TestServer;
let node: Credential;
before(async () => {
  server = await startTestServer({
    config: {
      issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' },
      limits: { downstreamPerMinute: 600 },
    },
  });
  node = await server.joinAgent('node-1');
});
after(() => server?.[Symbol.asyncDispose]());

const newCsr = async (uriSan?: string): Promise<Buffer> =>
  createCsr(
    (await generateKeyPairAsync('ec-p256')).privateKey,
    uriSan === undefined ? {} : { uriSan },
  );

interface Entry {
  readonly id: string;
  readonly spiffeId: string;
  readonly revision: number;
}

async function entryOf(name: string, over: object = {}): Promise<Entry> {
  const { results } = await server.admin('Entries/CreateEntries', {
    entries: [
      {
        spiffeId: `spiffe://mesh.test/${name}`,
        parentId: node.spiffeId,
        selectors: ['unix:uid:7'],
        downstream: true,
        ...over,
      },
    ],
  });
  assert.ok(results[0]!.entry, JSON.stringify(results[0]!.problem));
  return results[0]!.entry;
}

/** What an agent obtains for a process of that entry. */
async function svidOf(entry: Entry, agent: Credential = node): Promise<Credential> {
  const { privateKey } = await generateKeyPairAsync('ec-p256');
  const { results } = await unaryCall(
    server.client(agent),
    '/meshca.issuer.v1.AgentIssuer/SignX509Svids',
    { items: [{ requestId: uuidv7(), entryId: entry.id, csrDer: createCsr(privateKey) }] },
  );
  assert.ok(results[0]!.svid, JSON.stringify(results[0]!.refusal));
  return {
    spiffeId: entry.spiffeId,
    serial: results[0]!.svid.serial,
    chainDer: results[0]!.svid.chainDer,
    privateKey,
  };
}

const ask = async (as: Credential, over: object = {}) =>
  unaryCall(server.client(as), call, { csrDer: await newCsr(), requestId: uuidv7(), ...over });
const codeFor = async (as: Credential, over: object = {}): Promise<string> => codeOf(ask(as, over));
const records = async (kind: string) =>
  (await server.admin('Audit/ListAuditRecords', { kind, page: { size: 200 } })).records;
const update = (entry: Entry, over: object) =>
  server.admin('Entries/UpdateEntry', {
    entry: {
      id: entry.id,
      spiffeId: entry.spiffeId,
      parentId: node.spiffeId,
      selectors: ['unix:uid:7'],
      downstream: true,
      ...over,
    },
  });

describe('a workload of a downstream entry', () => {
  test('obtains a CA certificate with pathLen 0, its trust domain and a limited life, and OpenSSL accepts it', async () => {
    const entry = await entryOf('nested');
    const svid = await svidOf(entry);
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const signed = await ask(svid, {
      csrDer: createCsr(privateKey, { uriSan: 'spiffe://mesh.test' }),
    });
    const certificate = unwrap(parseCertificate(signed.chainDer[0]!));
    assert.deepEqual(
      [certificate.isCa, certificate.pathLength, certificate.uriSans],
      [true, 0, ['spiffe://mesh.test']],
    );
    assert.deepEqual([...(certificate.keyUsage?.names ?? [])].sort(), ['cRLSign', 'keyCertSign']);
    const life = signed.notAfter - Math.floor(Date.now() / 1000);
    assert.ok(life > 7 * day - 60 && life <= 7 * day, `${life}`);
    assert.deepEqual(signed.rootsDer, server.rootsDer);
    const record = await server.admin('Certificates/GetCertificate', { serial: signed.serial });
    assert.deepEqual(
      [record.kind, record.state, record.requester, record.holder, record.entryId],
      ['authority', 'issued', svid.spiffeId, node.spiffeId, entry.id],
    );
    const [said] = (await records('authority.downstream')).map(({ canonical }) =>
      canonical.toString('utf8'),
    );
    for (const ground of [entry.id, node.spiffeId, svid.spiffeId, svid.serial, signed.serial])
      assert.ok(said!.includes(ground), ground);

    const file = async (name: string, text: string | Buffer): Promise<string> =>
      writeFile(join(server.dir, name), text).then(() => join(server.dir, name));
    await file('down.pem', certificatesToPem(signed.chainDer));
    await file('down.key', privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await file('root.pem', certificatesToPem(signed.rootsDer));
    await file(
      'leaf.ext',
      'subjectAltName=URI:spiffe://mesh.test/below\nkeyUsage=critical,digitalSignature\nsubjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\nbasicConstraints=critical,CA:FALSE\n',
    );
    await run(
      'openssl',
      [
        'req',
        '-new',
        '-newkey',
        'ec',
        '-pkeyopt',
        'ec_paramgen_curve:P-256',
        '-nodes',
        '-keyout',
        'leaf.key',
        '-out',
        'leaf.csr',
        '-subj',
        '/CN=below',
      ],
      { cwd: server.dir },
    );
    await run(
      'openssl',
      [
        'x509',
        '-req',
        '-in',
        'leaf.csr',
        '-CA',
        'down.pem',
        '-CAkey',
        'down.key',
        '-CAcreateserial',
        '-days',
        '1',
        '-extfile',
        'leaf.ext',
        '-out',
        'leaf.pem',
      ],
      { cwd: server.dir },
    );
    assert.match(
      (
        await run(
          'openssl',
          ['verify', '-x509_strict', '-CAfile', 'root.pem', '-untrusted', 'down.pem', 'leaf.pem'],
          { cwd: server.dir },
        )
      ).stdout,
      /OK/,
    );
    // what it signs is nobody here
    const [below] = unwrap(
      certificatesFromPem(await readFile(join(server.dir, 'leaf.pem'), 'utf8')),
    );
    const posing: Credential = {
      spiffeId: 'spiffe://mesh.test/below',
      serial: '',
      chainDer: [below as Buffer, ...signed.chainDer],
      privateKey: createPrivateKey(await readFile(join(server.dir, 'leaf.key'))),
    };
    assert.equal(await codeFor(posing), 'CERTIFICATE_UNKNOWN');
  });

  test('gets the recorded certificate again for the same request and key, and no second one', async () => {
    const svid = await svidOf(await entryOf('again'));
    const request = { requestId: uuidv7(), csrDer: await newCsr(), ttlSeconds: 3 * day };
    const client = server.client(svid);
    const [first, second] = await Promise.all([
      unaryCall(client, call, request),
      unaryCall(client, call, request),
    ]);
    assert.equal(first.serial, second.serial);
    assert.deepEqual(first.chainDer, second.chainDer);
  });

  test('is refused a too long life, a foreign name, a used key, and a request without proof', async () => {
    const svid = await svidOf(await entryOf('limits'));
    assert.equal(await codeFor(svid, { ttlSeconds: 8 * day }), 'TTL_OUT_OF_RANGE');
    assert.equal(
      await codeFor(svid, { csrDer: await newCsr('spiffe://other.test') }),
      'CSR_IDENTITY_MISMATCH',
    );
    assert.equal(await codeFor(svid, { csrDer: createCsr(svid.privateKey) }), 'KEY_RESERVED');
    const broken = await newCsr();
    broken[broken.length - 4] = (broken[broken.length - 4] as number) ^ 1;
    assert.equal(await codeFor(svid, { csrDer: broken }), 'CSR_SIGNATURE_INVALID');
    assert.equal(
      (await records('request.refused')).filter(({ actor }) => actor === svid.spiffeId).length,
      4,
      'each on record',
    );
  });

  test('opens the root token no more often than the rate allows', async () => {
    const svid = await svidOf(await entryOf('eager'));
    const startedMs = performance.now();
    const codes = await Promise.all(
      Array.from({ length: 12 }, () => codeFor(svid, { csrDer: Buffer.from('30', 'hex') })),
    );
    assert.deepEqual([...new Set(codes)].sort(), ['CSR_MALFORMED', 'RATE_LIMITED']);
    // five at once, and one more in each half minute that it took
    assert.ok(
      codes.filter((code) => code === 'CSR_MALFORMED').length <=
        5 + (performance.now() - startedMs) / 30_000,
      codes.join(),
    );
  });
});

describe('who is no downstream CA', () => {
  test('refuses workloads without the flag, minted under the same name, or signed by a delegate', async () => {
    const plain = await svidOf(await entryOf('plain', { downstream: false }));
    assert.equal(await codeFor(plain), 'DOWNSTREAM_NOT_ALLOWED');
    await entryOf('named');
    assert.equal(
      await codeFor(await server.mint('spiffe://mesh.test/named')),
      'DOWNSTREAM_NOT_ALLOWED',
    );
    const plane = await server.mint('spiffe://mesh.test/plane');
    await server.admin('Delegations/CreateDelegation', {
      delegation: {
        clientId: plane.spiffeId,
        patterns: ['spiffe://mesh.test/named'],
        maxTtlSeconds: 3600,
      },
    });
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const signed = await unaryCall(server.client(plane), '/meshca.signing.v1.Signing/Sign', {
      requestId: uuidv7(),
      spiffeId: 'spiffe://mesh.test/named',
      csrDer: createCsr(privateKey),
    });
    assert.equal(
      await codeFor({
        spiffeId: signed.spiffeId,
        serial: signed.serial,
        chainDer: signed.chainDer,
        privateKey,
      }),
      'CALLER_NOT_ADMITTED',
    );
    assert.equal(await codeFor(plane), 'DOWNSTREAM_NOT_ALLOWED', 'nor the control plane itself');
  });

  test('an agent, an admin, the local socket and nobody', async () => {
    assert.equal(await codeFor(node), 'CALLER_NOT_ADMITTED');
    assert.equal(
      await codeFor(await server.mint('spiffe://mesh.test/admin', { admin: true })),
      'CALLER_NOT_ADMITTED',
    );
    assert.equal(
      await codeOf(unaryCall(server.adminClient(), call, { csrDer: await newCsr() })),
      'CALLER_NOT_ADMITTED',
    );
    assert.equal(
      await codeOf(unaryCall(server.client(), call, { csrDer: await newCsr() })),
      'UNAUTHENTICATED',
    );
  });

  test('refuses a workload whose entry lost the flag, changed its ID or node, has expired, or is gone', async () => {
    const changed = async (name: string, over: object): Promise<string> => {
      const entry = await entryOf(name);
      const svid = await svidOf(entry);
      await update(entry, over);
      return codeFor(svid);
    };
    assert.equal(await changed('flagless', { downstream: false }), 'DOWNSTREAM_NOT_ALLOWED');
    assert.equal(
      await changed('renamed', { spiffeId: 'spiffe://mesh.test/renamed-to' }),
      'DOWNSTREAM_NOT_ALLOWED',
    );
    assert.equal(
      await changed('moved', { parentId: 'spiffe://mesh.test/meshca/agent/node-2' }),
      'DOWNSTREAM_NOT_ALLOWED',
    );
    const soon = await entryOf('soon');
    const svid = await svidOf(soon);
    await update(soon, { expiresAt: Math.floor(Date.now() / 1000) + 5 });
    await until(
      async () =>
        (await codeFor(svid, { csrDer: Buffer.from('30', 'hex') })) === 'DOWNSTREAM_NOT_ALLOWED',
      'the expiry of the entry',
    );
    const entry = await entryOf('deleted');
    const held = await svidOf(entry);
    await server.admin('Entries/DeleteEntries', { ids: [entry.id] });
    assert.equal(await codeFor(held), 'DOWNSTREAM_NOT_ALLOWED');
  });

  test('a workload of a banned agent, and one whose SVID was revoked', async () => {
    const other = await server.joinAgent('node-3');
    const entry = await entryOf('on-banned', { parentId: other.spiffeId });
    const svid = await svidOf(entry, other);
    await server.admin('Agents/BanAgent', { spiffeId: other.spiffeId, reason: 'test' });
    assert.equal(await codeFor(svid), 'AGENT_BANNED');
    const revocable = await entryOf('revocable', { profile: 'revocable' });
    const gone = await svidOf(revocable);
    await server.admin('Certificates/RevokeCertificate', { serial: gone.serial });
    assert.equal(await codeFor(gone), 'CERTIFICATE_REVOKED');
  });

  test('an SVID that has expired is nobody', async () => {
    const entry = await entryOf('brief', { x509TtlSeconds: 10 });
    const svid = await svidOf(entry);
    await past(unwrap(parseCertificate(svid.chainDer[0] as Buffer)).notAfter);
    assert.match(await codeFor(svid), /CERTIFICATE_EXPIRED|UNREACHABLE|UNAUTHENTICATED/);
  });
});

describe('when the ground goes', () => {
  const rootCrl = async (): Promise<ReadonlySet<string>> => {
    const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'root' });
    const response = await fetch(
      `http://127.0.0.1:${server.server.httpPorts.plain}/crl/${authorities[0]!.id}.crl`,
    );
    return new Set(unwrap(parseCrl(Buffer.from(await response.arrayBuffer()))).revoked.keys());
  };

  test('the CA is revoked with the reason when its entry or flag is removed or its agent banned', async () => {
    const third = await server.joinAgent('node-4');
    const [deleted, flagless, banned, kept] = [
      await entryOf('end-deleted'),
      await entryOf('end-flag'),
      await entryOf('end-ban', { parentId: third.spiffeId }),
      await entryOf('end-kept'),
    ];
    const serials: string[] = [];
    for (const entry of [deleted, flagless, banned, kept])
      serials.push((await ask(await svidOf(entry, entry === banned ? third : node))).serial);
    await server.admin('Entries/DeleteEntries', { ids: [deleted.id] });
    await update(flagless, { downstream: false });
    await server.admin('Agents/BanAgent', { spiffeId: third.spiffeId, reason: 'test' });
    await update(kept, { hint: 'another hint' });
    await until(
      async () =>
        (
          await Promise.all(
            serials.slice(0, 3).map(async (serial) => (await rootCrl()).has(serial)),
          )
        ).every(Boolean),
      'three revocations',
    );
    assert.equal(
      (await rootCrl()).has(serials[3] as string),
      false,
      'a change that leaves the ground standing ends nothing',
    );
    const ended = (await records('certificate.revoked'))
      .filter(({ actor }) => actor === 'server')
      .map(({ canonical }) => canonical.toString('utf8'));
    assert.equal(ended.length, 3);
    for (const code of ['DOWNSTREAM_NOT_ALLOWED', 'AGENT_BANNED'])
      assert.ok(
        ended.some((text) => text.includes(code)),
        code,
      );
    assert.ok(
      (await server.admin('Certificates/GetCertificate', { serial: serials[0]! })).revokedAt > 0,
    );
  });

  test('an operator can revoke one by its serial; the certificate of an authority of ours he can not', async () => {
    const signed = await ask(await svidOf(await entryOf('by-hand')));
    await server.admin('Certificates/RevokeCertificate', {
      serial: signed.serial,
      reason: 'keyCompromise',
    });
    await until(async () => (await rootCrl()).has(signed.serial), 'the revocation');
    const { certificates } = await server.admin('Certificates/ListCertificates', {
      filter: { spiffeId: 'spiffe://mesh.test', kind: 'authority' },
    });
    const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'issuing' });
    const own = unwrap(parseCertificate(authorities[0]!.certificateDer)).serialHex;
    assert.ok(certificates.some(({ serial }) => serial === own));
    assert.equal(
      await codeOf(server.admin('Certificates/RevokeCertificate', { serial: own })),
      'REVOCATION_NOT_POSSIBLE',
    );
  });

  test('a row that was made to look like a downstream CA has no authority of ours revoked', async () => {
    const { authorities } = await server.admin('Authorities/ListAuthorities', { kind: 'issuing' });
    const own = unwrap(parseCertificate(authorities[0]!.certificateDer)).serialHex;
    const database = new DatabaseSync(join(server.config.dataDir, 'meshca.db'), {
      timeout: patienceMs,
    });
    try {
      database
        .prepare("UPDATE certificates SET entry_id = 'gone', holder = 'nobody' WHERE serial = ?")
        .run(Buffer.from(own, 'hex'));
    } finally {
      database.close();
    }
    // the watch looks at all at once: what it has revoked of one shows what it does not of the other
    const entry = await entryOf('look-now');
    const { serial } = await ask(await svidOf(entry));
    await server.admin('Entries/DeleteEntries', { ids: [entry.id] });
    await until(async () => (await rootCrl()).has(serial), 'the revocation of the other');
    assert.equal((await rootCrl()).has(own), false);
    assert.ok((await server.mint('spiffe://mesh.test/goes-on')).serial.length > 0);
  });
});
