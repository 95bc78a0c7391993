import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { unwrap } from '../../../src/common/errors/index.ts';
import {
  certificatesFromPem,
  parseCertificate,
  pemDecode,
  pemEncode,
  pkcs8Of,
  sha256Hex,
} from '../../../src/common/x509/index.ts';
import { createCompanyCa } from '../../support/company-ca.ts';
import {
  connected,
  nodeAt,
  refused,
  rotateIssuing,
  shownIssuer,
  tellsNothing,
  toldBy,
  wakesAfter,
} from '../../support/first-contact.ts';
import { authorityOf, poseAsServer, startJunction, type Impostor } from '../../support/impostor.ts';
import { startOpenBao, upstreamOf } from '../../support/openbao.ts';
import { startTestServer, type TestServer } from '../../support/server.ts';
import { until } from '../../support/until.ts';
import { makeKey, serverAuthorityOid, type TestKey } from '../../support/x509.ts';

/** A CA of another make, whose root marks nobody. */
interface ForeignCa extends AsyncDisposable {
  readonly dir: string;
  /** What stands above all that it certifies, the root last. */
  readonly aboveDer: readonly Buffer[];
  /** The section `authorities` of a server below it. */
  readonly authorities: object;
  certify(csrDer: Buffer): Promise<Buffer>;
  /** Gives the server that waits for it its next intermediate. */
  certifyServer(server: TestServer): Promise<void>;
}

const dersOf = (pem: string): readonly Buffer[] => unwrap(certificatesFromPem(pem));

async function companyCa(): Promise<ForeignCa> {
  const ca = await createCompanyCa();
  const aboveDer = [...dersOf(ca.subPem), ...dersOf(ca.rootPem)];
  const certify = async (csrDer: Buffer): Promise<Buffer> =>
    dersOf(await ca.sign(csrDer))[0] as Buffer;
  return {
    dir: ca.dir,
    aboveDer,
    authorities: { source: 'external' },
    certify,
    certifyServer: async (server) => {
      const { csrDer, authority } = await server.admin('AuthoritySources/CreateAuthorityCsr', {
        kind: 'issuing',
      });
      const { warnings } = await server.admin('AuthoritySources/ImportAuthority', {
        id: authority!.id,
        certificatesDer: [await certify(csrDer), ...aboveDer],
      });
      assert.match(warnings.join('\n'), /give them bootstrap\.issuerFingerprint/);
    },
    [Symbol.asyncDispose]: () => ca[Symbol.asyncDispose](),
  };
}

async function openBao(): Promise<ForeignCa> {
  const bao = await startOpenBao();
  return {
    dir: bao.dir,
    aboveDer: dersOf(bao.rootPem),
    authorities: { source: 'upstream', upstream: upstreamOf(bao) },
    certify: async (csrDer) => {
      const { data } = await bao.api('POST', 'pki/root/sign-intermediate', {
        csr: pemEncode('CERTIFICATE REQUEST', csrDer),
        use_csr_values: true,
        max_path_length: 0,
        ttl: '2000h',
      });
      return dersOf(data.certificate)[0] as Buffer;
    },
    certifyServer: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => bao[Symbol.asyncDispose](),
  };
}

/** A CSR that asks for a CA with the mark of a server's authorities. */
function markedCsr(dir: string, { privateKey }: TestKey): Buffer {
  const keyFile = join(dir, 'impostor.key');
  writeFileSync(keyFile, pemEncode('PRIVATE KEY', pkcs8Of(privateKey)));
  const out = join(dir, 'impostor.csr');
  const asked = [
    'basicConstraints=critical,CA:TRUE,pathlen:0',
    'keyUsage=critical,keyCertSign,cRLSign',
    `${serverAuthorityOid}=DER:0500`,
  ].flatMap((each) => ['-addext', each]);
  execFileSync('openssl', [
    ...['req', '-new', '-key', keyFile, '-subj', '/O=Company/CN=Another CA', '-out', out],
    ...asked,
  ]);
  return unwrap(pemDecode(readFileSync(out, 'utf8')))[0]!.der;
}

