import type { ProgramEnd } from './run-program.ts';
import { said } from './said.ts';

export const endedHow = ({ exitCode }: ProgramEnd): string =>
  exitCode === undefined ? 'was ended by a signal' : `ended with ${exitCode}`;

export const saidBy = ({ stderr, stdout }: ProgramEnd): string =>
  said(stderr) || said(stdout) || 'it said nothing';
