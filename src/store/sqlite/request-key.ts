import { hash } from 'node:crypto';

/**
 * The key under which a repeated request is found. It has the first six bytes of the request ID,
 * which are its time in a UUIDv7, so that the index grows at its end. Then follow 16 bytes of a
 * digest over requester, request ID and public key. Null without a request ID: such a request is
 * never found again.
 */
export function requestKey(
  requester: string,
  requestId: string,
  publicKeySha256: string,
): Buffer | null {
  if (requestId === '') return null;
  const digest = hash(
    'sha256',
    `${requester.length}\n${requester}${requestId}\n${publicKeySha256}`,
    'buffer',
  );
  const time = /^[0-9a-f]{8}-[0-9a-f]{4}-/.test(requestId)
    ? Buffer.from(requestId.slice(0, 8) + requestId.slice(9, 13), 'hex')
    : digest.subarray(26);
  return Buffer.concat([time, digest.subarray(0, 16)], 22);
}
