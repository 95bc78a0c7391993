import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import { suite, test } from 'node:test';
import { unwrap } from '../../../../src/common/errors/index.ts';
import { certificatesToPem } from '../../../../src/common/x509/index.ts';
import { systemClock } from '../../../../src/common/runtime/index.ts';
import { prove } from '../../../../sidecar/probe/prove.ts';
import type { ProofDemand } from '../../../../sidecar/probe/index.ts';
import {
  listenerAt,
  never,
  probeRoot,
  proberOf,
  rawServer,
  serverPair,
  tlsServer,
  type TestServer,
} from '../../../support/tls-servers.ts';
import { createRoot } from '../../../support/test-pki.ts';
import { until } from '../../../support/until.ts';

const before = serverPair();
const next = serverPair();
const demand = (change: Partial<ProofDemand>): ProofDemand => ({
  listeners: [],
  leafSha256: next.leafSha256,
  leafSha256Before: before.leafSha256,
  serial: 'a5',
  rootNamesDer: [probeRoot.subjectDer],
  handshakes: 3,
  timeoutMs: 60_000,
  ...change,
});
/** Aborted once the condition holds. */
function whenever(condition: () => boolean): AbortSignal {
  const controller = new AbortController();
  void until(condition).then(() => controller.abort());
  return controller.signal;
}
/** Connections that a server has seen the end of. */
function closings({ server }: TestServer): () => number {
  let count = 0;
  server.on('connection', (socket: Socket) => socket.once('close', () => (count += 1)));
  return () => count;
}
const pem = (root: typeof probeRoot): string => certificatesToPem([root.certificateDer]);

suite('proof by handshakes', () => {
  test('a listener that nobody serves is told, and seen once somebody does', async () => {
    const server = await tlsServer(next);
    const listener = listenerAt(server.address);
    const { port } = server.server.address() as { port: number };
    await server[Symbol.asyncDispose]();
    const absent = await proberOf([listener]).look(listener, never);
    assert.ok(!absent.ok);
    assert.equal(absent.error.code, 'PROBE_FAILED');
    assert.match(absent.error.message, /^127\.0\.0\.1:\d+: .*ECONNREFUSED/);

    server.server.listen(port, '127.0.0.1');
    await using _again = server;
    assert.equal(
      unwrap(await proberOf([listener]).look(listener, never)).leafSha256,
      next.leafSha256,
    );
  });

  test('a server that shows the certificate before is named with it, until it reloads', async () => {
    await using slow = await tlsServer(before);
    await using quick = await tlsServer(next);
    const listeners = [listenerAt(slow.address), listenerAt(quick.address)];
    const prober = proberOf(listeners);
    const [slowClosings, quickClosings] = [closings(slow), closings(quick)];
    let enough = Number.POSITIVE_INFINITY;
    const late = whenever(() => {
      if (quickClosings() === 3) enough = Math.min(enough, slowClosings() + 3);
      return slowClosings() >= enough;
    });
    const missing = await prober.prove(demand({ listeners }), late);
    assert.ok(!missing.ok);
    assert.equal(missing.error.code, 'PROOF_MISSING');
    const serialBefore = new X509Certificate(before.leafDer).serialNumber.toLowerCase();
    assert.ok(missing.error.message.includes(`${slow.address} showed ${serialBefore}`));
    assert.ok(!missing.error.message.includes(quick.address), 'the other one has shown it');

    const { cert, key } = next;
    (slow.server as ReturnType<typeof import('node:tls').createServer>).setSecureContext({
      cert,
      key,
    });
    unwrap(await prober.prove(demand({ listeners }), never));
  });

  test('handshakes count in a row: a worker that stays behind is found', async () => {
    const shownInTurn: string[] = [];
    await using old = await tlsServer(before);
    await using young = await tlsServer(next);
    // two workers behind one address take turns
    const listener = listenerAt(young.address);
    const workers = [listenerAt(old.address), listener];
    const prober = proberOf(workers);
    let turn = 0;
    const look: typeof prober.look = async (_listener, signal) => {
      turn += 1;
      const shown = await prober.look(workers[turn % 2] as typeof listener, signal);
      if (shown.ok) shownInTurn.push(shown.value.leafSha256);
      return shown;
    };
    const random = { uniform: () => 0, bytes: () => Buffer.alloc(0) };
    const missing = await prove(
      { clock: systemClock, random, look },
      demand({ listeners: [listener], handshakes: 2 }),
      whenever(() => turn > 7),
    );
    assert.ok(!missing.ok);
    assert.ok(shownInTurn.filter((leaf) => leaf === next.leafSha256).length >= 2);
  });

  test('the same serial in another certificate proves nothing', async () => {
    await using server = await tlsServer(next);
    const listener = listenerAt(server.address);
    const forged = demand({ listeners: [listener], leafSha256: 'f'.repeat(64) });
    const missing = await proberOf([listener]).prove(forged, never);
    assert.ok(!missing.ok);
    assert.equal(missing.error.code, 'PROOF_MISSING');
  });

  test('a server that lost its certificate is not waited for', async () => {
    const lost = { own: serverPair(), refusing: next };
    await using own = await tlsServer(lost.own);
    await using refusing = await tlsServer(lost.refusing, { sigalgs: 'RSA-PSS+SHA256' });
    await using good = await tlsServer(next);
    await using closing = await rawServer((socket) => void socket.once('data', () => socket.end()));
    for (const server of [own, refusing, closing]) {
      const listeners = [listenerAt(server.address), listenerAt(good.address)];
      // a limit that nobody would wait for
      const missing = await proberOf(listeners).prove(
        demand({ listeners, timeoutMs: 2_000_000_000 }),
        never,
      );
      assert.ok(!missing.ok);
      assert.equal(missing.error.code, 'PROOF_MISSING');
      assert.ok(missing.error.message.includes(server.address));
    }
  });

  test('a first certificate is waited for, whatever was shown before', async () => {
    await using server = await tlsServer(serverPair());
    const count = closings(server);
    const listener = listenerAt(server.address);
    const listeners = [listener];
    void until(() => count() > 8).then(() =>
      (server.server as ReturnType<typeof import('node:tls').createServer>).setSecureContext(next),
    );
    unwrap(
      await proberOf(listeners).prove(demand({ listeners, leafSha256Before: undefined }), never),
    );
  });

  test('a target without listeners is never proven', async () => {
    const missing = await proberOf([]).prove(demand({}), never);
    assert.ok(!missing.ok);
    assert.equal(missing.error.code, 'PROOF_MISSING');
  });

  test('a proof that does not come in time ends with what is known so far', async () => {
    await using server = await tlsServer(before);
    const listener = listenerAt(server.address);
    const missing = await proberOf([listener]).prove(
      demand({ listeners: [listener], timeoutMs: 50 }),
      never,
    );
    assert.ok(!missing.ok);
    assert.match(missing.error.message, /within \d+(\.\d)? s: 127\.0\.0\.1:/);
  });

  test('an aborted proof ends at once, with what is known so far', async () => {
    await using server = await tlsServer(before);
    const count = closings(server);
    const listener = listenerAt(server.address);
    const missing = await proberOf([listener]).prove(
      demand({ listeners: [listener] }),
      whenever(() => count() > 1),
    );
    assert.ok(!missing.ok);
    assert.equal(missing.error.code, 'PROOF_MISSING');
  });
});

