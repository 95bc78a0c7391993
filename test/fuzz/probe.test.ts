import assert from 'node:assert/strict';
import { sign } from 'node:crypto';
import { duplexPair, type Duplex } from 'node:stream';
import { suite, test } from 'node:test';
import fc from 'fast-check';
import { ByteStream } from '../../sidecar/probe/byte-stream.ts';
import { ProbeFailure } from '../../sidecar/probe/failure.ts';
import type { Shown } from '../../sidecar/probe/index.ts';
import { startTls } from '../../sidecar/probe/preamble/index.ts';
import { handshake } from '../../sidecar/probe/tls/handshake.ts';
import {
  certificateRequest12,
  certificateRequest13,
  leafOf12,
  leafOf13,
} from '../../sidecar/probe/tls/messages.ts';
import { readServerHello } from '../../sidecar/probe/tls/server-hello.ts';
import { uint, vector } from '../../sidecar/probe/tls/wire.ts';
import {
  flight12,
  flight13,
  message,
  readHello,
  record,
  type FlightShape,
} from '../support/raw-tls.ts';
import { probeRoot, serverPair } from '../support/tls-servers.ts';

/** Each property runs until its time is over, and once at least. */
async function holds<T>(property: fc.IAsyncProperty<T>): Promise<void> {
  const end = performance.now() + 1_500;
  do await fc.assert(property, { numRuns: 100 });
  while (performance.now() < end);
}

interface Change {
  readonly kind: 'set' | 'cut' | 'insert' | 'length';
  readonly at: number;
  readonly octet: number;
  readonly size: number;
}
const changes: fc.Arbitrary<readonly Change[]> = fc.array(
  fc.record({
    kind: fc.constantFrom('set', 'cut', 'insert', 'length'),
    at: fc.nat(),
    octet: fc.integer({ min: 0, max: 255 }),
    size: fc.integer({ min: 1, max: 8 }),
  }),
  { minLength: 1, maxLength: 4 },
);

function mutated(seed: Buffer, list: readonly Change[]): Buffer {
  let bytes = Buffer.from(seed);
  for (const { kind, at: anywhere, octet, size } of list) {
    const at = bytes.length === 0 ? 0 : anywhere % bytes.length;
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
    if (kind === 'cut') bytes = Buffer.concat([head, tail.subarray(size)]);
    else if (kind === 'insert') bytes = Buffer.concat([head, Buffer.alloc(size, octet), tail]);
    else if (bytes.length > 0)
      bytes[at] = kind === 'set' ? octet : ((bytes[at] as number) + (octet % 3) - 1) & 0xff;
  }
  return bytes;
}

const pair = serverPair();
const names = vector(2, vector(2, probeRoot.subjectDer));
const request13 = Buffer.concat([vector(1), vector(2, uint(2, 47), vector(2, names))]);
const request12 = Buffer.concat([vector(1, Buffer.of(64)), vector(2, uint(2, 0x0403)), names]);
const honest = (request: Buffer): FlightShape => ({
  leafDer: pair.leafDer,
  scheme: 0x0403,
  sign: (signed) => sign('sha256', signed, pair.privateKey),
  request,
});

/** A certificate with a serial of any length in place of its 16 octets. */
function withSerial(der: Buffer, serial: Buffer): Buffer {
  const tbsEnd = 8 + der.readUInt16BE(6);
  const [version, rest] = [der.subarray(8, 13), der.subarray(31, tbsEnd)];
  const long = (tag: number, content: Buffer): Buffer =>
    Buffer.concat([Buffer.of(tag, 0x82), vector(2, content)]);
  const tbs = long(0x30, Buffer.concat([version, long(0x02, serial), rest]));
  return long(0x30, Buffer.concat([tbs, der.subarray(tbsEnd)]));
}

/** What the probe makes of a server's answer to its hello. The connection ends behind it. */
async function shownBy(answer: (hello: Buffer) => Buffer): Promise<Shown | undefined> {
  const [client, server] = duplexPair() as [Duplex, Duplex];
  server.once('data', (hello: Buffer) => server.end(answer(hello)));
  try {
    return await handshake(new ByteStream(client), {
      serverName: 'server.example.org',
      applicationProtocols: ['h2'],
    });
  } catch (thrown) {
    assert.ok(thrown instanceof ProbeFailure, String(thrown));
    return undefined;
  } finally {
    client.destroy();
    server.destroy();
  }
}

const throwsOnlyFailures = (parse: () => unknown): void => {
  try {
    parse();
  } catch (thrown) {
    assert.ok(thrown instanceof ProbeFailure, String(thrown));
  }
};

