import type { CompiledPattern, RegularExpressions } from './library.ts';

/** Of the program of one pattern: what is read of a text costs at most this much for a character. */
const maximumInstructions = 256;
const maximumCharacters = 256;
/** States that a pattern remembers to be fast. Texts of callers must not fill the memory. */
const rememberedStates = 500;

/** The patterns of one expression for `matches`, compiled once (RE2: linear in the text). */
export class Patterns {
  readonly #re2: RegularExpressions;
  readonly #compiled = new Map<string, CompiledPattern>();

  constructor(re2: RegularExpressions) {
    this.#re2 = re2;
  }

  /** Returns what is wrong with the pattern. */
  add(pattern: string): string | undefined {
    if (pattern.length > maximumCharacters)
      return `the pattern has more than ${maximumCharacters} characters`;
    try {
      const compiled = this.#re2.RE2JS.compile(pattern);
      if (compiled.re2().prog.inst.length > maximumInstructions)
        return 'the pattern is too large; leave counts such as {100} out';
      this.#compiled.set(pattern, compiled);
      return undefined;
    } catch (thrown) {
      return thrown instanceof Error ? thrown.message : 'the pattern is no regular expression';
    }
  }

  /** Instructions of all patterns together. */
  get instructions(): number {
    return [...this.#compiled.values()].reduce((sum, each) => sum + each.re2().prog.inst.length, 0);
  }

  /** @param pattern one that was added */
  matches(pattern: string, text: string): boolean {
    const compiled = this.#compiled.get(pattern);
    if (compiled === undefined) throw new Error('a pattern was not compiled');
    if (compiled.re2().dfa.stateCount > rememberedStates) compiled.reset();
    return compiled.test(text);
  }
}
