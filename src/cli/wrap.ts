import { stripVTControlCharacters } from 'node:util';

/** A color code, or one column. */
const units = /\p{Cc}\[[0-9;]*m|[^]/gu;
const deepest = 12;

/**
 * The line in lines that fit this width, broken between words. The further ones are indented below
 * the text of the first. 0 columns: there is no width to fit.
 */
export function wrapped(line: string, columns: number): readonly string[] {
  if (columns <= 0 || widthOf(line) <= columns) return [line];
  const indent = ' '.repeat(Math.min(deepest, Math.floor(columns / 3), hangOf(line)));
  const lines: string[] = [];
  let current = '';
  for (const [chunk] of line.matchAll(/\s*\S+/g)) {
    if (widthOf(current) + widthOf(chunk) <= columns) {
      current += chunk;
      continue;
    }
    if (current !== '') lines.push(current);
    current = `${current === '' ? '' : indent}${chunk.trimStart()}`;
    while (widthOf(current) > columns) {
      const end = endOf(current, columns);
      lines.push(current.slice(0, end));
      current = `${indent}${current.slice(end)}`;
    }
  }
  return [...lines, current];
}

/** Where the text of the line begins: behind `next : ` or `alert: `, or behind what leads to it. */
function hangOf(line: string): number {
  const plain = stripVTControlCharacters(line);
  const label = /^(?:next ?|alert): /.exec(plain);
  if (label !== null) return label[0].length;
  return (/^[ └─]*/.exec(plain)?.[0].length ?? 0) + 3;
}

/** Where the first columns of the text end. */
function endOf(text: string, columns: number): number {
  let shown = 0;
  for (const { 0: unit, index } of text.matchAll(units)) {
    if (!unit.endsWith('m') || unit.length === 1) shown += 1;
    if (shown > columns) return index;
  }
  return text.length;
}

/** In columns of a terminal, which shows no color codes. */
const widthOf = (text: string): number => stripVTControlCharacters(text).length;
