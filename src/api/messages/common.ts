import { PkiError, type ErrorCode } from '../../common/errors/index.ts';
import { parseSelector, selectorText, type Selector } from '../../common/spiffe/index.ts';
import { outsideView } from '../../common/wire/index.ts';
import { checkPage } from '../../services/requests.ts';
import type { PageRequest } from '../../store/ports/index.ts';

/**
 * Conversions between protobuf messages and domain types. This layer checks the form of the input;
 * the services judge its meaning.
 */

/** The services know how large a page is at most. */
export const pageOf = (
  page: { readonly size: number; readonly token: string } | null | undefined,
  signal: AbortSignal,
): PageRequest => checkPage({ size: page?.size ?? 0, after: page?.token ?? '', signal });

export const selectorsOf = (
  selectors: readonly { readonly type: string; readonly value: string }[],
): Selector[] =>
  selectors.map(({ type, value }) => {
    const parsed = parseSelector(`${type}:${value}`);
    if (!parsed.ok) throw parsed.error;
    return parsed.value;
  });

export function selectorsFromText(texts: readonly string[]): Selector[] {
  return texts.map((text) => {
    const parsed = parseSelector(text);
    if (!parsed.ok) throw parsed.error;
    return parsed.value;
  });
}

export const selectorTexts = (selectors: readonly Selector[]): string[] =>
  selectors.map(selectorText);

/** On the wire, an empty text means "absent". */
export const given = <K extends string>(key: K, value: string): { readonly [P in K]?: string } =>
  value === '' ? {} : ({ [key]: value } as { readonly [P in K]?: string });

export function oneOf<T extends string>(
  name: string,
  value: string,
  allowed: readonly T[],
  whenEmpty: T,
): T {
  if (value === '') return whenEmpty;
  if (!(allowed as readonly string[]).includes(value))
    throw new PkiError(
      'INVALID_REQUEST',
      `${name} ${JSON.stringify(value)} is unknown; allowed: ${allowed.join(', ')}`,
    );
  return value as T;
}

/** The error of an item as the caller may see it. Administrators also see codes for operators. */
export function problemOf(
  error: PkiError,
  full: boolean,
): { readonly code: ErrorCode; readonly message: string; readonly next: string } {
  return full ? { code: error.code, message: error.message, next: error.next } : outsideView(error);
}

export const tooMany = (items: string, count: number, limit: number): void => {
  if (count > limit)
    throw new PkiError('REQUEST_TOO_LARGE', `${count} ${items} in one call; the limit is ${limit}`);
};

/** Serials are sent as lower-case hex. */
export function serialOf(text: string): string {
  const serial = text.toLowerCase().replaceAll(':', '');
  if (!/^[0-9a-f]{2,40}$/.test(serial))
    throw new PkiError(
      'INVALID_REQUEST',
      `serial ${JSON.stringify(text.slice(0, 60))} is not a hexadecimal number of at most 20 octets`,
    );
  return serial;
}
