import assert from 'node:assert/strict';
import { test } from 'node:test';
import { IssuerHandshakes } from '../../../../src/services/targets/issuer-handshakes.ts';

const records: Readonly<Record<string, { readonly holder: string; readonly authorityId: string }>> =
  {
    aa: { holder: 'n1', authorityId: 'old' },
    bb: { holder: 'n2', authorityId: 'new' },
  };
const seen: Readonly<Record<string, readonly object[]>> = {
  k1: [{ agentId: 'n1', succeeded: 10, failed: 1 }],
  k2: [
    { agentId: 'n1', succeeded: 5, failed: 5 },
    { agentId: 'n3', succeeded: 1, failed: 0 },
  ],
};
const world = () => {
  const asked: string[] = [];
  const handshakes = new IssuerHandshakes({
    certificates: {
      bySerial: async (serial: string) => {
        asked.push(serial);
        return records[serial];
      },
    },
    authorities: {
      all: () => [
        { id: 'old', subjectKeyId: 'k1' },
        { id: 'new', subjectKeyId: 'k2' },
        { id: 'none', subjectKeyId: null },
      ],
    },
    handshakes: { nodes: (keyId: string) => seen[keyId] ?? [] },
  } as never);
  return {
    asked,
    of: (...leaves: [string, string][]) =>
      handshakes.of(leaves.map(([agentId, serial]) => ({ agentId, serial }))),
  };
};

test('handshakes with peers of every issuer of the sets are counted, one sum for each node', async () => {
  const { of } = world();
  assert.deepEqual(await of(['n1', 'aa'], ['n2', 'bb']), [
    { agentId: 'n1', succeeded: 15, failed: 6 },
    { agentId: 'n3', succeeded: 1, failed: 0 },
  ]);
});

test('a serial that the agent did not get from us names no issuer', async () => {
  const { of } = world();
  assert.deepEqual(await of(['n2', 'aa'], ['n1', 'cc']), []);
});

test('the issuer of a serial is looked up once', async () => {
  const { of, asked } = world();
  await of(['n1', 'aa']);
  await of(['n1', 'aa']);
  assert.deepEqual(asked, ['aa']);
});
