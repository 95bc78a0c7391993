import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { uuidv7 } from '../../../src/common/runtime/index.ts';
import { createCsr, generateKeyPairAsync } from '../../../src/common/x509/index.ts';
import { fromServiceError } from '../../../src/common/wire/index.ts';
import { admittedClasses, rowAt } from '../../../src/api/index.ts';
import { callerClasses, type CallerClass } from '../../../src/services/index.ts';
import {
  allMethods,
  codeOf,
  startTestServer,
  unaryCall,
  untypedCall,
  type Credential,
  type TestServer,
} from '../../support/server.ts';
import { patienceMs } from '../../support/until.ts';

const delegateId = 'spiffe://mesh.test/control-plane';
const refusals = ['CALLER_NOT_ADMITTED', 'UNAUTHENTICATED'];

let t: TestServer;
const clients = {} as Record<CallerClass, Client>;
let agent: Credential;
let delegate: Credential;

before(async () => {
  t = await startTestServer();
  agent = await t.joinAgent('node-1');
  delegate = await t.mint(delegateId);
  await t.admin('Delegations/CreateDelegation', {
    delegation: {
      clientId: delegateId,
      patterns: ['spiffe://mesh.test/ns/**'],
      maxTtlSeconds: 3600,
    },
  });
  clients.anonymous = t.client();
  clients.agent = t.client(agent);
  clients.workload = t.client(await t.mint('spiffe://mesh.test/web'));
  clients.delegate = t.client(delegate);
  clients.admin = t.client(await t.mint('spiffe://mesh.test/admin/alice', { admin: true }));
  clients.local = new Client(`unix:${t.server.adminSocketPath}`, credentials.createInsecure(), {
    'grpc.default_authority': 'localhost',
  });
});
after(async () => {
  clients.local?.close();
  await t?.[Symbol.asyncDispose]();
});

describe('every RPC against every class of caller', () => {
  for (const [path, method] of Object.entries(allMethods())) {
    for (const caller of callerClasses) {
      const admitted = admittedClasses(rowAt(path)).includes(caller);
      test(`${path.split('.').at(-1)} ${admitted ? 'admits' : 'refuses'} ${caller}`, async () => {
        const code = method.responseStream
          ? await streamCode(clients[caller], path, admitted ? 5_000 : patienceMs)
          : await codeOf(untypedCall(clients[caller], path));
        if (admitted) assert.ok(!refusals.includes(code), code);
        else assert.equal(code, caller === 'anonymous' ? 'UNAUTHENTICATED' : 'CALLER_NOT_ADMITTED');
      });
    }
  }
});

/**
 * Opens a stream, sends an empty message, and gives the code it ends with: that of the deadline,
 * where it would stay open.
 */
function streamCode(client: Client, path: string, deadlineMs = patienceMs): Promise<string> {
  const method = allMethods()[path];
  if (method === undefined) throw new Error(path);
  return new Promise((resolve) => {
    const call = client.makeBidiStreamRequest(
      path,
      method.requestSerialize as (value: object) => Buffer,
      method.responseDeserialize as (bytes: Buffer) => object,
      new Metadata(),
      { deadline: Date.now() + deadlineMs },
    );
    call.on('data', () => {});
    call.on('error', (error: ServiceError) => resolve(fromServiceError(error).code));
    call.on('end', () => resolve('ended'));
    call.write({});
    // one request is all that such a method takes: it begins when the caller has said so
    if (!method.requestStream) call.end();
  });
}

