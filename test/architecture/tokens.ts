/**
 * A token of TypeScript source, as coarse as finding imports needs. `text` of a string is its
 * content, without escapes resolved.
 */
export interface Token {
  readonly kind: 'word' | 'string' | 'template' | 'regex' | 'punctuation';
  readonly text: string;
}

// After these a slash begins a regular expression; after any other word, a value, `)` or `]` it
// divides. That is wrong for `if (a) /b/.test(c)`, a form that this project does not use.
const beforeExpression = new Set([
  'return',
  'typeof',
  'case',
  'in',
  'of',
  'do',
  'else',
  'void',
  'delete',
  'throw',
  'new',
  'await',
  'yield',
  'instanceof',
]);
const wordStart = /[\p{ID_Start}$_#]/u;
const wordPart = /[\p{ID_Continue}$_\u200c\u200d]/u;

/**
 * Splits source into tokens and drops comments. Code inside `${}` of templates is split too, since
 * it can hold an import. Numbers come as words. Punctuation comes as single characters, `?.` as `?`
 * and `.`.
 */
export function tokenize(source: string): readonly Token[] {
  const tokens: Token[] = [];
  // One element per open brace: true when it was opened by `${`.
  const braces: boolean[] = [];
  let at = source.startsWith('#!') ? endOfLine(source, 0) : 0;

  const template = (): void => {
    const start = at;
    for (; at < source.length; at++) {
      if (source[at] === '\\') at++;
      else if (source[at] === '`') {
        tokens.push({ kind: 'template', text: source.slice(start, at++) });
        return;
      } else if (source[at] === '$' && source[at + 1] === '{') {
        tokens.push(
          { kind: 'template', text: source.slice(start, at) },
          { kind: 'punctuation', text: '${' },
        );
        at += 2;
        braces.push(true);
        return;
      }
    }
  };

  while (at < source.length) {
    const character = source[at] as string;
    if (/\s/.test(character)) at++;
    else if (source.startsWith('//', at)) at = endOfLine(source, at);
    else if (source.startsWith('/*', at)) at = endOf(source, '*/', at + 2);
    else if (character === '"' || character === "'") {
      const start = ++at;
      while (at < source.length && source[at] !== character) at += source[at] === '\\' ? 2 : 1;
      tokens.push({ kind: 'string', text: source.slice(start, at++) });
    } else if (character === '`') {
      at++;
      template();
    } else if (character === '/' && dividesNothing(tokens.at(-1))) {
      const start = at;
      at = endOfRegex(source, at);
      tokens.push({ kind: 'regex', text: source.slice(start, at) });
    } else if (wordStart.test(character) || /\d/.test(character)) {
      const start = at++;
      while (at < source.length && wordPart.test(source[at] as string)) at++;
      tokens.push({ kind: 'word', text: source.slice(start, at) });
    } else {
      at++;
      if (character === '{') braces.push(false);
      if (character === '}' && braces.pop() === true) {
        tokens.push({ kind: 'punctuation', text: '}' });
        template();
      } else tokens.push({ kind: 'punctuation', text: character });
    }
  }
  return tokens;
}

function dividesNothing(previous: Token | undefined): boolean {
  if (previous === undefined) return true;
  if (previous.kind === 'word') return beforeExpression.has(previous.text);
  return previous.kind === 'punctuation' && previous.text !== ')' && previous.text !== ']';
}

function endOfRegex(source: string, start: number): number {
  let inClass = false;
  let at = start + 1;
  for (; at < source.length && source[at] !== '\n'; at++) {
    if (source[at] === '\\') at++;
    else if (source[at] === '[') inClass = true;
    else if (source[at] === ']') inClass = false;
    else if (source[at] === '/' && !inClass) break;
  }
  at++;
  while (at < source.length && wordPart.test(source[at] as string)) at++;
  return at;
}

const endOfLine = (source: string, from: number): number => endOf(source, '\n', from);

function endOf(source: string, mark: string, from: number): number {
  const found = source.indexOf(mark, from);
  return found === -1 ? source.length : found + mark.length;
}
