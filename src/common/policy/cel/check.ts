import { nearest } from '../../runtime/nearest.ts';
import { fieldOf, fields, type Scalar, type Type } from './fields.ts';
import { arithmetic, functions, methods, operators, type Signature } from './functions.ts';
import type { Node } from './library.ts';
import type { Patterns } from './pattern.ts';

/** Of one expression. A macro counts once; its range has at most `maximumItems` items. */
const maximumNodes = 150;

/** Why an expression is refused, and at which node. */
export class Problem extends Error {
  readonly node: Node;

  constructor(node: Node, text: string) {
    super(text);
    this.node = node;
  }
}

export interface CheckedExpression {
  readonly nodes: number;
  /** Names of fields that it reads. */
  readonly reads: ReadonlySet<string>;
  /** IDs of the nodes that read a field. */
  readonly readers: ReadonlySet<bigint>;
}

/**
 * Checks the syntax tree of an expression: known fields, listed functions, types, a bound on its
 * size and a boolean result.
 *
 * @throws Problem
 */
export function checkTree(tree: Node, patterns: Patterns): CheckedExpression {
  const check = new TreeCheck(patterns);
  const type = check.typeOf(tree, undefined);
  if (type !== 'bool') throw new Problem(tree, `the result is ${type}, and must be bool`);
  if (check.reads.size === 0) throw new Problem(tree, 'it reads nothing of the request');
  return check;
}

type Kind<Case extends Node['exprKind']['case']> = Extract<
  Node['exprKind'],
  { readonly case: Case }
>['value'];

/** Bodies of macros have one variable: macros do not nest. */
type Variable = { readonly name: string; readonly type: Type } | undefined;

class TreeCheck implements CheckedExpression {
  nodes = 0;
  readonly reads = new Set<string>();
  readonly readers = new Set<bigint>();
  readonly #patterns: Patterns;

  constructor(patterns: Patterns) {
    this.#patterns = patterns;
  }

  typeOf(node: Node, variable: Variable): Type {
    this.nodes += 1;
    if (this.nodes > maximumNodes)
      throw new Problem(node, `the expression has more than ${maximumNodes} parts`);
    const { exprKind } = node;
    switch (exprKind.case) {
      case 'constExpr':
        return constant(node, exprKind.value);
      case 'identExpr':
        return identifier(node, exprKind.value.name, variable);
      case 'selectExpr':
        return this.#select(node, exprKind.value);
      case 'listExpr':
        return this.#list(node, exprKind.value, variable);
      case 'callExpr':
        return this.#call(node, exprKind.value, variable);
      case 'comprehensionExpr':
        return this.#macro(node, exprKind.value, variable);
      default:
        throw new Problem(node, 'maps and messages can not be made');
    }
  }

  #select(node: Node, { operand, field: name, testOnly }: Kind<'selectExpr'>): Type {
    if (operand?.exprKind.case !== 'identExpr' || operand.exprKind.value.name !== 'request')
      throw new Problem(node, `only request has fields, so .${shown(name)} can not be read`);
    const field = fieldOf(name);
    if (field === undefined) throw new Problem(node, unknownField(name));
    this.reads.add(name);
    this.readers.add(node.id);
    return testOnly ? 'bool' : field.type;
  }

  #list(node: Node, { elements }: Kind<'listExpr'>, variable: Variable): Type {
    const types = new Set(elements.map((element) => this.typeOf(element, variable)));
    const [type] = types;
    if (types.size !== 1 || (type !== 'string' && type !== 'int'))
      throw new Problem(node, 'a list has items, and they are all of type string or all int');
    return listOf(type);
  }

  #call(node: Node, call: Kind<'callExpr'>, variable: Variable): Type {
    const { function: name, target, args } = call;
    if (target === undefined) {
      if (name === '_&&_' || name === '_||_') return this.#logic(name, args, variable);
      if (name === '_?_:_') return this.#choice(node, args, variable);
      const operator = own(operators, name);
      if (operator !== undefined)
        return this.#apply(node, operator.sign, operator.signatures, this.#all(args, variable));
      const sign = own(arithmetic, name);
      if (sign !== undefined) throw new Problem(node, `there is no arithmetic (${sign})`);
    }
    const known = target === undefined ? functions : methods;
    const signatures = own(known, name);
    if (signatures === undefined) throw new Problem(node, unknownFunction(name, known));
    const operands = target === undefined ? args : [target, ...args];
    const type = this.#apply(node, name, signatures, this.#all(operands, variable));
    if (signatures.some(({ literal }) => literal)) this.#literal(node, name, operands.at(-1));
    return type;
  }

  #all(nodes: readonly Node[], variable: Variable): readonly Type[] {
    return nodes.map((node) => this.typeOf(node, variable));
  }

  #apply(node: Node, name: string, signatures: readonly Signature[], given: readonly Type[]): Type {
    const fitting = signatures.find(
      ({ takes }) =>
        takes.length === given.length && takes.every((type, index) => type === given[index]),
    );
    if (fitting !== undefined) return fitting.gives;
    throw new Problem(node, `${name} does not take ${given.join(' and ') || 'nothing'}`);
  }

  #logic(name: string, args: readonly Node[], variable: Variable): Type {
    for (const arg of args) {
      const type = this.typeOf(arg, variable);
      if (type !== 'bool')
        throw new Problem(arg, `${name.slice(1, 3)} takes bool, and not ${type}`);
    }
    return 'bool';
  }

  #choice(node: Node, args: readonly Node[], variable: Variable): Type {
    const [condition, one, other] = this.#all(args, variable);
    if (condition !== 'bool' || one === undefined || one !== other)
      throw new Problem(node, '?: takes a bool, and two values of one type');
    return one;
  }

  #literal(node: Node, name: string, argument: Node | undefined): void {
    const kind = argument?.exprKind;
    const literal = kind?.case === 'constExpr' ? kind.value.constantKind : undefined;
    if (literal?.case !== 'stringValue')
      throw new Problem(node, `${name} takes a text in quotes, so that it can be checked here`);
    const problem =
      name === 'matches' ? this.#patterns.add(literal.value) : instantProblem(literal.value);
    if (problem !== undefined) throw new Problem(argument ?? node, problem);
  }

  /** `exists`, `exists_one` and `all`, as the parser expands them. */
  #macro(node: Node, macro: Kind<'comprehensionExpr'>, variable: Variable): Type {
    if (variable !== undefined) throw new Problem(node, 'macros can not be nested');
    const { iterRange, iterVar: name, loopStep } = macro;
    const body = bodyOf(loopStep);
    if (iterRange === undefined || body === undefined)
      throw new Problem(node, 'of the macros there are exists, exists_one, all and has');
    const range = this.typeOf(iterRange, undefined);
    const item = itemOf(range);
    if (item === undefined) throw new Problem(iterRange, `a list is needed, and not ${range}`);
    if (name === 'request') throw new Problem(node, 'request is no name for an item');
    const type = this.typeOf(body, { name, type: item });
    if (type !== 'bool') throw new Problem(body, `the test of an item is ${type}, and not bool`);
    return 'bool';
  }
}

