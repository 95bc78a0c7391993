import assert from 'node:assert/strict';
import { generateKeyPairSync } from 'node:crypto';
import { connect as tlsConnect } from 'node:tls';
import { after, before, describe, test } from 'node:test';
import { Metadata, type Client, type ServiceError } from '@grpc/grpc-js';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import {
  certificatesToPem,
  createCsr,
  derWriter,
  generateKeyPairAsync,
  pemEncode,
  pkcs8Of,
} from '../../../src/common/x509/index.ts';
import { fromServiceError } from '../../../src/common/wire/index.ts';
import { loadServerConfig } from '../../../src/config/index.ts';
import {
  allMethods,
  attestByToken,
  codeOf,
  startTestServer,
  unaryCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';

const sign = '/meshca.issuer.v1.AgentIssuer/SignX509Svids';
let t: TestServer;
let agent: Credential;
let client: Client;
let csrDer: Buffer;

before(async () => {
  t = await startTestServer({ config: { issuance: { crlBaseUrl: 'http://ca.mesh.test/crl' } } });
  agent = await t.joinAgent('node-1');
  client = t.client(agent);
  csrDer = createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
  const { results } = await t.admin('Entries/CreateEntries', {
    entries: [
      {
        id: 'web',
        spiffeId: 'spiffe://mesh.test/web',
        parentId: agent.spiffeId,
        selectors: ['unix:uid:1000'],
      },
      {
        id: 'elsewhere',
        spiffeId: 'spiffe://mesh.test/elsewhere',
        parentId: 'spiffe://mesh.test/meshca/agent/other',
        selectors: ['unix:uid:1000'],
      },
      {
        id: 'revocable',
        spiffeId: 'spiffe://mesh.test/revocable',
        parentId: agent.spiffeId,
        selectors: ['unix:uid:1001'],
        profile: 'revocable',
      },
    ],
  });
  for (const result of results)
    assert.equal(result.outcome, 'entry', JSON.stringify(result.problem));
});
after(() => t?.[Symbol.asyncDispose]());

const item = (over: object): object => ({ requestId: uuidv7(), entryId: 'web', csrDer, ...over });
async function refusal(over: object): Promise<string> {
  const { results } = await unaryCall(client, sign, { items: [item(over)] });
  const [result] = results;
  if (result!.svid) return 'issued';
  assert.ok(
    result!.refusal!.next.length > 10 &&
      result!.refusal!.message.length > 5 &&
      result!.refusal!.refusalId.length > 10,
  );
  return result!.refusal!.code;
}

describe('an agent that asks for what it can not have gets a stable code', () => {
  const flipLast = (bytes: Buffer): Buffer =>
    Buffer.concat([bytes.subarray(0, -1), Buffer.from([bytes[bytes.length - 1]! ^ 1])]);
  const cases: readonly (readonly [what: string, over: () => object, code: string])[] = [
    ['a proper request', () => ({}), 'issued'],
    ['a revocable one', () => ({ entryId: 'revocable' }), 'issued'],
    ['no CSR', () => ({ csrDer: Buffer.alloc(0) }), 'CSR_MALFORMED'],
    [
      'a CSR with a trailing byte',
      () => ({ csrDer: Buffer.concat([csrDer, Buffer.from([0])]) }),
      'CSR_MALFORMED',
    ],
    ['a truncated CSR', () => ({ csrDer: csrDer.subarray(0, 40) }), 'CSR_MALFORMED'],
    [
      'an oversized CSR',
      () => ({ csrDer: derWriter.sequence(Buffer.alloc(70_000)) }),
      'CSR_MALFORMED',
    ],
    [
      'a CSR with a broken signature',
      () => ({ csrDer: flipLast(csrDer) }),
      'CSR_SIGNATURE_INVALID',
    ],
    ['a CSR signed with another key', () => ({ csrDer: mixed() }), 'CSR_SIGNATURE_INVALID'],
    [
      'a CSR that names another identity',
      () => ({ csrDer: createCsr(newKey(), { uriSan: 'spiffe://mesh.test/admin' }) }),
      'CSR_IDENTITY_MISMATCH',
    ],
    ['a weak RSA key', () => ({ csrDer: rsaCsr(1024) }), 'KEY_UNSUPPORTED'],
    ['an unknown entry', () => ({ entryId: 'nothing' }), 'ENTRY_NOT_AUTHORIZED'],
    ['the entry of another node', () => ({ entryId: 'elsewhere' }), 'ENTRY_NOT_AUTHORIZED'],
    ['a life that is too short', () => ({ ttlSeconds: 1 }), 'TTL_OUT_OF_RANGE'],
    ['a life that is too long', () => ({ ttlSeconds: 90_000 }), 'TTL_OUT_OF_RANGE'],
  ];
  for (const [what, over, code] of cases)
    test(`${what}: ${code}`, async () => assert.equal(await refusal(over()), code));

  test('one bad item disturbs no other of its batch', async () => {
    const { results } = await unaryCall(client, sign, {
      items: [
        item({}),
        item({ csrDer: Buffer.from('junk') }),
        item({ csrDer: createCsr(newKey()) }),
      ],
    });
    assert.deepEqual(
      results.map((result) => result.outcome),
      ['svid', 'refusal', 'svid'],
    );
  });

  test('more than 500 items are refused whole', async () => {
    assert.equal(
      await codeOf(unaryCall(client, sign, { items: Array.from({ length: 501 }, () => item({})) })),
      'REQUEST_TOO_LARGE',
    );
  });
});

const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
function rsaCsr(bits: number): Buffer {
  // a 2048-bit request with its modulus cut would not parse: the key type is judged before the
  // proof
  return Buffer.from(
    csrWithSpki(
      generateKeyPairSync('rsa', { modulusLength: bits }).publicKey.export({
        format: 'der',
        type: 'spki',
      }),
    ),
  );
}
function mixed(): Buffer {
  return csrWithSpki(
    generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
      format: 'der',
      type: 'spki',
    }),
  );
}
/** A request whose key is not the one that signed it. */
function csrWithSpki(spki: Buffer): Buffer {
  const info = derWriter.sequence(
    derWriter.integer(0),
    derWriter.sequence(),
    spki,
    derWriter.context(0),
  );
  return derWriter.sequence(
    info,
    derWriter.sequence(derWriter.oid('1.2.840.10045.4.3.2')),
    derWriter.bitString(Buffer.from('3006020101020101', 'hex')),
  );
}

