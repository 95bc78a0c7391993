import { wrapped } from '../src/cli/wrap.ts';
import type { Drill } from './drill.ts';

type Listed = Pick<Drill, 'name' | 'promise' | 'options'>;

const nameColumns = 17;

/** Names and promises, in lines that fit this width. 0 columns: there is no width to fit. */
export const listText = (drills: readonly Listed[], columns: number): string =>
  drills
    .map(({ name, promise }) => {
      const lines = wrapped(promise, columns === 0 ? 0 : Math.max(20, columns - nameColumns));
      return `${name.padEnd(nameColumns)}${lines.join(`\n${' '.repeat(nameColumns)}`)}\n`;
    })
    .join('');

export const listJson = (drills: readonly Listed[]): string =>
  `${JSON.stringify(
    drills.map(({ name, promise, options }) => ({ name, promise, options })),
    null,
    2,
  )}\n`;