suite('a hostile server', () => {
  test('random bytes show nothing, and nothing but a failure is thrown', async () => {
    await holds(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (bytes) => {
        assert.equal(await shownBy(() => Buffer.from(bytes)), undefined);
      }),
    );
  });

  test('a flight that was changed anywhere shows the same in TLS 1.3, or nothing', async () => {
    const shape = honest(request13);
    assert.ok(await shownBy((hello) => flight13(hello, shape)), 'the unchanged one is believed');
    await holds(
      fc.asyncProperty(changes, async (list) => {
        const shown = await shownBy((hello) => mutated(flight13(hello, shape), list));
        if (shown === undefined) return;
        // bytes that nobody reads, such as the version of a record, or behind the flight
        assert.equal(shown.leafSha256, pair.leafSha256);
        assert.deepEqual(shown.caNamesDer, [probeRoot.subjectDer]);
      }),
    );
  });

  test('messages that were changed below the keys show nothing', async () => {
    await holds(
      fc.asyncProperty(changes, fc.nat({ max: 4 }), async (list, which) => {
        let isChanged = false;
        const change = (messages: readonly Buffer[]): readonly Buffer[] =>
          messages.map((each, index) => {
            if (index !== which) return each;
            const other = mutated(each, list);
            isChanged = !other.equals(each);
            return other;
          });
        const shown = await shownBy((hello) => flight13(hello, { ...honest(request13), change }));
        assert.equal(shown === undefined, isChanged);
      }),
    );
  });

  test('a changed flight of TLS 1.2 is read or refused', async () => {
    const shape = honest(request12);
    assert.ok(await shownBy((hello) => flight12(hello, shape)), 'the unchanged one is believed');
    await holds(
      fc.asyncProperty(changes, async (list) => {
        const shown = await shownBy((hello) => mutated(flight12(hello, shape), list));
        // the names in a certificate may be changed, since no chain is judged; its key may not
        if (shown !== undefined) assert.equal(shown.tlsVersion, '1.2');
      }),
    );
  });

  test('a cookie that no second hello has room for shows nothing', async () => {
    const retryRandom = 'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c';
    for (const length of [1, 8_192, 8_193, 16_384, 65_000, 65_500])
      assert.equal(
        await shownBy((first) => {
          const extensions = [
            ...[uint(2, 43), vector(2, uint(2, 0x0304))],
            ...[uint(2, 44), vector(2, vector(2, Buffer.alloc(length, 1)))],
          ];
          const body = Buffer.concat([
            ...[uint(2, 0x0303), Buffer.from(retryRandom, 'hex')],
            ...[vector(1, readHello(first).sessionId), uint(2, 0x1301), Buffer.of(0)],
            vector(2, ...extensions),
          ]);
          const whole = message(2, body);
          const parts = Array.from({ length: Math.ceil(whole.length / 16_384) }, (_, index) =>
            record(22, whole.subarray(index * 16_384, (index + 1) * 16_384)),
          );
          return Buffer.concat(parts);
        }),
        undefined,
      );
  });

  test('a serial that fills the certificate fills no message', async () => {
    const leafDer = withSerial(pair.leafDer, Buffer.alloc(10_000, 1));
    const long = await shownBy((hello) => flight13(hello, { ...honest(request13), leafDer }));
    assert.ok(long !== undefined && long.serial.length <= 65, long?.serial.slice(0, 99));
  });

  test('each reader of a message answers on any bytes', async () => {
    const seeds: readonly (readonly [(body: Buffer) => unknown, Buffer])[] = [
      [leafOf13, Buffer.concat([vector(1), vector(3, vector(3, pair.leafDer), vector(2))])],
      [leafOf12, vector(3, vector(3, pair.leafDer))],
      [certificateRequest13, request13],
      [certificateRequest12, request12],
      [
        (body) => readServerHello({ type: 2, body, whole: body }, Buffer.alloc(32)),
        Buffer.concat([uint(2, 0x0303), Buffer.alloc(32), vector(1), uint(2, 0xc02b), vector(2)]),
      ],
    ];
    await holds(
      fc.asyncProperty(fc.constantFrom(...seeds), changes, async ([parse, seed], list) => {
        throwsOnlyFailures(() => parse(mutated(seed, list)));
      }),
    );
  });

  test('what comes before TLS answers on any bytes', async () => {
    const protocols = fc.constantFrom('postgresql', 'mysql', 'smtp', 'ldap');
    const seeds = fc.constantFrom(
      'S',
      '220 a\r\n250 STARTTLS\r\n220 b\r\n',
      Buffer.from('300c02010178070a010004000400', 'hex').toString('latin1'),
      `\x29\0\0\0\x0a8.0\0\x01\0\0\0abcdefgh\0\xff\xff\x2d\x02\0${'a'.repeat(20)}`,
    );
    await holds(
      fc.asyncProperty(protocols, seeds, changes, async (protocol, seed, list) => {
        const [client, server] = duplexPair() as [Duplex, Duplex];
        server.resume();
        server.end(mutated(Buffer.from(seed, 'latin1'), list));
        try {
          await startTls(protocol, new ByteStream(client));
        } catch (thrown) {
          assert.ok(thrown instanceof ProbeFailure, String(thrown));
        } finally {
          client.destroy();
        }
      }),
    );
  });

  test('a message of the greatest length is not waited for beyond the limit', async () => {
    const endless = Buffer.concat([Buffer.of(2, 0xff, 0xff, 0xff), Buffer.alloc(16_000)]);
    const record = Buffer.concat([Buffer.of(22, 3, 3), vector(2, endless)]);
    const rest = Buffer.concat(Array.from({ length: 40 }, () => record));
    assert.equal(await shownBy(() => rest), undefined);
    assert.ok(message(2, Buffer.alloc(3)).length === 7);
  });
});
