import assert from 'node:assert/strict';
import { test } from 'node:test';
import { credentials, status, type ServiceError } from '@grpc/grpc-js';
import { reportsContract } from '../../../../../src/common/wire/index.ts';
import type { ReportRequest } from '../../../../../src/common/wire/generated/meshca/workload/v1/ReportRequest.ts';
import type { X509SVIDResponse__Output } from '../../../../../src/common/wire/generated/X509SVIDResponse.ts';
import type { HandshakeCount } from '../../../../../sidecar/ports/handshakes.ts';
import { entryOf } from '../../../../support/local-server-fakes.ts';
import { collect, header, startHarness, type Harness } from '../../local-server/support.ts';
import { patienceMs, until } from '../../../../support/until.ts';

const spiffeId = 'spiffe://td.test/app';
const clientId = 'client-0001';

function clientOf(harness: Harness) {
  const client = harness.client();
  const reports = new (reportsContract().packages.meshca.workload.v1.Reports)(
    `unix:${harness.path}`,
    credentials.createInsecure(),
    { channelOverride: client.getChannel() },
  );
  const report = (request: ReportRequest): Promise<number> =>
    new Promise((resolve) => {
      reports.Report(
        { clientId, spiffeId, ...request },
        header(),
        { deadline: Date.now() + patienceMs },
        (error: ServiceError | null) => resolve(error?.code ?? status.OK),
      );
    });
  const stream = () => {
    const metadata = header();
    metadata.set('meshca-client', clientId);
    return collect<X509SVIDResponse__Output>(client.FetchX509SVID({}, metadata));
  };
  return { report, stream };
}

async function world() {
  const counts: HandshakeCount[] = [];
  const harness = await startHarness({ api: { onHandshakes: (count) => void counts.push(count) } });
  harness.entries.set(entryOf('a', spiffeId, [`unix:uid:${process.getuid?.() ?? 0}`]));
  const digest = (): Buffer => harness.bundles.own?.authoritySetDigest as Buffer;
  const states = (): string[] =>
    harness.consumers.reports.map((each) => each.split(' ')[0] as string);
  return { harness, counts, digest, states, ...clientOf(harness) };
}

test('a client that confirms loading counts when it has said so, not when it has read', async () => {
  const { harness, report, stream, digest, states } = await world();
  await using _ = harness;
  const held = stream();
  await held.first();
  await until(() => harness.svids.confirmed.length === 1);
  assert.deepEqual(states(), ['pending'], 'it was read, and that is not enough');
  assert.equal(await report({ loaded: { authoritySetDigest: Buffer.alloc(32, 9) } }), status.OK);
  assert.deepEqual(states(), ['pending'], 'another set is not this one');
  assert.equal(
    await report({
      capabilities: ['enforces-crl', 'reports-handshakes', 'root'],
      loaded: { authoritySetDigest: digest() },
    }),
    status.OK,
  );
  assert.deepEqual(states(), ['pending', 'confirmed']);
  assert.deepEqual(
    harness.consumers.capabilities,
    ['enforces-crl', 'reports-handshakes'],
    'only what a client can state',
  );
});

test('an update that the client refuses is reported as refused', async () => {
  const { harness, report, stream, states } = await world();
  await using _ = harness;
  await stream().first();
  assert.equal(
    await report({ loaded: { refusedReason: 'the roots can not be parsed' } }),
    status.OK,
  );
  assert.deepEqual(states(), ['pending', 'refused']);
});

test('a client that says that it keeps nothing is believed for its own stream', async () => {
  const { harness, report, stream, states } = await world();
  await using _ = harness;
  await stream().first();
  assert.equal(await report({ keepsNothing: true }), status.OK);
  assert.deepEqual(states(), ['pending', 'keeps-nothing']);
});

test('counts of handshakes go on under the consumer line of the client', async () => {
  const { harness, report, stream, counts } = await world();
  await using _ = harness;
  await stream().first();
  const issuerKeyId = Buffer.from('ab'.repeat(20), 'hex');
  assert.equal(
    await report({
      handshakes: [
        { issuerKeyId, succeeded: 7, failed: 2, reasons: { CHAIN_UNTRUSTED: 2 }, since: 100 },
      ],
    }),
    status.OK,
  );
  assert.deepEqual(
    counts.map(({ spiffeId: of, succeeded, failed, reasons }) => [
      of,
      succeeded,
      failed,
      { ...reasons },
    ]),
    [[spiffeId, 7, 2, { CHAIN_UNTRUSTED: 2 }]],
  );
  assert.notEqual(counts[0]?.consumerId, '');
});

test('a client speaks for its own identity, its own stream and within bounds', async () => {
  const { harness, report, stream, counts, states } = await world();
  await using _ = harness;
  assert.equal(await report({}), status.NOT_FOUND, 'no stream is open');
  await stream().first();
  assert.equal(await report({ spiffeId: 'spiffe://td.test/other' }), status.INVALID_ARGUMENT);
  assert.equal(await report({ clientId: 'client-0002' }), status.NOT_FOUND);
  assert.equal(await report({ clientId: '../../etc' }), status.INVALID_ARGUMENT);
  assert.equal(
    await report({ handshakes: [{ reasons: { 'new\nline': 1 } }] }),
    status.INVALID_ARGUMENT,
  );
  assert.equal(
    await report({ handshakes: [{ issuerKeyId: Buffer.alloc(65) }] }),
    status.INVALID_ARGUMENT,
  );
  assert.equal(
    await report({ handshakes: Array.from({ length: 101 }, () => ({})) }),
    status.INVALID_ARGUMENT,
  );
  assert.deepEqual([counts.length, states().join()], [0, 'pending']);
});

test('another process can not speak for a client, though it has the same identity and knows its ID', async () => {
  const { harness, report, stream, digest, states } = await world();
  await using _ = harness;
  await stream().first();
  const actor = await harness.actor();
  const { connect } = await import('node:http2');
  const socket = await actor.connect(harness.path);
  const session = connect('http://localhost', { createConnection: () => socket });
  const message =
    reportsContract().packages.meshca.workload.v1.Reports.service.Report.requestSerialize({
      clientId,
      spiffeId,
      loaded: { authoritySetDigest: digest() },
    });
  const frame = Buffer.concat([Buffer.from([0]), Buffer.alloc(4), message]);
  frame.writeUInt32BE(message.length, 1);
  const request = session.request({
    ':method': 'POST',
    ':path': '/meshca.workload.v1.Reports/Report',
    'content-type': 'application/grpc',
    te: 'trailers',
    'workload.spiffe.io': 'true',
  });
  const code = new Promise<string>((resolve) => {
    request.on('response', (headers) => {
      if (headers['grpc-status'] !== undefined) resolve(String(headers['grpc-status']));
    });
    request.on('trailers', (trailers) => resolve(String(trailers['grpc-status'])));
  });
  request.resume();
  request.end(frame);
  assert.equal(await code, String(status.NOT_FOUND));
  assert.deepEqual(states(), ['pending']);
  assert.equal(
    await report({ loaded: { authoritySetDigest: digest() } }),
    status.OK,
    'and the client itself still can',
  );
  session.destroy();
});
