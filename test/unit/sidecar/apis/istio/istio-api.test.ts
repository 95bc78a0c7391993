import assert from 'node:assert/strict';
import { generateKeyPairSync, randomBytes } from 'node:crypto';
import { test } from 'node:test';
import { istioApi } from '../../../../../sidecar/apis/istio/index.ts';
import type { Session, UnaryMethod } from '../../../../../sidecar/local-server/index.ts';
import type { Identity } from '../../../../../sidecar/ports/entries.ts';
import type { CertifiedKey, CsrToSign } from '../../../../../sidecar/ports/svids.ts';
import { ok, PkiError, type Result } from '../../../../../src/common/errors/index.ts';
import { SpiffeId } from '../../../../../src/common/spiffe/index.ts';
import { createCsr } from '../../../../../src/common/x509/index.ts';
import { FakeClock } from '../../../../support/agent.ts';
import { csrPem } from '../../../../support/istio.ts';
import { entryOf, FakeBundles, FakeConsumers } from '../../../../support/local-server-fakes.ts';

const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
const entry = entryOf('w', 'spiffe://td.test/web', ['unix:uid:0']);
const identity: Identity = { entry, spiffeId: SpiffeId.of(entry.spiffeId) };
const certified: Result<CertifiedKey> = ok({ chainDer: [randomBytes(700)], notAfter: 9 });
const refused: Result<CertifiedKey> = {
  ok: false,
  error: new PkiError('CSR_IDENTITY_MISMATCH', 'the request names another identity'),
};

/** The API with one caller, who asks with the same request again and again. */
function world() {
  const clock = new FakeClock();
  const consumers = new FakeConsumers();
  const asked: CsrToSign[] = [];
  const state = {
    certify: async (): Promise<Result<CertifiedKey>> => certified,
    verify: (): void => {},
  };
  const api = istioApi({
    csrs: {
      certify(_identity, _selectors, csr) {
        asked.push(csr);
        return state.certify();
      },
    },
    bundles: new FakeBundles(),
    consumers,
    socketId: SpiffeId.of('spiffe://td.test/socket'),
    clock,
  });
  const [service] = api.services({ bundleGeneration: () => 0 });
  const method = service?.methods['CreateCertificate'] as UnaryMethod;
  const session = {
    rpc: 'CreateCertificate',
    connection: { pid: 7, uid: 0, holder: '0 /', peer: { image: { startTime: '1' } } },
    grant: async () => ({ attested: { selectors: [] }, identities: [identity] }),
    gaveDefault: () => {},
    verify: () => state.verify(),
  } as unknown as Session;
  const request = { csr: csrPem(createCsr(privateKey)), validityDuration: 60, metadata: null };
  const create = async (): Promise<string> =>
    method.run(session, request).then(
      () => 'OK',
      (thrown: unknown) => PkiError.from(thrown).code,
    );
  return { clock, consumers, asked, state, create };
}

test('a call whose answer was lost has the same ID when it comes again, a refused one a new ID', async () => {
  const { asked, state, create } = world();
  state.certify = () => Promise.reject(new PkiError('DEADLINE_EXCEEDED', 'no answer'));
  assert.equal(await create(), 'DEADLINE_EXCEEDED');
  state.certify = async () => refused;
  assert.equal(await create(), 'CSR_IDENTITY_MISMATCH');
  state.certify = async () => certified;
  assert.equal(await create(), 'OK');
  const [lost, again, anew] = asked.map(({ requestId }) => requestId);
  assert.equal(again, lost);
  assert.notEqual(anew, lost);
});

test('a process that ended while its key was certified gets nothing, and counts as no consumer', async () => {
  const { consumers, state, create } = world();
  state.verify = () => {
    throw new PkiError('PEER_UNVERIFIABLE', 'the process has exited');
  };
  assert.equal(await create(), 'PEER_UNVERIFIABLE');
  assert.deepEqual(consumers.reports, []);
  state.verify = () => {};
  assert.equal(await create(), 'OK');
  assert.equal(consumers.reports.length, 1);
});

test('who asks too often is refused before anything is signed, and may ask again later', async () => {
  const { clock, asked, create } = world();
  const outcomes: string[] = [];
  for (let call = 0; call < 41; call += 1) outcomes.push(await create());
  assert.deepEqual([...new Set(outcomes.slice(0, -1))], ['OK']);
  assert.equal(outcomes.at(-1), 'RATE_LIMITED');
  assert.equal(asked.length, 40);
  clock.advance(500);
  assert.equal(await create(), 'OK');
});
