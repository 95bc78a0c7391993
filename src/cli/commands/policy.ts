import type { Command } from 'commander';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { policySha256, type Policy } from '../../common/policy/index.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import type { CliContext } from '../context.ts';
import { facts, json } from '../output.ts';
import { inFile, policyOfText, textOf } from '../policy-source.ts';
import { outcomeOf } from '../policy-trace.ts';
import { table } from '../table.ts';
import { policyReplayCommand } from './policy-replay.ts';
import { policyReviewCommands } from './policy-review.ts';
import { policyVersionCommands } from './policy-versions.ts';

/** Policies of issuance: in files, checked and tested without a server, and in force at one. */
export function policyCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const policy = program
    .command('policy')
    .description('rules over everything that is issued: check, test, replay and activate them');
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
  policyReviewCommands(policy, context, outcome);
  policyReplayCommand(policy, context, outcome);
  policyVersionCommands(policy, context, outcome);
}

/** A policy of a file, with its digest. */
async function policyOf(context: CliContext, path: string): Promise<[Policy, string]> {
  const { text, policy } = await policyOfText(await textOf(context, path), path);
  return [policy, policySha256(text)];
}

async function check(context: CliContext, options: GlobalOptions, path: string): Promise<void> {
  const [{ rules, description }, sha256] = await policyOf(context, path);
  const count = (effect: 'allow' | 'deny'): number =>
    rules.filter((rule) => rule.effect === effect).length;
  if (options.json) {
    const shown = rules.map(({ name, effect, conditions, quota }) => ({
      name,
      effect,
      conditions: Object.entries(conditions)
        .filter(([, value]) => value !== undefined)
        .map(([condition]) => condition),
      ...(quota !== undefined && { quota }),
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
