import { fail, ok, type Result } from '../errors/index.ts';

/**
 * A SHA-256 as 64 hexadecimal digits in lower case. Upper case, colons, space around it and the prefix
 * `sha256:` are taken too. Fails with INVALID_REQUEST.
 */
export function parseFingerprint(text: string): Result<string> {
  const hex = text
    .trim()
    .toLowerCase()
    .replace(/^sha256:/, '')
    .replaceAll(':', '');
  return /^[0-9a-f]{64}$/.test(hex)
    ? ok(hex)
    : fail(
        'INVALID_REQUEST',
        `the fingerprint ${JSON.stringify(text.slice(0, 120))} is not 64 hexadecimal digits`,
      );
}
