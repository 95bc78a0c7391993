import { PkiError } from '../common/errors/index.ts';
import { oneLine } from '../common/runtime/index.ts';
import type { CliContext } from './context.ts';

/** Names and values under each other. */
export function facts(
  context: CliContext,
  pairs: readonly (readonly [name: string, value: string])[],
): void {
  const width = Math.max(...pairs.map(([name]) => name.length));
  for (const [name, value] of pairs) {
    const [first, ...more] = value.split('\n');
    context.out(`${name.padEnd(width)}  ${printable(first ?? '')}\n`);
    for (const next of more) context.out(`${' '.repeat(width)}  ${printable(next)}\n`);
  }
}

/**
 * JSON for scripts. Bytes, such as DER, are base64 (RFC 4648 section 4), as in the JSON of
 * protobuf.
 */
export function json(context: CliContext, value: unknown): void {
  context.out(
    `${escaped(JSON.stringify(value, (_, item: unknown) => (isBufferJson(item) ? Buffer.from(item.data).toString('base64') : item), 2))}\n`,
  );
}

export function printError(context: CliContext, error: PkiError, asJson: boolean): void {
  if (asJson) {
    context.err(
      `${escaped(JSON.stringify({ error: { code: error.code, message: error.message, next: error.next, ...error.detail } }))}\n`,
    );
    return;
  }
  const bold = (text: string): string =>
    context.terminal.color ? `\u001b[1;31m${text}\u001b[0m` : text;
  context.err(`${bold(`error ${error.code}`)}: ${printable(error.message)}\n`);
  context.err(`next: ${printable(error.next)}\n`);
  const requestId = error.detail['requestId'];
  if (requestId !== undefined) context.err(`request: ${String(requestId)}\n`);
}

/** An instant as ISO 8601 in UTC, or a dash. */
export const instant = (seconds: number): string =>
  seconds === 0 ? '-' : new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');

/** The time until an instant, in the largest units that fit. */
export function until(seconds: number, now: number): string {
  if (seconds === 0) return '-';
  const left = seconds - now;
  return left < 0 ? `${duration(-left)} ago` : `in ${duration(left)}`;
}

export function duration(seconds: number): string {
  const units: readonly [number, string][] = [
    [86_400, 'd'],
    [3_600, 'h'],
    [60, 'min'],
    [1, 's'],
  ];
  const index = units.findIndex(([size]) => seconds >= size);
  if (index < 0) return '0 s';
  const [size, name] = units[index] as [number, string];
  const [smaller, smallerName] = units[index + 1] ?? [0, ''];
  const rest = smaller === 0 ? 0 : Math.floor((seconds % size) / smaller);
  return `${Math.floor(seconds / size)} ${name}${rest > 0 && seconds / size < 10 ? ` ${rest} ${smallerName}` : ''}`;
}

const durationUnits: Readonly<Record<string, number>> = {
  s: 1,
  m: 60,
  min: 60,
  h: 3_600,
  d: 86_400,
};

/** A duration that may be zero: `0s`. */
export function parseAge(text: string): number {
  const match = /^([0-9]+) ?(s|m|min|h|d)?$/.exec(text.trim());
  if (match === null)
    throw new PkiError('INVALID_REQUEST', `${JSON.stringify(text)} is not a duration`, {
      next: 'Write a whole number with a unit: 90s, 10m, 24h or 7d.',
    });
  return Number(match[1]) * (durationUnits[match[2] ?? 's'] as number);
}

/** `90`, `90s`, `10m`, `24h`, `7d` → seconds, at least one. Elsewhere, 0 means the default. */
export function parseDuration(text: string): number {
  const seconds = parseAge(text);
  if (seconds < 1)
    throw new PkiError('INVALID_REQUEST', `the duration ${JSON.stringify(text)} is zero`, {
      next: 'Write a whole number from 1 on with a unit: 90s, 10m, 24h or 7d; leave it out for the default.',
    });
  return seconds;
}

/** Text of others, changed so that it can not move the cursor or hide lines. */
export const printable = (text: string): string => oneLine(text);

/** The same for a text of several lines, in which a tab stands for spaces. */
export const printableLines = (text: string): string =>
  text
    .split(/\r?\n/)
    .map((line) => printable(line.replaceAll('\t', '  ')))
    .join('\n');

/** JSON for a terminal as well: the same values, without characters that move the cursor or hide text. */
const escaped = (text: string): string =>
  text.replace(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );

const isBufferJson = (value: unknown): value is { readonly data: number[] } =>
  typeof value === 'object' &&
  value !== null &&
  (value as { type?: unknown }).type === 'Buffer' &&
  Array.isArray((value as { data?: unknown }).data);