suite('trust is shown', () => {
  const rootBefore = createRoot('example.org', { subject: 'the root before' });
  const trustOf = async (
    ca: readonly (typeof probeRoot)[] | undefined,
    wanted: readonly (typeof probeRoot)[],
    maxVersion: 'TLSv1.2' | 'TLSv1.3' = 'TLSv1.3',
  ): Promise<string> => {
    const asks = ca !== undefined && { requestCert: true, ca: ca.map(pem) };
    await using server = await tlsServer(next, { maxVersion, ...asks });
    await using bystander = await tlsServer(next, { requestCert: true, ca: wanted.map(pem) });
    const listeners = [listenerAt(bystander.address), listenerAt(server.address)];
    const proven = await proberOf(listeners).prove(
      demand({ listeners, rootNamesDer: wanted.map(({ subjectDer }) => subjectDer) }),
      never,
    );
    return unwrap(proven).trust;
  };

  test('by a server that asks for certificates of exactly the roots of the set', async () => {
    assert.equal(await trustOf([probeRoot], [probeRoot]), 'shown');
    assert.equal(await trustOf([rootBefore, probeRoot], [probeRoot, rootBefore]), 'shown');
  });

  test('not by one that asks for certificates of the root before, or of more roots', async () => {
    assert.equal(await trustOf([rootBefore], [probeRoot]), 'unknown');
    assert.equal(await trustOf([rootBefore, probeRoot], [probeRoot]), 'unknown');
    assert.equal(await trustOf([probeRoot], [probeRoot, rootBefore]), 'unknown');
  });

  test('not by one that asks for no certificates', async () => {
    assert.equal(await trustOf(undefined, [probeRoot]), 'unknown');
  });

  test('not by TLS 1.2, where anybody on the way can change the names', async () => {
    assert.equal(await trustOf([probeRoot], [probeRoot], 'TLSv1.2'), 'unknown');
  });

  test('not by names where two roots of the set have the same one', async () => {
    const twin = createRoot('example.org');
    assert.deepEqual(twin.subjectDer, probeRoot.subjectDer);
    assert.equal(await trustOf([probeRoot], [probeRoot, twin]), 'unknown');
  });
});
