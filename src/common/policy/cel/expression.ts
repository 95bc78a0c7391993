import { fail, ok, type Result } from '../../errors/index.ts';
import type { PolicyFacts } from '../facts.ts';
import { placeAt } from '../file-text.ts';
import { checkTree, Problem, type CheckedExpression } from './check.ts';
import { fieldOf, type CelInput } from './fields.ts';
import { timeGetters } from './functions.ts';
import type { Cel, CelLibrary, ParsedExpression } from './library.ts';
import { Patterns } from './pattern.ts';

const maximumCharacters = 1024;
/** The parser calls itself for each. */
const maximumBrackets = 24;
/** Of a list of the request; a macro goes through all of them. */
const maximumItems = 256;

/** A condition that was checked. */
export interface Expression {
  /** As it stands in the file. */
  readonly text: string;
  /** What bounds the cost of one decision. */
  readonly size: { readonly nodes: number; readonly instructions: number };
  /**
   * Whether the condition holds. One that needs a fact which the request does not have does not
   * hold. Fails with POLICY_FAILED if it can not be decided, such as at an index beyond a list.
   * Throws nothing.
   */
  holds(facts: PolicyFacts): Result<boolean>;
}

type Evaluate = (bindings: { readonly request: ReadonlyMap<string, CelInput> }) => unknown;

/** Fails with POLICY_INVALID, the place (line and column) and what is wrong. */
export function compileExpression(text: string, { cel, re2 }: CelLibrary): Result<Expression> {
  const bounds = boundsProblem(text);
  if (bounds !== undefined) return fail('POLICY_INVALID', bounds);
  let parsed: ParsedExpression | undefined;
  try {
    parsed = cel.parse(text);
    const patterns = new Patterns(re2);
    const checked = checkTree(parsed.expr, patterns);
    const evaluate = cel.plan(environment(cel, patterns), parsed) as Evaluate;
    return ok({
      text,
      size: { nodes: checked.nodes, instructions: patterns.instructions },
      holds: (facts) => holds({ cel, evaluate, checked }, facts),
    });
  } catch (thrown) {
    if (thrown instanceof Problem)
      return fail('POLICY_INVALID', `${placeOf(thrown, text, parsed)}: ${thrown.message}`);
    const message = thrown instanceof Error ? thrown.message : 'it can not be read';
    return fail('POLICY_INVALID', `no CEL: ${message.replace('<input>:', '').slice(0, 160)}`);
  }
}

function boundsProblem(text: string): string | undefined {
  if (text.length > maximumCharacters) return `it has more than ${maximumCharacters} characters`;
  let depth = 0;
  let deepest = 0;
  for (const character of text) {
    if ('([{?'.includes(character)) depth += 1;
    else if (')]}'.includes(character)) depth -= 1;
    deepest = Math.max(deepest, depth);
  }
  return deepest > maximumBrackets ? `it has more than ${maximumBrackets} levels` : undefined;
}

const placeOf = ({ node }: Problem, text: string, parsed: ParsedExpression | undefined): string =>
  placeAt(text, parsed?.sourceInfo?.positions[node.id.toString()] ?? 0);

/** The library compiles a pattern at each call, and reads a time in the zone of the process. */
function environment(cel: Cel, patterns: Patterns): ReturnType<Cel['celEnv']> {
  const { BOOL, INT, STRING } = cel.CelScalar;
  const timestamp = cel.objectType('google.protobuf.Timestamp');
  const getters = Object.entries(timeGetters).map(([name, get]) =>
    cel.celMethod(name, timestamp, [], INT, function () {
      const { seconds } = this.message as unknown as { readonly seconds: bigint };
      return BigInt(get(new Date(Number(seconds) * 1000)));
    }),
  );
  const matches = cel.celMethod('matches', STRING, [STRING], BOOL, function (pattern) {
    return patterns.matches(pattern, this);
  });
  return cel.celEnv({ funcs: [...getters, matches] });
}

interface Planned {
  readonly cel: Cel;
  readonly evaluate: Evaluate;
  readonly checked: CheckedExpression;
}

function holds({ cel, evaluate, checked }: Planned, facts: PolicyFacts): Result<boolean> {
  try {
    const request = new Map<string, CelInput>();
    for (const name of checked.reads) {
      const value = fieldOf(name)?.of(facts);
      if (Array.isArray(value) && value.length > maximumItems)
        return fail('POLICY_FAILED', `request.${name} has more than ${maximumItems} items`);
      if (value !== undefined) request.set(name, value);
    }
    const result = evaluate({ request });
    if (typeof result === 'boolean') return ok(result);
    if (!cel.isCelError(result)) return fail('POLICY_FAILED', 'the result is not bool');
    return isMissing(result, checked.readers)
      ? ok(false)
      : fail('POLICY_FAILED', failureText(result.message));
  } catch (thrown) {
    const message = thrown instanceof Error ? thrown.message : 'it can not be evaluated';
    return fail('POLICY_FAILED', failureText(message));
  }
}

const failureText = (message: string): string =>
  message.includes('out of bounds')
    ? 'it reads an item beyond the end of a list'
    : message.slice(0, 200);

type CelError = Extract<ReturnType<ReturnType<Cel['plan']>>, Error>;

/** Whether nothing failed but the reading of a fact that the request does not have. */
function isMissing(
  { exprId, cause }: Pick<CelError, 'exprId' | 'cause'>,
  readers: CheckedExpression['readers'],
): boolean {
  if (exprId === undefined || !readers.has(exprId)) return false;
  // both sides of && or || failed: the causes are the errors of the others
  return (
    cause === undefined ||
    (Array.isArray(cause) &&
      cause.every((other: Pick<CelError, 'exprId' | 'cause'>) => isMissing(other, readers)))
  );
}
