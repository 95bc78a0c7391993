import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { unwrap, type PkiError } from '../../../../src/common/errors/index.ts';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import {
  certificatesFromPem,
  certificatesToPem,
  sha256Hex,
} from '../../../../src/common/x509/index.ts';
import { vaultUpstream } from '../../../../src/issuance/index.ts';
import { startOpenBao, upstreamOf, type OpenBao } from '../../../support/openbao.ts';
import { startTestServer, type TestServer } from '../../../support/server.ts';
import { createTokens, type TestTokens } from '../../../support/softhsm.ts';
import { createIntermediate, createRoot } from '../../../support/test-pki.ts';
import { until } from '../../../support/until.ts';

const digestOf = (pem: string): string => sha256Hex(unwrap(certificatesFromPem(pem))[0] as Buffer);

describe('an OpenBao whose root changed', () => {
  let bao: OpenBao;
  let tokens: TestTokens;
  let server: TestServer;
  let present = '';
  let changed = '';
  const start = (rootSha256: readonly string[], dir?: string): Promise<TestServer> =>
    startTestServer({
      tokens,
      ...(dir === undefined ? {} : { dir }),
      config: { authorities: { source: 'upstream', upstream: upstreamOf(bao, { rootSha256 }) } },
    });
  before(async () => {
    [bao, tokens] = await Promise.all([startOpenBao(), createTokens()]);
    server = await start([]);
    await until(() => server.server.port > 0, 'a first intermediate');
    present = digestOf(bao.rootPem);
    const { data } = await bao.api('POST', 'pki/root/generate/internal', {
      common_name: 'Another Root',
      key_type: 'ec',
      key_bits: 384,
      ttl: '80000h',
    });
    changed = digestOf(data.certificate);
    await bao.api('POST', 'pki/config/issuers', { default: data.issuer_id });
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await tokens?.[Symbol.asyncDispose]();
    await bao?.[Symbol.asyncDispose]();
  });

  const request = (of: TestServer) => of.admin('AuthoritySources/RequestAuthority');
  const roots = async (of: TestServer): Promise<readonly string[]> =>
    (await of.admin('Authorities/GetBundle')).rootsDer.map(sha256Hex).toSorted();
  const noteOf = async (of: TestServer, wanted: string) =>
    (await of.admin('Authorities/GetRotationStatus')).notes.find(({ code }) => code === wanted);
  const saysBoth = ({ code, message, next }: PkiError): boolean =>
    code === 'CHAIN_UNTRUSTED' &&
    message.includes(present) &&
    message.includes(changed) &&
    /authorities\.upstream\.rootSha256/.test(next) &&
    /find out who changed the root/.test(next);

  test('is refused with the digests of both roots, whether roots are named or not, while issuing goes on', async () => {
    await assert.rejects(request(server), saysBoth);
    assert.ok((await server.mint('spiffe://mesh.test/goes-on')).serial.length > 0);
    await server.stop();
    await using named = await start([present], server.dir);
    await named.admin('Authorities/RotateAuthorities', { kind: 'issuing', reason: 'drill' });
    await until(async () => (await noteOf(named, 'WAITING_IMPORT')) !== undefined, 'it waits');
    await assert.rejects(request(named), saysBoth);
    assert.ok((await named.mint('spiffe://mesh.test/goes-on')).serial.length > 0);
    assert.deepEqual(await roots(named), [present]);
  });

  test('has its new root handed out once both are named and an operator goes on with it', async () => {
    await using both = await start([present, changed], server.dir);
    await until(async () => (await noteOf(both, 'WAITING_OPERATOR')) !== undefined, 'it is taken');
    const { authorityId: id } = (await noteOf(both, 'WAITING_OPERATOR'))!;
    const root = await both.admin('Authorities/GetAuthority', { id });
    assert.deepEqual([root.kind, sha256Hex(root.certificateDer)], ['root', changed]);
    assert.deepEqual(await roots(both), [present]);
    await both.admin('Authorities/ContinueRotation', { id, reason: 'we changed it' });
    const wanted = [present, changed].toSorted().join();
    await until(async () => (await roots(both)).join() === wanted, 'both roots are handed out');
    const waiting = await noteOf(both, 'WAITING_CONFIRMATION');
    assert.equal(waiting?.authorityId, id, 'it is active after the consumers of the present root');
  });
});

test('a chain without its root is refused where roots are named, and the text says what to import', async () => {
  const root = createRoot('upstream.test');
  const { certificateDer } = createIntermediate(root, 'upstream.test');
  const certificate = certificatesToPem([certificateDer]);
  const upstream = vaultUpstream({
    vault: {
      read: () => Promise.reject(new Error('not here')),
      list: () => Promise.reject(new Error('not here')),
      write: () => Promise.resolve({ data: { certificate, ca_chain: [certificate] } }),
    },
    mount: 'pki',
    rootSha256: [sha256Hex(root.certificateDer)],
    clock: systemClock,
  });
  await assert.rejects(
    upstream.signIntermediate(Buffer.alloc(1), 60),
    ({ code, message, next }: PkiError) =>
      code === 'CHAIN_UNTRUSTED' &&
      message.includes('comes without its root') &&
      next.startsWith('Import the certificate of the root into the PKI mount'),
  );
});
