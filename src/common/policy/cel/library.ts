import { createRequire } from 'node:module';

/** The library evaluates expressions in CEL (Common Expression Language). */
export type Cel = typeof import('@bufbuild/cel');
export type RegularExpressions = typeof import('@bufbuild/re2');

export type ParsedExpression = ReturnType<Cel['parse']>;
export type Node = ParsedExpression['expr'];
export type CompiledPattern = InstanceType<RegularExpressions['RE2JS']>;

export interface CelLibrary {
  readonly cel: Cel;
  readonly re2: RegularExpressions;
}

/**
 * Loads the library at the first policy that has an expression: it takes a tenth of a second, and
 * most starts need none of it.
 */
export function loadCel(): CelLibrary {
  const load = createRequire(import.meta.url);
  return {
    cel: load('@bufbuild/cel') as Cel,
    re2: load('@bufbuild/re2') as RegularExpressions,
  };
}
