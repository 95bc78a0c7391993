import assert from 'node:assert/strict';
import { test } from 'node:test';
import { unwrap } from '../../../../../src/common/errors/index.ts';
import { certificatesToPem, parseCertificate } from '../../../../../src/common/x509/index.ts';
import { x509pop } from '../../../../../src/services/attestation/x509pop/attestor.ts';
import { FakeClock } from '../../../../support/agent.ts';
import { nodeCrl } from '../../../../support/node-crl.ts';
import { createRoot, createSvid } from '../../../../support/test-pki.ts';

const nodes = createRoot('nodes.test');

function attestorWith(clock: FakeClock, files: Record<string, string>) {
  const attestor = x509pop.create({ caFile: 'nodes.pem', crlFile: 'nodes.crl' }, {
    clock,
    readFile: (path: string) => files[path] ?? '',
  } as unknown as Parameters<typeof x509pop.create>[1]);
  assert.ok(attestor?.revoked);
  return attestor.revoked.bind(attestor);
}

/** What was recorded of a node, and how often somebody read it. */
function recordedNode() {
  const { chainDer } = createSvid(nodes, 'spiffe://nodes.test/n1');
  const { serialHex, notAfter } = unwrap(parseCertificate(chainDer[0] as Buffer));
  const texts = chainDer.map((der) => der.toString('base64'));
  const counted = { reads: 0, serialHex, notAfter };
  const recorded = new Proxy(texts, {
    get(target, key, receiver) {
      counted.reads += 1;
      return Reflect.get(target, key, receiver) as unknown;
    },
  });
  return { recorded, counted };
}

test('the chain of a node is verified once, and each new CRL is judged by it', () => {
  const clock = new FakeClock(Date.now());
  const files = { 'nodes.pem': certificatesToPem([nodes.certificateDer]), 'nodes.crl': '' };
  files['nodes.crl'] = nodeCrl(nodes, []);
  const revoked = attestorWith(clock, files);
  const { recorded, counted } = recordedNode();
  assert.equal(revoked(recorded), undefined);
  const { reads } = counted;
  assert.ok(reads > 0);
  assert.equal(revoked(recorded), undefined);
  files['nodes.crl'] = nodeCrl(nodes, [counted.serialHex]);
  clock.advance(1_000);
  assert.equal(revoked(recorded)?.code, 'CERTIFICATE_REVOKED');
  assert.equal(counted.reads, reads, 'the recorded chain is not read again');
});

test('evidence that is no chain below the CAs of nodes is not judged', () => {
  const files = {
    'nodes.pem': certificatesToPem([createRoot('others.test').certificateDer]),
    'nodes.crl': nodeCrl(nodes, []),
  };
  const revoked = attestorWith(new FakeClock(Date.now()), files);
  const { recorded, counted } = recordedNode();
  files['nodes.crl'] = nodeCrl(nodes, [counted.serialHex]);
  assert.equal(revoked(recorded), undefined);
  assert.equal(revoked([]), undefined);
});