describe('join tokens', () => {
  test('the same token and key get the same certificate again, another key is refused', async () => {
    const { token } = await t.admin('Tokens/CreateJoinToken', { agentName: 'node-2' });
    const key = newKey();
    const requestId = uuidv7();
    const first = await attestByToken(t.client(), token, { key, requestId });
    const again = await attestByToken(t.client(), token, { key, requestId });
    assert.equal(again.serial, first.serial);
    assert.equal(await codeOf(attestByToken(t.client(), token)), 'JOIN_TOKEN_INVALID');
  });

  test('an unknown token is refused and costs no record of its own', async () => {
    const before = (await t.admin('Audit/ListAuditRecords', { page: { size: 500 } })).records
      .length;
    for (let i = 0; i < 5; i += 1)
      assert.equal(await codeOf(attestByToken(t.client(), 'not-a-token')), 'JOIN_TOKEN_INVALID');
    assert.equal(
      (await t.admin('Audit/ListAuditRecords', { page: { size: 500 } })).records.length,
      before,
    );
  });
});

describe('entries, delegations and configuration', () => {
  const problem = async (entry: object): Promise<string> => {
    const { results } = await t.admin('Entries/CreateEntries', {
      entries: [{ parentId: agent.spiffeId, selectors: ['unix:uid:1'], ...entry }],
    });
    return results[0]!.problem?.code ?? 'created';
  };
  test('an entry with an invalid, foreign, reserved or weakly selected identity is refused', async () => {
    assert.equal(await problem({ spiffeId: 'spiffe://mesh.test/a//b' }), 'SPIFFE_ID_INVALID');
    assert.equal(await problem({ spiffeId: 'spiffe://other.test/a' }), 'TRUST_DOMAIN_FOREIGN');
    assert.equal(
      await problem({ spiffeId: 'spiffe://mesh.test/meshca/agent/x' }),
      'SPIFFE_ID_RESERVED',
    );
    assert.equal(
      await problem({ spiffeId: 'spiffe://mesh.test/weak', selectors: ['unix:path:/usr/bin/app'] }),
      'SELECTORS_WEAK',
    );
    assert.equal(
      await problem({
        spiffeId: 'spiffe://mesh.test/weak',
        selectors: ['unix:path:/usr/bin/app'],
        allowWeakSelectors: true,
      }),
      'created',
    );
    assert.equal(
      await problem({
        spiffeId: 'spiffe://mesh.test/user/{unix.user}',
        placeholders: [{ placeholder: 'unix.user', allowed: ['../admin'] }],
      }),
      'TEMPLATE_INVALID',
    );
    assert.equal(
      await codeOf(
        t.admin('Entries/CreateEntries', {
          entries: [
            { spiffeId: 'spiffe://mesh.test/x', parentId: agent.spiffeId, selectors: ['nonsense'] },
          ],
        }),
      ),
      'SELECTOR_INVALID',
    );
  });

  test('an identity outside a delegation is refused, and a wildcard crosses no segment', async () => {
    const plane = await t.mint('spiffe://mesh.test/plane');
    await t.admin('Delegations/CreateDelegation', {
      delegation: {
        clientId: plane.spiffeId,
        patterns: ['spiffe://mesh.test/ns/*/sa/*'],
        maxTtlSeconds: 600,
      },
    });
    const as = t.client(plane);
    const ask = (spiffeId: string, over: object = {}): Promise<string> =>
      codeOf(
        unaryCall(as, '/meshca.signing.v1.Signing/Sign', {
          requestId: uuidv7(),
          spiffeId,
          csrDer: createCsr(newKey()),
          ...over,
        }),
      );
    assert.equal(await ask('spiffe://mesh.test/ns/a/sa/b'), 'resolved');
    assert.equal(await ask('spiffe://mesh.test/ns/a/b/sa/c'), 'OUTSIDE_DELEGATION');
    assert.equal(await ask('spiffe://mesh.test/other'), 'OUTSIDE_DELEGATION');
    assert.equal(
      await ask('spiffe://mesh.test/ns/a/sa/b', { ttlSeconds: 601 }),
      'TTL_OUT_OF_RANGE',
    );
    assert.equal(
      await ask('spiffe://mesh.test/ns/a/sa/b', { dnsNames: ['evil.test'] }),
      'OUTSIDE_DELEGATION',
    );
  });

  test('a typo in the configuration is refused with the nearest key', async () => {
    const loaded = await loadServerConfig({
      env: { MESHCA_SERVER_TRUST_DOMAIN: 'mesh.test', MESHCA_SERVER_LISTEN_PROT: '8444' },
    });
    assert.ok(!loaded.ok);
    assert.equal(loaded.error.code, 'CONFIG_INVALID');
    const [nearest] = /MESHCA_SERVER_LISTEN_PORT/.exec(loaded.error.message) ?? [];
    assert.ok(nearest !== undefined, loaded.error.message);
    const corrected = await loadServerConfig({
      env: { MESHCA_SERVER_TRUST_DOMAIN: 'mesh.test', [nearest]: '8444' },
    });
    assert.equal(corrected.ok && corrected.value.listen.port, 8444);
  });

  test('a life that would be cut by its issuer is refused at start, and the message names the numbers', async () => {
    const loaded = await loadServerConfig({
      env: {
        MESHCA_SERVER_TRUST_DOMAIN: 'mesh.test',
        MESHCA_SERVER_AUTHORITIES_ISSUING_LIFE_DAYS: '2',
      },
    });
    assert.ok(!loaded.ok);
    assert.match(loaded.error.message, /authorities\.issuing\.lifeDays/);
  });
});

