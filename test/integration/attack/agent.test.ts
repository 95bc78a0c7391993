import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../../src/common/runtime/index.ts';
import { startOps } from '../../../sidecar/ops.ts';
import { parseBundleDocument } from '../../../sidecar/bundle/index.ts';
import { loadAgentConfig } from '../../../sidecar/config.ts';

test("the agent's operations port serves an address as Host, not a name that a page made point here", async () => {
  await using ops = await startOps({
    address: '127.0.0.1',
    port: 0,
    metrics: () => Promise.resolve('x 1\n'),
    metricsContentType: 'text/plain',
    readiness: () => ({ reasons: [], notes: [] }),
    onRefused: () => {},
    logger: silentLogger,
  });
  const ask = (path: string, host: string): Promise<number> =>
    new Promise((resolve, reject) => {
      const request = httpRequest(
        { host: '127.0.0.1', port: ops.port, path, headers: { host } },
        (response) => {
          response.resume();
          response.on('end', () => resolve(response.statusCode ?? 0));
        },
      );
      request.on('error', reject);
      request.end();
    });
  assert.equal(await ask('/metrics', 'rebound.example.com'), 421);
  assert.equal(await ask('/metrics', `127.0.0.1:${ops.port}`), 200);
  assert.equal(await ask('//', '127.0.0.1'), 404);
});

test('a bundle document that would make an agent trust more than roots is refused', () => {
  for (const keys of [
    [{ use: 'jwt-svid', kid: 'a', kty: 'oct', k: 'c2VjcmV0' }],
    [{ use: 'jwt-svid', kid: 'a', kty: 'EC', d: 'x' }],
    [{ use: 'x509-svid', x5c: ['AAAA'] }],
    [{ use: 'x509-svid', x5c: [] }],
    [null],
    ['x'],
    [[]],
    Array.from({ length: 101 }, () => ({ use: 'other' })),
  ])
    assert.equal(
      parseBundleDocument(JSON.stringify({ keys })).ok,
      false,
      JSON.stringify(keys).slice(0, 80),
    );
  for (const text of [
    '',
    '[]',
    '{"keys":{}}',
    '{"keys":[],"spiffe_sequence":-1}',
    '{"keys":[],"spiffe_sequence":9007199254740993}',
    `{"keys":[],"x":"${'a'.repeat(1_000_001)}"}`,
  ])
    assert.equal(parseBundleDocument(text).ok, false, text.slice(0, 60));
  const polluting = parseBundleDocument('{"keys":[],"__proto__":{"polluted":true}}');
  assert.ok(polluting.ok && !('polluted' in {}));
});

test('a configuration that bombs, pollutes or repeats is refused, and what it quotes is no secret', async () => {
  const dir = await mkdtemp(join(tmpdir(), 'meshca-attack-config-'));
  try {
    const read = async (text: string): Promise<string> => {
      await writeFile(join(dir, 'agent.yaml'), text);
      const loaded = await loadAgentConfig({ path: join(dir, 'agent.yaml'), env: {} });
      return loaded.ok ? 'valid' : loaded.error.message;
    };
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefghi'
        .split('')
        .map(
          (name, index) =>
            `${name}: &${name} [${Array.from({ length: 9 }, () => `*${'abcdefgh'[index]}`).join(',')}]`,
        ),
    ].join('\n');
    const startedMs = performance.now();
    assert.notEqual(await read(bomb), 'valid');
    // nine to the power of nine values would take far longer
    assert.ok(performance.now() - startedMs < 60_000);
    assert.notEqual(
      await read('trustDomain: td\ntrustDomain: other\nserverAddress: a:1\n'),
      'valid',
    );
    assert.notEqual(
      await read('__proto__: { polluted: true }\ntrustDomain: td\nserverAddress: a:1\n'),
      'valid',
    );
    assert.ok(!('polluted' in {}));
    const message = await read(
      'trustDomain: td\nserverAddress: a:1\nattestation: { joinToken: { token: [s3cr3t-token] } }\n',
    );
    assert.ok(message !== 'valid' && !message.includes('s3cr3t'), message);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
});
