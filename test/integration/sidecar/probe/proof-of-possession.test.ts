import assert from 'node:assert/strict';
import { constants, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import { suite, test } from 'node:test';
import { unwrap, type Result } from '../../../../src/common/errors/index.ts';
import type { Shown } from '../../../../sidecar/probe/index.ts';
import { uint, vector } from '../../../../sidecar/probe/tls/wire.ts';
import { flight12, flight13, message, type FlightShape } from '../../../support/raw-tls.ts';
import {
  listenerAt,
  lookAt,
  rawServer,
  serverPair,
  type ServerKey,
} from '../../../support/tls-servers.ts';

type Flight = (hello: Buffer, shape: FlightShape) => Buffer;
const flights: readonly (readonly ['1.2' | '1.3', Flight])[] = [
  ['1.2', flight12],
  ['1.3', flight13],
];

const pair = serverPair();
const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;
const ecdsaSha256 = 0x0403;
const signedBy =
  (key: KeyObject): FlightShape['sign'] =>
  (signed) =>
    sign('sha256', signed, key);
const honest: FlightShape = {
  leafDer: pair.leafDer,
  scheme: ecdsaSha256,
  sign: signedBy(pair.privateKey),
};

async function lookAtFlight(flight: Flight, shape: FlightShape): Promise<Result<Shown>> {
  await using server = await rawServer((socket) => {
    socket.once('data', (hello: Buffer) => socket.end(flight(hello, shape)));
  });
  return await lookAt(listenerAt(server.address));
}

const isRefused = async (flight: Flight, shape: FlightShape, reason: RegExp): Promise<void> => {
  const answer = await lookAtFlight(flight, shape);
  assert.ok(!answer.ok, 'it was believed');
  assert.equal(answer.error.code, 'PROBE_FAILED');
  assert.match(answer.error.message, reason);
};

for (const [version, flight] of flights)
  suite(`TLS ${version}: a certificate shows nothing without its key`, () => {
    test('the fake of these tests is believed while it is honest', async () => {
      const shown = unwrap(await lookAtFlight(flight, honest));
      assert.equal(shown.leafSha256, pair.leafSha256);
      assert.equal(shown.tlsVersion, version);
    });

    test('a signature with another key is refused', async () => {
      await isRefused(flight, { ...honest, sign: signedBy(stranger) }, /has not the key/);
    });

    test('a signature from another handshake is refused', async () => {
      let first: Buffer | undefined;
      const replayed: FlightShape = {
        ...honest,
        sign: (signed) => (first ??= sign('sha256', signed, pair.privateKey)),
      };
      assert.ok((await lookAtFlight(flight, replayed)).ok);
      await isRefused(flight, replayed, /has not the key/);
    });

    test('an empty signature, and one by a scheme that was not offered, are refused', async () => {
      await isRefused(flight, { ...honest, sign: () => Buffer.alloc(0) }, /has not the key/);
      const sha1 = {
        ...honest,
        scheme: 0x0203,
        sign: (signed: Buffer) => sign('sha1', signed, pair.privateKey),
      };
      await isRefused(flight, sha1, /the scheme 0x0203, which was not offered/);
    });

    test('a scheme for another kind of key is refused', async () => {
      await isRefused(flight, { ...honest, scheme: 0x0804 }, /which its key does not fit/);
    });

    test('a flight without the signature is refused', async () => {
      const proofType = version === '1.2' ? 12 : 15;
      const change = (messages: readonly Buffer[]): readonly Buffer[] =>
        messages.filter((each) => each[0] !== proofType);
      await isRefused(flight, { ...honest, change }, /in place of/);
    });

    test('a flight without a certificate is refused', async () => {
      const none = version === '1.2' ? Buffer.of(0, 0, 0) : Buffer.of(0, 0, 0, 0);
      const change = (messages: readonly Buffer[]): readonly Buffer[] =>
        messages.map((each) => (each[0] === 11 ? message(11, none) : each));
      await isRefused(flight, { ...honest, change }, /presents no certificate/);
    });

    test('a certificate of junk is refused', async () => {
      await isRefused(
        flight,
        { ...honest, leafDer: Buffer.alloc(300, 0x30) },
        /malformed certificate/,
      );
    });
  });

suite('TLS 1.3', () => {
  test('a scheme whose hash does not belong to the curve is refused', async () => {
    const shape = {
      ...honest,
      scheme: 0x0503,
      sign: (signed: Buffer) => sign('sha384', signed, pair.privateKey),
    };
    await isRefused(flight13, shape, /which its key does not fit/);
    assert.ok((await lookAtFlight(flight12, shape)).ok, 'TLS 1.2 does not bind them');
  });

  test('PKCS#1 v1.5 signs no handshake', async () => {
    const rsa = serverPair('rsa' satisfies ServerKey);
    const shape = { leafDer: rsa.leafDer, scheme: 0x0401, sign: signedBy(rsa.privateKey) };
    await isRefused(flight13, shape, /which its key does not fit/);
    const padding = constants.RSA_PKCS1_PSS_PADDING;
    const pss = {
      ...shape,
      scheme: 0x0804,
      sign: (signed: Buffer) =>
        sign('sha256', signed, { key: rsa.privateKey, padding, saltLength: 32 }),
    };
    assert.ok((await lookAtFlight(flight13, pss)).ok);
  });

  test('a flight that was changed on its way is refused, although its signature is good', async () => {
    const finish = (finished: Buffer): Buffer => {
      const changed = Buffer.from(finished);
      changed[0] = (changed[0] as number) ^ 1;
      return changed;
    };
    await isRefused(flight13, { ...honest, finish }, /saw another handshake/);
    // CA names that the server did not send
    const names = vector(2, vector(2, Buffer.from('3000', 'hex')));
    const request = Buffer.concat([vector(1), vector(2, uint(2, 47), vector(2, names))]);
    const change = (messages: readonly Buffer[]): readonly Buffer[] => [
      messages[0] as Buffer,
      message(13, request),
      ...messages.slice(1),
    ];
    await isRefused(flight13, { ...honest, change }, /has not the key/);
  });

  test('a server that was made to speak an older version is refused', async () => {
    const random = (plain: Buffer): Buffer =>
      Buffer.concat([plain.subarray(0, 24), Buffer.from('DOWNGRD\x01', 'latin1')]);
    await isRefused(flight12, { ...honest, random }, /forced an older version/);
  });
});