describe('connections and time', () => {
  test('a stream ends when the certificate of its connection does, and no session is ever resumed', async () => {
    await using short = await startTestServer({
      config: { issuance: { minimumTtlSeconds: 2, agentTtlSeconds: 12, defaultTtlSeconds: 12 } },
    });
    const brief = await short.joinAgent('brief');
    const method = allMethods()['/meshca.issuer.v1.AgentIssuer/Sync']!;
    const as = short.client(brief);
    const call = as.makeBidiStreamRequest(
      method.path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => object,
      new Metadata(),
    );
    const ended = new Promise<string>((resolve) =>
      call.on('error', (error: ServiceError) => resolve(fromServiceError(error).code)),
    );
    call.on('data', () => {});
    call.write({ hello: { protocolVersion: 1, agentVersion: 'test', bundleSequence: 0 } });
    const options = {
      host: '127.0.0.1',
      port: short.server.port,
      ca: certificatesToPem(short.rootsDer),
      cert: certificatesToPem(brief.chainDer),
      key: pemEncode('PRIVATE KEY', pkcs8Of(brief.privateKey)),
      servername: 'localhost',
      ALPNProtocols: ['h2'],
    };
    // OpenSSL still hands out (stateful) tickets without SSL_OP_NO_TICKET's stateless ones: what
    // counts is that none is taken back
    const first = tlsConnect(options);
    first.on('error', () => {});
    const session = await new Promise<Buffer>((resolve) => first.once('session', resolve));
    const second = tlsConnect({ ...options, session });
    second.on('error', () => {});
    await new Promise((resolve) => second.once('secureConnect', resolve));
    assert.equal(second.isSessionReused(), false);
    assert.match(await ended, /CERTIFICATE_EXPIRED|UNREACHABLE|CANCELLED/);
    const late = tlsConnect({ ...options, session });
    late.on('error', () => {});
    const reused = await new Promise<boolean>((resolve) => {
      late.once('secureConnect', () => resolve(late.isSessionReused()));
      late.once('error', () => resolve(false));
    });
    assert.equal(reused, false);
    for (const socket of [first, second, late]) socket.destroy();
    assert.equal(
      await codeOf(unaryCall(short.client(brief), sign, { items: [] })),
      'CERTIFICATE_EXPIRED',
    );
  });

  test('TLS below 1.3 and protocols other than h2 are turned away', async () => {
    const old = await new Promise<string>((resolve) => {
      const socket = tlsConnect(
        {
          host: '127.0.0.1',
          port: t.server.port,
          ca: certificatesToPem(t.rootsDer),
          servername: 'localhost',
          ALPNProtocols: ['h2'],
          maxVersion: 'TLSv1.2',
        },
        () => resolve('connected'),
      );
      socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? 'error'));
    });
    assert.match(old, /PROTOCOL_VERSION|ECONNRESET|ERR_SSL/);
  });

  test('the key exchange is post-quantum hybrid where the client offers it', async () => {
    const socket = tlsConnect({
      host: '127.0.0.1',
      port: t.server.port,
      ca: certificatesToPem(t.rootsDer),
      servername: 'localhost',
      ALPNProtocols: ['h2'],
      ecdhCurve: 'X25519MLKEM768',
    });
    await new Promise((resolve, reject) => {
      socket.once('secureConnect', resolve);
      socket.once('error', reject);
    });
    assert.equal(socket.getProtocol(), 'TLSv1.3');
    socket.destroy();
  });
});
