import assert from 'node:assert/strict';
import { Duplex } from 'node:stream';
import { describe, test } from 'node:test';
import { connect, type ConnectionOptions } from 'node:tls';
import { readClientHello } from '../../../../src/server/grpc/client-hello.ts';

/** The first message of this machine's own TLS client. */
function helloOf(options: ConnectionOptions): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read() {},
      write(bytes: Buffer, _encoding, done) {
        resolve(bytes);
        done();
      },
    });
    const client = connect({ socket: wire, ...options });
    client.on('error', () => {});
  });
}

describe('a ClientHello', () => {
  test('names the server that is asked for, and the versions that are offered', async () => {
    assert.deepEqual(
      readClientHello(
        await helloOf({ servername: 'Istiod.istio-system.svc', maxVersion: 'TLSv1.2' }),
      ),
      { serverName: 'istiod.istio-system.svc', offersTls13: false },
    );
    assert.deepEqual(readClientHello(await helloOf({ servername: 'localhost' })), {
      serverName: 'localhost',
      offersTls13: true,
    });
  });

  test('may ask for no name', async () => {
    assert.deepEqual(readClientHello(await helloOf({ servername: '', maxVersion: 'TLSv1.2' })), {
      serverName: undefined,
      offersTls13: false,
    });
  });

  test('that is cut, or has a flipped byte, is never read past its end', async () => {
    const hello = await helloOf({ servername: 'localhost', maxVersion: 'TLSv1.2' });
    for (let length = 0; length < hello.length; length += 1)
      assert.equal(readClientHello(hello.subarray(0, length)), undefined);
    for (let index = 0; index < hello.length; index += 1) {
      const flipped = Buffer.from(hello);
      flipped[index] = (flipped[index] as number) ^ 0xff;
      const read = readClientHello(flipped);
      assert.match(read?.serverName ?? 'x', /^[a-z0-9._-]+$/);
    }
  });

  test('that is no TLS at all is nothing', () => {
    assert.equal(readClientHello(Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')), undefined);
  });
});