/** Names come from the file: none of them leads to what every object has. */
const own = <Value>(record: Readonly<Record<string, Value>>, name: string): Value | undefined =>
  Object.hasOwn(record, name) ? record[name] : undefined;

const listOf = (type: Scalar): Type => `list(${type})`;
const itemOf = (type: Type): Type | undefined =>
  type === 'list(string)' ? 'string' : type === 'list(int)' ? 'int' : undefined;

/** The test of `exists` and `all`, which the parser puts beside the result, or of `exists_one`. */
function bodyOf(step: Node | undefined): Node | undefined {
  if (step?.exprKind.case !== 'callExpr') return undefined;
  const { function: name, args } = step.exprKind.value;
  if (name === '_||_' || name === '_&&_') return args[1];
  const then = args[1]?.exprKind;
  const counts =
    name === '_?_:_' &&
    then?.case === 'callExpr' &&
    then.value.args[1]?.exprKind.case === 'constExpr';
  return counts ? args[0] : undefined;
}

function constant(node: Node, { constantKind }: Kind<'constExpr'>): Type {
  switch (constantKind.case) {
    case 'boolValue':
      return 'bool';
    case 'stringValue':
      return 'string';
    case 'int64Value':
      if (BigInt.asIntN(64, constantKind.value) === constantKind.value) return 'int';
      throw new Problem(node, 'the number is beyond 64 bits');
    default:
      throw new Problem(node, 'constants are texts, whole numbers, true and false');
  }
}

function identifier(node: Node, name: string, variable: Variable): Type {
  if (variable?.name === name) return variable.type;
  const next =
    name === 'request' ? 'a field of request is needed' : `did you mean request.${name}?`;
  if (name === 'request' || fieldOf(name) !== undefined)
    throw new Problem(node, `${shown(name)} alone is no value; ${next}`);
  throw new Problem(node, `${shown(name)} is not known; the fields are request.NAME`);
}

const shown = (name: string): string => name.slice(0, 40);

function unknownField(name: string): string {
  const near = nearest(name.slice(0, 64), Object.keys(fields));
  return `request has no field ${shown(name)}${near === undefined ? '' : `; did you mean ${near}?`}`;
}

function unknownFunction(name: string, known: Readonly<Record<string, unknown>>): string {
  const names = Object.keys(known);
  const near = nearest(name.slice(0, 64), names);
  return `there is no function ${shown(name)}; ${near === undefined ? `there are ${names.join(', ')}` : `did you mean ${near}?`}`;
}

const instantProblem = (text: string): string | undefined =>
  /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$/.test(text) && isInstant(text)
    ? undefined
    : 'an instant is written such as 2026-11-30T09:00:00Z';

/** Not the 30th of February. */
function isInstant(text: string): boolean {
  const date = new Date(text);
  return !Number.isNaN(date.getTime()) && date.toISOString() === text.replace('Z', '.000Z');
}