for (const [name, startCa] of [
  ['a company CA', companyCa],
  ['OpenBao', openBao],
] as const)
  describe(`below the root of ${name}, which marks nobody`, () => {
    let ca: ForeignCa;
    let server: TestServer;
    let impostor: Impostor;
    before(async () => {
      ca = await startCa();
      server = await startTestServer({
        config: {
          authorities: ca.authorities,
          issuance: { bundleRefreshHintSeconds: 1 },
          rotation: { automatic: false },
        },
      });
      await ca.certifyServer(server);
      await until(() => server.server.port > 0, 'the server has its intermediate');
      const key = makeKey();
      const authority = authorityOf(key, await ca.certify(markedCsr(ca.dir, key)));
      impostor = await poseAsServer(authority, ca.aboveDer);
    });
    after(async () => {
      await impostor?.[Symbol.asyncDispose]();
      await server?.[Symbol.asyncDispose]();
      await ca?.[Symbol.asyncDispose]();
    });
    const real = (): string => `127.0.0.1:${server.server.port}`;
    const rootFingerprint = (): string => sha256Hex(ca.aboveDer.at(-1) as Buffer);
    /** What "meshca token create" prints for a node. */
    const printed = async (): Promise<object> => {
      const { rootFingerprints, issuerFingerprints } = await server.admin(
        'Tokens/CreateJoinToken',
        { agentName: 'printed' },
      );
      assert.deepEqual(rootFingerprints, [rootFingerprint()]);
      return {
        rootFingerprint: rootFingerprints[0],
        issuerFingerprint: issuerFingerprints.join(','),
      };
    };

    test('an agent with the printed fingerprints believes the server, and has nothing to say', async () => {
      await using node = await nodeAt(server, real(), await printed());
      await node.start();
      await connected(node);
      await tellsNothing(node);
    });

    test('without that of the issuer an agent says whom it trusts, and then trusts no other', async () => {
      await using stack = new AsyncDisposableStack();
      const junction = stack.use(await startJunction(server.server.port));
      const node = stack.use(
        await nodeAt(server, junction.address, { rootFingerprint: rootFingerprint() }),
      );
      await node.start();
      await connected(node);
      const told = toldBy(node);
      assert.match(told, /was believed because of its root alone, which marks no issuers/);
      assert.ok(told.includes(await shownIssuer(server)), told);
      junction.turn(Number(impostor.address.split(':')[1]));
      await refused(node);
      await node.stop();
      await node.start();
      await refused(node);
      assert.deepEqual([impostor.fake.sessions.length, impostor.fake.attestations.length], [0, 0]);
      junction.turn(server.server.port);
      await connected(node);
    });

    test('another CA below that root gets no join token from an agent with the fingerprints', async () => {
      await using node = await nodeAt(server, impostor.address, await printed());
      await node.start();
      await refused(node);
      assert.deepEqual(impostor.fake.attestations, []);
    });

    test('without that of the issuer nothing keeps a node from the other CA, and it says so', async () => {
      await using node = await nodeAt(server, impostor.address, {
        rootFingerprint: rootFingerprint(),
      });
      await node.start();
      await until(() => impostor.fake.attestations.length > 0, 'an attestation');
      const doubt = /any CA below that root could have answered/;
      await until(() => doubt.test(toldBy(node)), 'the doubt');
      const told = toldBy(node);
      assert.ok(told.includes(impostor.issuerFingerprint), told);
    });

    test('an agent that slept through rotations of the intermediate wakes and walks to the new issuer', async () => {
      await using stack = new AsyncDisposableStack();
      const junction = stack.use(await startJunction(server.server.port));
      const node = stack.use(await nodeAt(server, junction.address, await printed()));
      await node.start();
      await connected(node);
      await wakesAfter({ node, server, junction }, async () => {
        for (let round = 0; round < 2; round += 1)
          await rotateIssuing(server, () => ca.certifyServer(server));
      });
      await tellsNothing(node);
      junction.turn(Number(impostor.address.split(':')[1]));
      await refused(node);
    });

    test('the mark that the other CA got from its request counts for nothing', () => {
      assert.ok(!unwrap(parseCertificate(ca.aboveDer.at(-1) as Buffer)).serverAuthority);
      assert.ok(impostor.authority.parsed.serverAuthority);
    });
  });
