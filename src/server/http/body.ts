import type { IncomingMessage } from 'node:http';
import { failure } from './failure.ts';
import type { HttpFailure, HttpRoute } from './plugin.ts';

type BodyRule = HttpRoute['body'];

export type BodyReading =
  | { readonly kind: 'body'; readonly bytes: Buffer }
  | { readonly kind: 'refused'; readonly failure: HttpFailure }
  /** The client went away before the body was complete: there is nobody to answer. */
  | { readonly kind: 'aborted' };

/**
 * Reads the bytes of a body as they were sent, within the limit of its route. The listener bounds
 * the time. A refused body is not read, so that the connection can not be used again.
 */
export function readBody(request: IncomingMessage, rule: BodyRule): Promise<BodyReading> {
  const refused = refusalOf(request, rule);
  if (refused !== undefined) return Promise.resolve({ kind: 'refused', failure: refused });
  const maximum = rule?.maximumBytes ?? 0;
  const parts: Buffer[] = [];
  let size = 0;
  return new Promise((resolve) => {
    request.on('data', (part: Buffer) => {
      size += part.length;
      if (size <= maximum) {
        parts.push(part);
        return;
      }
      parts.length = 0;
      request.pause();
      resolve({ kind: 'refused', failure: tooLarge(maximum) });
    });
    request.on('end', () => resolve({ kind: 'body', bytes: Buffer.concat(parts, size) }));
    request.on('error', () => resolve({ kind: 'aborted' }));
    request.on('close', () => resolve({ kind: 'aborted' }));
  });
}

/** A refusal that follows from the head, so that the body need not be read. */
function refusalOf({ headers }: IncomingMessage, rule: BodyRule): HttpFailure | undefined {
  const length = Number(headers['content-length'] ?? 0);
  const maximum = rule?.maximumBytes ?? 0;
  if (length > maximum) return tooLarge(maximum);
  if (length === 0 && headers['transfer-encoding'] === undefined) return undefined;
  if ((headers['content-encoding'] ?? 'identity') !== 'identity')
    return failure(415, 'INVALID_REQUEST', 'content encodings are not supported', {
      next: 'Send the request again without Content-Encoding.',
    });
  const type = (headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
  if (rule?.types !== undefined && !rule.types.includes(type))
    return failure(
      415,
      'INVALID_REQUEST',
      `the content type ${type.slice(0, 100)} is not supported`,
      {
        next: `Send one of: ${rule.types.join(', ')}.`,
      },
    );
  return undefined;
}

const tooLarge = (maximum: number): HttpFailure =>
  failure(
    413,
    'REQUEST_TOO_LARGE',
    maximum === 0 ? 'this resource takes no body' : `the body has more than ${maximum} bytes`,
    { next: maximum === 0 ? 'Send the request without a body.' : 'Send a smaller body.' },
  );
