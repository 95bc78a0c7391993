import { PkiError } from '../../common/errors/index.ts';
import type { TableName } from '../schema.ts';

/** node:sqlite returns a fresh Uint8Array per value, so that a view suffices. */
export const bytes = (value: Uint8Array): Buffer =>
  Buffer.from(value.buffer, value.byteOffset, value.byteLength);
export const bytesOrNull = (value: Uint8Array | null): Buffer | null =>
  value === null ? null : bytes(value);
export const hex = (value: Uint8Array): string => bytes(value).toString('hex');
export const hexOrNull = (value: Uint8Array | null): string | null =>
  value === null ? null : hex(value);

/** Strict: `Buffer.from` would silently stop at the first invalid digit. */
export function fromHex(text: string, name: string): Buffer {
  const value = Buffer.from(text, 'hex');
  if (value.length === 0 || value.length * 2 !== text.length)
    throw new PkiError('INVALID_REQUEST', `${name} is not lower-case hex of whole bytes`);
  return value;
}

/** For look-ups: a text that is not hex can not be recorded. */
export function fromHexOrUndefined(text: string): Buffer | undefined {
  const value = Buffer.from(text, 'hex');
  return value.length > 0 && value.length * 2 === text.length ? value : undefined;
}

export const flag = (value: boolean): number => (value ? 1 : 0);

/**
 * Parses JSON of a row that is compared with the log. Text of another form is read as `unreadable`,
 * which no row of ours has: the row then differs from the log, and no other row suffers with it.
 */
export function loggedJson<T extends object>(text: string, unreadable: T): T {
  try {
    const value: unknown = JSON.parse(text);
    const isSame =
      typeof value === 'object' &&
      value !== null &&
      Array.isArray(value) === Array.isArray(unreadable);
    return isSame ? (value as T) : unreadable;
  } catch {
    return unreadable;
  }
}

/** The same for a list of texts. */
export const loggedTexts = <T extends string = string>(text: string): readonly T[] =>
  loggedJson<readonly T[]>(text, ['\0' as T]);

/** Parses JSON that this store wrote. If it does not parse, somebody else changed the row. */
export function fromJson<T>(table: TableName, text: string): T {
  try {
    return JSON.parse(text) as T;
  } catch (error) {
    throw new PkiError(
      'STORE_CORRUPT',
      `table ${table}: a column does not hold the JSON that was written`,
      { cause: error, grade: 'fatal' },
    );
  }
}
