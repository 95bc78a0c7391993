import { fail, ok, type Result } from '../../src/common/errors/index.ts';

/** A number as it stands in the text: `0644` is octal there. */
export interface HclNumber {
  readonly number: string;
}
export type HclValue = string | boolean | HclNumber | readonly HclValue[] | HclObject;
export type HclObject = ReadonlyMap<string, HclValue>;

type Token =
  | { readonly kind: 'word' | 'string' | 'number'; readonly text: string; readonly line: number }
  | { readonly kind: 'mark'; readonly text: string; readonly line: number };

const pattern = new RegExp(
  [
    String.raw`(?<space>\s+|#[^\n]*|\/\/[^\n]*|\/\*[\s\S]*?\*\/)`,
    String.raw`(?<string>"(?:[^"\\\n]|\\[^\n])*")`,
    String.raw`(?<number>-?(?:0[xX][0-9a-fA-F]+|[0-9]+))(?![\w.])`,
    String.raw`(?<word>[A-Za-z_][\w.-]*)`,
    String.raw`(?<mark>[={}[\],])`,
  ].join('|'),
  'y',
);

class HclError extends Error {}

/**
 * Reads what configuration files in HCL 1 are made of: keys with strings, numbers, booleans, lists and
 * objects, and blocks. Heredocs, floats and interpolation are refused. Fails with CONFIG_INVALID and
 * the line.
 */
export function parseHcl(text: string): Result<HclObject> {
  try {
    const reader = new HclReader(tokensOf(text));
    return ok(reader.body(undefined));
  } catch (thrown) {
    if (!(thrown instanceof HclError)) throw thrown;
    return fail('CONFIG_INVALID', thrown.message);
  }
}

function tokensOf(text: string): readonly Token[] {
  const tokens: Token[] = [];
  let line = 1;
  pattern.lastIndex = 0;
  while (pattern.lastIndex < text.length) {
    const groups = pattern.exec(text)?.groups;
    if (groups === undefined) throw new HclError(`line ${line} can not be read`);
    const [kind, found] = Object.entries(groups).find(([, part]) => part !== undefined) as [
      'space' | Token['kind'],
      string,
    ];
    if (kind === 'string') tokens.push({ kind, text: unquoted(found, line), line });
    else if (kind !== 'space') tokens.push({ kind, text: found, line });
    line += found.split('\n').length - 1;
  }
  return tokens;
}

function unquoted(text: string, line: number): string {
  if (text.includes('${')) throw new HclError(`line ${line}: interpolation is not carried out`);
  try {
    return JSON.parse(text) as string;
  } catch {
    throw new HclError(`line ${line}: the string has an escape that is not known`);
  }
}

class HclReader {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  body(end: '}' | undefined): HclObject {
    const values = new Map<string, HclValue>();
    while (!this.#ends(end)) {
      const key = this.#take();
      if (key.kind !== 'word' && key.kind !== 'string') throw this.#unexpected(key);
      if (values.has(key.text)) throw new HclError(`line ${key.line}: ${key.text} stands twice`);
      values.set(key.text, this.#is('{') ? this.#value() : this.#assigned());
      if (this.#is(',')) this.#take();
    }
    return values;
  }

  #assigned(): HclValue {
    const sign = this.#take();
    if (sign.kind !== 'mark' || sign.text !== '=') throw this.#unexpected(sign);
    return this.#value();
  }

  #value(): HclValue {
    const token = this.#take();
    if (token.kind === 'string') return token.text;
    if (token.kind === 'number') return { number: token.text };
    if (token.kind === 'word' && (token.text === 'true' || token.text === 'false'))
      return token.text === 'true';
    if (token.text === '{' && token.kind === 'mark') return this.body('}');
    if (token.text === '[' && token.kind === 'mark') return this.#list();
    throw this.#unexpected(token);
  }

  #list(): readonly HclValue[] {
    const values: HclValue[] = [];
    while (!this.#is(']')) {
      values.push(this.#value());
      if (this.#is(',')) this.#take();
      else if (!this.#is(']')) throw this.#unexpected(this.#take());
    }
    this.#take();
    return values;
  }

  #ends(end: '}' | undefined): boolean {
    if (end === undefined) return this.#at === this.#tokens.length;
    if (!this.#is(end)) return false;
    this.#take();
    return true;
  }

  #is(mark: string): boolean {
    const token = this.#tokens[this.#at];
    return token?.kind === 'mark' && token.text === mark;
  }

  #take(): Token {
    const token = this.#tokens[this.#at];
    if (token === undefined) throw new HclError('the text ends too early');
    this.#at += 1;
    return token;
  }

  #unexpected = ({ text, line }: Token): HclError =>
    new HclError(`line ${line}: "${text}" is not expected there`);
}