describe('a caller who poses as another', () => {
  test('a delegated certificate is no agent, admin or delegate, whatever its name', async () => {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const signed = await unaryCall(clients.delegate, '/meshca.signing.v1.Signing/Sign', {
      requestId: uuidv7(),
      spiffeId: 'spiffe://mesh.test/ns/a/sa/b',
      csrDer: createCsr(privateKey),
    });
    await t.admin('Delegations/CreateDelegation', {
      delegation: {
        clientId: 'spiffe://mesh.test/ns/a/sa/b',
        patterns: ['spiffe://mesh.test/**'],
        maxTtlSeconds: 3600,
      },
    });
    const leaf = t.client({
      spiffeId: signed.spiffeId,
      serial: signed.serial,
      chainDer: signed.chainDer,
      privateKey,
    });
    for (const path of Object.keys(allMethods())) {
      if (allMethods()[path]?.responseStream) continue;
      assert.equal(await codeOf(untypedCall(leaf, path)), 'CALLER_NOT_ADMITTED', path);
    }
  });

  test('no mint, delegation, entry or template gives an ID of the CA', async () => {
    const { privateKey } = await generateKeyPairAsync('ec-p256');
    const csrDer = createCsr(privateKey);
    for (const spiffeId of [
      'spiffe://mesh.test/meshca/server',
      'spiffe://mesh.test/meshca/agent/node-1',
      'spiffe://mesh.test/meshca',
    ]) {
      assert.equal(
        await codeOf(
          t.admin('Certificates/MintX509Svid', { spiffeId, csrDer, requestId: uuidv7() }),
        ),
        'SPIFFE_ID_RESERVED',
        spiffeId,
      );
      assert.match(
        await codeOf(
          unaryCall(clients.delegate, '/meshca.signing.v1.Signing/Sign', {
            requestId: uuidv7(),
            spiffeId,
            csrDer,
          }),
        ),
        /OUTSIDE_DELEGATION|SPIFFE_ID_RESERVED/,
      );
      const { results } = await t.admin('Entries/CreateEntries', {
        entries: [{ spiffeId, parentId: agent.spiffeId, selectors: ['unix:uid:1'] }],
      });
      assert.equal(results[0]!.problem?.code, 'SPIFFE_ID_RESERVED');
    }
    assert.match(
      await codeOf(
        t.admin('Delegations/CreateDelegation', {
          delegation: {
            clientId: delegateId,
            patterns: ['spiffe://mesh.test/meshca/**'],
            maxTtlSeconds: 60,
          },
        }),
      ),
      /SPIFFE_ID_RESERVED|PATTERN_INVALID/,
    );
  });

  test('a known name with another key, or a known serial of another CA, is refused', async () => {
    const other = await startTestServer();
    try {
      const foreign = await other.joinAgent('node-1');
      assert.equal(
        await codeOf(
          unaryCall(t.client({ ...foreign }), '/meshca.issuer.v1.AgentIssuer/SignX509Svids'),
        ),
        'CERTIFICATE_UNKNOWN',
      );
    } finally {
      await other[Symbol.asyncDispose]();
    }
  });

  test('a banned agent loses its connection and calls, and attests again only after eviction', async () => {
    const banned = await t.joinAgent('node-banned');
    const client = t.client(banned);
    const sign = async (as: Client): Promise<string> => {
      const csrDer = createCsr((await generateKeyPairAsync('ec-p256')).privateKey);
      return codeOf(
        unaryCall(as, '/meshca.issuer.v1.AgentIssuer/SignX509Svids', {
          items: [{ requestId: uuidv7(), entryId: 'none', csrDer }],
        }),
      );
    };
    assert.equal(await sign(client), 'resolved');
    const stream = streamCode(client, '/meshca.issuer.v1.AgentIssuer/Sync');
    await t.admin('Agents/BanAgent', { spiffeId: banned.spiffeId, reason: 'test' });
    assert.notEqual(await stream, 'ended');
    assert.equal(await sign(t.client(banned)), 'AGENT_BANNED');
    assert.equal(await codeOf(t.joinAgent('node-banned')), 'AGENT_BANNED');
    await t.admin('Agents/EvictAgent', { spiffeId: banned.spiffeId });
    assert.equal((await t.joinAgent('node-banned')).spiffeId, banned.spiffeId);
    assert.notEqual(await sign(t.client(banned)), 'resolved');
  });

  test('once a delegation is revoked, it signs nothing', async () => {
    const temporary = await t.mint('spiffe://mesh.test/temporary-plane');
    const { id } = await t.admin('Delegations/CreateDelegation', {
      delegation: {
        clientId: temporary.spiffeId,
        patterns: ['spiffe://mesh.test/tmp/*'],
        maxTtlSeconds: 600,
      },
    });
    const client = t.client(temporary);
    const ask = async (): Promise<string> =>
      codeOf(
        unaryCall(client, '/meshca.signing.v1.Signing/Sign', {
          requestId: uuidv7(),
          spiffeId: 'spiffe://mesh.test/tmp/a',
          csrDer: createCsr((await generateKeyPairAsync('ec-p256')).privateKey),
        }),
      );
    assert.equal(await ask(), 'resolved');
    await t.admin('Delegations/RevokeDelegation', { id });
    assert.equal(await ask(), 'CALLER_NOT_ADMITTED');
  });
});
