import type { Command } from 'commander';
import { fail, PkiError, unwrap, type Result } from '../../common/errors/index.ts';
import { policySha256, type Policy, type RuleTrace } from '../../common/policy/index.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { readBytes } from '../files.ts';
import { facts, json } from '../output.ts';
import { table } from '../table.ts';
import { policyVersionCommands } from './policy-versions.ts';

/** Policies of issuance: in files, checked and tested without a server, and in force at one. */
export function policyCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const policy = program
    .command('policy')
    .description('rules over everything that is issued: check, test and activate them');
  policy
    .command('check <file>')
    .description('read the policy of a file (YAML), and name every fault')
    .action(action(context, outcome, (options, [file]) => check(context, options, file as string)));
  policy
    .command('test <file>')
    .description('decide the requests of a file of cases by a policy, and compare')
    .requiredOption('--cases <file>', 'the cases: requests, and what is expected of each (YAML)')
    .action(
      action<{ cases: string }>(context, outcome, (options, [file]) =>
        test(context, options, file as string),
      ),
    );
  policyVersionCommands(policy, context, outcome);
}

const textOf = (context: CliContext, path: string): Promise<string> | string =>
  path === '-' ? context.readStdin() : readBytes(path).toString('utf8');

/** The faults of a file, with its path. */
const inFile = <T>(read: Result<T>, path: string): Result<T> =>
  read.ok ? read : fail(read.error.code, `${path}: ${read.error.message}`);

/** zod is loaded only here, since loading it takes time. */
async function policyOf(context: CliContext, path: string): Promise<[Policy, string]> {
  const { readPolicy } = await import('../../common/policy/file.ts');
  const text = await textOf(context, path);
  return [unwrap(inFile(readPolicy(text), path)), policySha256(text)];
}

async function check(context: CliContext, options: GlobalOptions, path: string): Promise<void> {
  const [{ rules, description }, sha256] = await policyOf(context, path);
  const count = (effect: 'allow' | 'deny'): number =>
    rules.filter((rule) => rule.effect === effect).length;
  if (options.json) {
    const shown = rules.map(({ name, effect, conditions }) => ({
      name,
      effect,
      conditions: Object.entries(conditions)
        .filter(([, value]) => value !== undefined)
        .map(([condition]) => condition),
    }));
    json(context, { description, sha256, rules: shown });
    return;
  }
  facts(context, [
    ['policy', description === '' ? path : description],
    ['rules', `${count('allow')} allow, ${count('deny')} deny`],
    ['sha256', sha256],
  ]);
}

async function test(
  context: CliContext,
  options: GlobalOptions & { readonly cases: string },
  path: string,
): Promise<void> {
  const { readCases, runCases } = await import('../../common/policy/cases.ts');
  const [policy] = await policyOf(context, path);
  const text = await textOf(context, options.cases);
  const outcomes = runCases(policy, unwrap(inFile(readCases(text, context.now()), options.cases)));
  const failed = outcomes.filter(({ passed }) => !passed);
  if (options.json) json(context, outcomes);
  else {
    table(
      context,
      [
        { title: 'CASE', value: ({ name }) => name },
        { title: 'RESULT', value: ({ passed }) => (passed ? 'passed' : 'FAILED') },
        { title: 'DECIDED', value: ({ verdict }) => (verdict.allowed ? 'allow' : 'deny') },
        { title: 'RULE', value: ({ verdict }) => verdict.rule ?? '(none matches)' },
      ],
      outcomes,
      'no cases',
    );
    for (const { name, trace } of failed)
      for (const each of trace)
        context.out(`${name}: ${each.effect} ${each.rule} ${outcomeOf(each)}\n`);
  }
  if (failed.length > 0)
    throw new PkiError(
      'POLICY_TEST_FAILED',
      `${failed.length} of ${outcomes.length} cases are decided otherwise than expected`,
    );
}

function outcomeOf({ mismatch, failure }: RuleTrace): string {
  if (failure !== undefined) return `could not be decided: ${failure}`;
  return mismatch === undefined ? 'matches' : `does not match: ${mismatch}`;
}
