import { PkiError } from '../errors/index.ts';

export type Json =
  | null
  | boolean
  | number
  | string
  | readonly Json[]
  | { readonly [key: string]: Json };

const maximumDepth = 32;

/**
 * JSON with sorted keys and no white space, as in RFC 8785. Bytes become base64, and undefined
 * members are left out. Throws INVALID_REQUEST for a value that JSON can not express, since an
 * approval must cover the whole request.
 */
export function canonicalJson(value: unknown, depth = 0): string {
  if (depth > maximumDepth)
    throw new PkiError('INVALID_REQUEST', `the request is nested deeper than ${maximumDepth}`);
  if (value === null || typeof value === 'boolean') return String(value);
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'number') {
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)))
      throw new PkiError('INVALID_REQUEST', `the number ${value} can not be stated exactly`);
    return JSON.stringify(value);
  }
  if (value instanceof Uint8Array)
    return JSON.stringify(
      Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64'),
    );
  if (Array.isArray(value))
    return `[${value.map((each) => canonicalJson(each, depth + 1)).join(',')}]`;
  if (typeof value !== 'object')
    throw new PkiError('INVALID_REQUEST', `a value of type ${typeof value} can not be approved`);
  const members = Object.entries(value)
    .filter(([, each]) => each !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${members.map(([key, each]) => `${JSON.stringify(key)}:${canonicalJson(each, depth + 1)}`).join(',')}}`;
}
