import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { describe, test } from 'node:test';
import { startOps } from '../../../../sidecar/ops.ts';
import { silentLogger, systemClock } from '../../../../src/common/runtime/index.ts';
import { bundlePlugin, HttpFront, startOperationsPort } from '../../../../src/server/http/index.ts';
import { until } from '../../../support/until.ts';

/** Opens connections that begin a request and never end it. */
function openHalf(port: number, count: number, localAddress: string): readonly Socket[] {
  return Array.from({ length: count }, (_, index) => {
    const socket = connect({ host: '127.0.0.1', port, localAddress });
    socket.on('error', () => {});
    if (index % 3 === 1) socket.write('GET /li');
    if (index % 3 === 2) socket.write('POST /live HTTP/1.1\r\nhost: x\r\n');
    return socket;
  });
}

/**
 * Floods a port that takes `maximum` connections, from an address of its own and from the honest
 * client's; every honest request is answered meanwhile. No time limit of the port helps: they are
 * far off.
 */
async function judge(url: string, maximum: number, evictions: () => number): Promise<void> {
  const port = Number(new URL(url).port);
  for (const address of ['127.0.0.66', '127.0.0.1']) {
    const before = evictions();
    const flood = openHalf(port, 2 * maximum, address);
    await until(() => evictions() >= before + maximum, 'the flood to fill the port');
    for (let i = 0; i < 20; i += 1)
      assert.equal((await fetch(url, { headers: { connection: 'close' } })).status, 200);
    for (const socket of flood) socket.destroy();
  }
}

describe('connections that stay half open', () => {
  test('keep nobody from the HTTP front', async () => {
    let evicted = 0;
    const far = { headSeconds: 600, requestSeconds: 600, answerSeconds: 600 };
    const off = { enabled: false, address: '127.0.0.1', port: 0, trustedProxies: [] };
    await using front = await HttpFront.start(
      [bundlePlugin({ document: () => '{}', refreshHintSeconds: 1 })],
      { plain: { ...off, enabled: true }, tls: off, limits: { connections: 64, ...far } },
      {
        clock: systemClock,
        logger: silentLogger,
        observe: {
          answered() {},
          refused(_, reason) {
            assert.equal(reason, 'evicted');
            evicted += 1;
          },
        },
      },
    );
    await judge(`http://127.0.0.1:${front.plainPort}/bundle`, 64, () => evicted);
  });

  test('keep nobody from the operations port', async () => {
    let evicted = 0;
    const port = await startOperationsPort({
      metrics: () => Promise.resolve(''),
      metricsContentType: 'text/plain',
      reasons: () => [],
      onRefused: (reason) => {
        assert.equal(reason, 'evicted');
        evicted += 1;
      },
      logger: silentLogger,
      options: { address: '127.0.0.1', port: 0 },
    });
    try {
      await judge(`http://127.0.0.1:${port.port}/live`, 256, () => evicted);
    } finally {
      await port.close();
    }
  });

  test('keep nobody from the operations port of an agent', async () => {
    let evicted = 0;
    await using ops = await startOps({
      address: '127.0.0.1',
      port: 0,
      metrics: () => Promise.resolve(''),
      metricsContentType: 'text/plain',
      readiness: () => ({ reasons: [], notes: [] }),
      onRefused: (reason) => {
        assert.equal(reason, 'evicted');
        evicted += 1;
      },
      logger: silentLogger,
    });
    await judge(`http://127.0.0.1:${ops.port}/live`, 32, () => evicted);
  });
});
