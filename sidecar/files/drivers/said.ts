import { oneLine } from '../../../src/common/runtime/index.ts';

const longest = 400;
/** What is looked at. A server could send megabytes of empty lines. */
const considered = 16_384;

/**
 * What a program or server said, as one line for people: the end of it, where the reason stands.
 */
export function said(...texts: readonly string[]): string {
  const lines = texts
    .join('\n')
    .slice(-considered)
    .split('\n')
    .map((line) => oneLine(line.trim()))
    .filter((line) => line !== '');
  const text = lines.join(' | ');
  return text.length > longest ? `…${text.slice(-longest)}` : text;
}
