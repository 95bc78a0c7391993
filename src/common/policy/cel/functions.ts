import type { Type } from './fields.ts';

interface Signature {
  /** The types of the value before the dot, and of the arguments. */
  readonly takes: readonly Type[];
  readonly gives: Type;
  /** The last argument must be a text in quotes. */
  readonly literal?: true;
}

const onText = (literal?: true): readonly Signature[] => [
  { takes: ['string', 'string'], gives: 'bool', ...(literal && { literal }) },
];
const onTime: readonly Signature[] = [{ takes: ['timestamp'], gives: 'int' }];
const sizes: readonly Signature[] = [
  { takes: ['string'], gives: 'int' },
  { takes: ['list(string)'], gives: 'int' },
  { takes: ['list(int)'], gives: 'int' },
];
const ordered: readonly Signature[] = [
  { takes: ['int', 'int'], gives: 'bool' },
  { takes: ['timestamp', 'timestamp'], gives: 'bool' },
];
const equal: readonly Signature[] = (
  ['bool', 'string', 'int', 'timestamp', 'list(string)', 'list(int)'] as const
).map((type) => ({ takes: [type, type], gives: 'bool' }));

/** Getters of a timestamp, in UTC. */
export const timeGetters: Readonly<Record<string, (date: Date) => number>> = {
  getFullYear: (date) => date.getUTCFullYear(),
  getMonth: (date) => date.getUTCMonth(),
  getDate: (date) => date.getUTCDate(),
  getDayOfWeek: (date) => date.getUTCDay(),
  getHours: (date) => date.getUTCHours(),
  getMinutes: (date) => date.getUTCMinutes(),
};

/** What an expression can call. None of them can fail, whatever the values. */
export const functions: Readonly<Record<string, readonly Signature[]>> = {
  size: sizes,
  timestamp: [{ takes: ['string'], gives: 'timestamp', literal: true }],
};
export const methods: Readonly<Record<string, readonly Signature[]>> = {
  size: sizes,
  startsWith: onText(),
  endsWith: onText(),
  contains: onText(),
  matches: onText(true),
  ...Object.fromEntries(Object.keys(timeGetters).map((name) => [name, onTime])),
};

/** By the names that the parser gives them. `&&`, `||` and `?:` are not in it: see the check. */
export const operators: Readonly<Record<string, { readonly sign: string } & Overloads>> = {
  '!_': { sign: '!', signatures: [{ takes: ['bool'], gives: 'bool' }] },
  '_==_': { sign: '==', signatures: equal },
  '_!=_': { sign: '!=', signatures: equal },
  '_<_': { sign: '<', signatures: ordered },
  '_<=_': { sign: '<=', signatures: ordered },
  '_>_': { sign: '>', signatures: ordered },
  '_>=_': { sign: '>=', signatures: ordered },
  '@in': {
    sign: 'in',
    signatures: [
      { takes: ['string', 'list(string)'], gives: 'bool' },
      { takes: ['int', 'list(int)'], gives: 'bool' },
    ],
  },
  '_[_]': {
    sign: '[]',
    signatures: [
      { takes: ['list(string)', 'int'], gives: 'string' },
      { takes: ['list(int)', 'int'], gives: 'int' },
    ],
  },
};
interface Overloads {
  readonly signatures: readonly Signature[];
}

/** Arithmetic is in the grammar, and in no rule: it can fail. */
export const arithmetic: Readonly<Record<string, string>> = {
  '_+_': '+',
  '_-_': '-',
  '_*_': '*',
  '_/_': '/',
  '_%_': '%',
  '-_': '-',
};
export type { Signature };
