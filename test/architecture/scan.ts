import { tokenize, type Token } from './tokens.ts';

export interface Import {
  readonly specifier: string;
  /**
   * `static` covers `export … from`; `type` vanishes on emit; `dynamic` covers `require` and
   * `import()` in type positions.
   */
  readonly kind: 'static' | 'dynamic' | 'type';
}

export interface Scan {
  readonly imports: readonly Import[];
  /**
   * `import(…)` or `require(…)` of something that is not a literal: nobody can tell where it leads.
   */
  readonly unknownImports: number;
  readonly defaultExport: boolean;
  /** Whether the global `process` is read, by any name it has. */
  readonly readsProcess: boolean;
}

/** What a TypeScript module imports, exports by default, and whether it reads `process`. */
export function scan(source: string): Scan {
  const tokens = tokenize(source);
  const imports: Import[] = [];
  let unknownImports = 0;
  let defaultExport = false;
  let readsProcess = false;
  const is = (at: number, ...texts: readonly string[]): boolean => {
    const token = tokens[at];
    return (
      token !== undefined &&
      token.kind !== 'string' &&
      token.kind !== 'template' &&
      texts.includes(token.text)
    );
  };

  const makesRequire = tokens.some(({ kind, text }) => kind === 'word' && text === 'createRequire');

  tokens.forEach((token, at) => {
    if (token.kind !== 'word') return;
    const member = is(at - 1, '.');
    if (token.text === 'process') {
      if (member ? is(at - 2, 'globalThis', 'global') : isRead(is, at)) readsProcess = true;
      return;
    }
    if (member) return;
    if ((token.text === 'import' || token.text === 'require') && is(at + 1, '(')) {
      const literal = literalAt(tokens, at + 2);
      if (literal !== undefined && (is(at + 3, ')') || is(at + 3, ',')))
        imports.push({ specifier: literal, kind: 'dynamic' });
      // Modules have no `require` unless they make one: otherwise it is a method of that name.
      else if (token.text === 'import' || makesRequire) unknownImports += 1;
      return;
    }
    if (token.text === 'export' && is(at + 1, 'default')) defaultExport = true;
    if (token.text !== 'import' && token.text !== 'export') return;
    if (token.text === 'import' && is(at + 1, '.', ':')) return;

    const clause = readClause(tokens, at + 1, token.text);
    if (token.text === 'export' && clause.exportsDefault) defaultExport = true;
    if (clause.specifier !== undefined)
      imports.push({ specifier: clause.specifier, kind: clause.typeOnly ? 'type' : 'static' });
  });
  if (imports.some(({ specifier, kind }) => kind !== 'type' && /^(node:)?process$/.test(specifier)))
    readsProcess = true;
  return { imports, unknownImports, defaultExport, readsProcess };
}

/**
 * `process.x`, `process?.x`, `process[x]`, `= process`, `f(process)`; not `{ process: 1 }`, nor a
 * method of that name.
 */
function isRead(is: (at: number, ...texts: readonly string[]) => boolean, at: number): boolean {
  if (is(at + 1, '.', '[')) return true;
  if (is(at + 1, '?') && is(at + 2, '.')) return true;
  if (is(at - 1, '=', 'of', 'in', 'return')) return true;
  return is(at - 1, '(', ',') && is(at + 1, ')', ',') && !is(at + 2, '{', ':', '=');
}

const literalAt = (tokens: readonly Token[], at: number): string | undefined => {
  const token = tokens[at];
  return token?.kind === 'string' || (token?.kind === 'template' && tokens[at + 1]?.text !== '${')
    ? token.text
    : undefined;
};

interface Clause {
  readonly specifier?: string;
  readonly typeOnly: boolean;
  readonly exportsDefault: boolean;
}

/**
 * Reads what follows `import` or `export`: `'x'`, `type`, a binding, `* as y`, `{ … }`, up to `from
 * 'x'`, or nothing of that.
 */
function readClause(tokens: readonly Token[], start: number, keyword: 'import' | 'export'): Clause {
  let at = start;
  const first = tokens[at];
  if (keyword === 'import' && first?.kind === 'string')
    return { specifier: first.text, typeOnly: false, exportsDefault: false };
  // `import type from 'x'` binds the name "type"; `import type, { y } from 'x'` as well.
  const next = tokens[at + 1];
  const typeOnly =
    first?.kind === 'word' &&
    first.text === 'type' &&
    next !== undefined &&
    next.text !== ',' &&
    !(next.text === 'from' && tokens[at + 2]?.kind === 'string');
  if (typeOnly) at++;

  let exportsDefault = false;
  let depth = 0;
  for (; at < tokens.length; at++) {
    const token = tokens[at] as Token;
    if (token.kind === 'word') {
      if (depth === 1 && token.text === 'default' && tokens[at + 1]?.text !== 'as')
        exportsDefault = true;
      const target = tokens[at + 1];
      if (depth === 0 && token.text === 'from' && target?.kind === 'string')
        return { specifier: target.text, typeOnly, exportsDefault };
      // An exported declaration, not a list: `export const …`.
      if (
        depth === 0 &&
        keyword === 'export' &&
        tokens[at - 1]?.text !== '*' &&
        token.text !== 'as' &&
        tokens[at - 1]?.text !== 'as'
      )
        break;
    } else if (token.kind === 'punctuation') {
      if (token.text === '{') depth++;
      else if (token.text === '}') depth--;
      else if (token.text === ';' || token.text === '=' || token.text === '(') break;
      if (depth < 0) break;
    } else if (depth === 0) break;
  }
  return { typeOnly, exportsDefault };
}
