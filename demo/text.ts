/**
 * Painting and measuring terminal text. A painted text carries escape sequences that take no room.
 */
const sequences = {
  bold: 1,
  dim: 2,
  red: 31,
  green: 32,
  yellow: 33,
  blue: 34,
  magenta: 35,
  cyan: 36,
} as const;
export type Tone = keyof typeof sequences;
export type Paint = (text: string, ...tones: readonly Tone[]) => string;

export const painter =
  (color: boolean): Paint =>
  (text, ...tones) =>
    color && tones.length > 0 && text !== ''
      ? `\u001b[${tones.map((tone) => sequences[tone]).join(';')}m${text}\u001b[0m`
      : text;

const escape = '\u001b';
const sequencePattern = `${escape}\\[[0-9;]*m`;
const escapes = new RegExp(sequencePattern, 'g');
const escapesKept = new RegExp(`(${sequencePattern})`);

/** Columns that a text takes; all our characters are one wide. */
export const widthOf = (text: string): number => Array.from(text.replace(escapes, '')).length;

/** Cuts to at most `width` columns, with an ellipsis, and never through an escape sequence. */
export function cut(text: string, width: number): string {
  if (widthOf(text) <= width) return text;
  if (width <= 0) return '';
  let out = '';
  let used = 0;
  for (const part of text.split(escapesKept)) {
    if (part.startsWith(escape)) {
      out += part;
      continue;
    }
    for (const character of part) {
      if (used < width - 1) out += character;
      else if (used === width - 1) out += '…';
      used += 1;
    }
  }
  return out;
}

export const fit = (text: string, width: number): string => {
  const short = cut(text, width);
  return short + ' '.repeat(Math.max(0, width - widthOf(short)));
};

/** Text at both ends of a line; the right one gives way first. */
export function apart(left: string, right: string, width: number): string {
  const room = width - widthOf(left) - widthOf(right);
  return room >= 1 ? left + ' '.repeat(room) + right : fit(left, width);
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar of `width` columns, filled to `share` (0 to 1) in steps of an eighth of a column. */
export function bar(
  share: number,
  width: number,
): { readonly full: string; readonly empty: string } {
  const units = Math.round(Math.min(1, Math.max(0, share)) * width * 8);
  const full = '█'.repeat(Math.floor(units / 8)) + (eighths[units % 8] as string);
  return { full, empty: '░'.repeat(width - full.length) };
}

const heights = '▁▂▃▄▅▆▇█';

/** The last `width` values as columns; the highest of them fills its column. */
export function sparkline(values: readonly number[], width: number): string {
  const shown = values.slice(-width);
  const highest = Math.max(1, ...shown);
  return shown
    .map((value) => heights[Math.min(7, Math.floor((value / highest) * 7.99))])
    .join('')
    .padStart(width);
}
