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
  const key = Buffer.allocUnsafe(22);
  if (timeFirst.test(requestId)) key.write(requestId.slice(0, 8) + requestId.slice(9, 13), 'hex');
  else digest.copy(key, 0, 26);
  digest.copy(key, 6, 0, 16);
  return key;
}

const timeFirst = /^[0-9a-f]{8}-[0-9a-f]{4}-/;
