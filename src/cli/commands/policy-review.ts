import type { Command } from 'commander';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { policySha256, statedLater, type PolicyFacts } from '../../common/policy/index.ts';
import type { PolicyRequestFacts__Output } from '../../common/wire/generated/meshca/admin/v1/PolicyRequestFacts.ts';
import { SpiffeId } from '../../common/spiffe/index.ts';
import { action, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json, printable } from '../output.ts';
import {
  inFile,
  namedPolicy,
  storedPolicy,
  textOf,
  versionNumber,
  versionOf,
  type NamedPolicy,
} from '../policy-source.ts';
import { explained, factRows, verdictText } from '../policy-trace.ts';

interface ExplainFlags {
  readonly request?: string;
  readonly policy?: string;
}

/** What tells two policies apart, and how one decides a request. */
export function policyReviewCommands(policy: Command, context: CliContext, outcome: Outcome): void {
  policy
    .command('diff <before> <after>')
    .description('rules that were added, removed or changed: of files, versions, or "in-force"')
    .action(
      action(context, outcome, (options, [before, after]) =>
        diff(context, options, [before as string, after as string]),
      ),
    );
  policy
    .command('explain [id]')
    .description(
      'which rule decided, and why the others did not: the serial of a certificate, the jti of a JWT-SVID, or the ID of a refusal',
    )
    .option('--request <file>', 'in place of an ID: one request, as in a file of cases (YAML)')
    .option('--policy <policy>', 'decide it by this file or version; default: the one that decided')
    .action(
      action<ExplainFlags>(context, outcome, (options, [id]) => explain(context, options, id)),
    );
}

async function diff(
  context: CliContext,
  options: GlobalOptions,
  sources: readonly [string, string],
): Promise<void> {
  const before = await namedPolicy(context, options, sources[0]);
  const after = await namedPolicy(context, options, sources[1]);
  const { policyDifferences } = await import('../../common/policy/differences.ts');
  const { words, rules } = policyDifferences(before.text, after.text);
  if (options.json) {
    const named = ({ name, text }: NamedPolicy) => ({
      name,
      sha256: text === '' ? '' : policySha256(text),
    });
    json(context, { before: named(before), after: named(after), words, rules });
    return;
  }
  if (words.length === 0 && rules.length === 0) {
    context.out(`${printable(`${before.name} and ${after.name}`)} have the same rules\n`);
    return;
  }
  for (const word of words) context.out(`policy: ${printable(word)}\n`);
  for (const { rule, change, effect, words: lines } of rules) {
    context.out(`rule ${printable(rule)} (${effect}) was ${change}\n`);
    for (const line of lines) context.out(`  ${printable(line)}\n`);
  }
}

async function explain(
  context: CliContext,
  options: ExplainFlags & GlobalOptions,
  id: string | undefined,
): Promise<void> {
  if ((id === undefined) === (options.request === undefined))
    throw new PkiError('INVALID_REQUEST', 'name either an ID or a request', {
      next: 'Name the serial, jti or refusal ID, or give a file by --request.',
    });
  if (id === undefined) await explainRequest(context, options, options.request as string);
  else await explainRecord(context, options, id);
}

async function explainRequest(
  context: CliContext,
  options: ExplainFlags & GlobalOptions,
  path: string,
): Promise<void> {
  const { readRequest } = await import('../../common/policy/cases.ts');
  const request = unwrap(inFile(readRequest(await textOf(context, path), context.now()), path));
  const policy = await namedPolicy(context, options, options.policy ?? 'in-force');
  show(context, options, { policy, facts: request });
}

async function explainRecord(
  context: CliContext,
  options: ExplainFlags & GlobalOptions,
  id: string,
): Promise<void> {
  const decision = await withAdmin(context, options, 'Policies', (calls) =>
    calls.call('GetPolicyDecision', { id: id.toLowerCase() }),
  );
  if (decision.facts === null) throw new PkiError('INTERNAL', 'the decision has no facts');
  const { record, recordKind, timeMs, allowed, version, rule } = decision;
  const policy =
    options.policy !== undefined
      ? await namedPolicy(context, options, options.policy)
      : await storedPolicy(
          version === 0
            ? { version, text: '' }
            : await versionOf(context, options, versionNumber(String(version))),
        );
  show(context, options, {
    policy,
    facts: factsOf(decision.facts),
    recorded: { record, kind: recordKind, timeMs, allowed, version, rule },
  });
}

interface Recorded {
  readonly record: number;
  readonly kind: string;
  readonly timeMs: number;
  readonly allowed: boolean;
  readonly version: number;
  readonly rule: string;
}

function show(
  context: CliContext,
  options: GlobalOptions,
  {
    policy,
    facts: request,
    recorded,
  }: {
    readonly policy: NamedPolicy;
    readonly facts: PolicyFacts;
    readonly recorded?: Recorded;
  },
): void {
  const verdict = explained(policy, request);
  if (options.json) {
    const spiffeId = request.spiffeId?.toString();
    json(context, { recorded, policy: policy.name, facts: { ...request, spiffeId }, ...verdict });
    return;
  }
  facts(context, [
    ...(recorded === undefined ? [] : recordedRows(recorded)),
    ...factRows(request),
    ['decision', verdictText(verdict, policy.name)],
  ]);
  for (const { rule, effect, outcome } of verdict.rules)
    context.out(`${effect} ${printable(`${rule} ${outcome}`)}\n`);
}

const recordedRows = ({ record, kind, timeMs, allowed, version, rule }: Recorded) =>
  [
    ['record', `${record} (${kind}), ${instant(Math.floor(timeMs / 1000))}`],
    [
      'recorded',
      verdictText(
        { allowed, rule: rule === '' ? undefined : rule },
        version === 0 ? 'the built-in policy' : `version ${version}`,
      ),
    ],
  ] as const;

/** The facts as the server read them from the record. */
function factsOf(stated: PolicyRequestFacts__Output): PolicyFacts {
  const { spiffeId, dnsNames, ips, audiences, ttlSeconds } = stated;
  const isJwt = stated.kind === 'jwt-svid';
  return {
    at: stated.at,
    kind: stated.kind as PolicyFacts['kind'],
    caller: stated.caller as PolicyFacts['caller'],
    callerName: stated.callerName,
    spiffeId: spiffeId === '' ? undefined : SpiffeId.of(spiffeId),
    dnsNames: isJwt ? undefined : dnsNames,
    ips: isJwt ? undefined : ips,
    audiences: isJwt ? audiences : undefined,
    profile: orUndefined(stated.profile) as PolicyFacts['profile'],
    keyType: orUndefined(stated.keyType) as PolicyFacts['keyType'],
    ttlSeconds: ttlSeconds === 0 ? undefined : ttlSeconds,
    entryId: orUndefined(stated.entry),
    delegationId: orUndefined(stated.delegation),
    ...statedLater({
      tenant: orUndefined(stated.tenant),
      eabKeyId: orUndefined(stated.eabKey),
      exchangedBy: orUndefined(stated.exchangedBy),
      exchangedDelegation: orUndefined(stated.exchangedDelegation),
      tokenIssuer: orUndefined(stated.tokenIssuer),
      tokenSubject: orUndefined(stated.tokenSubject),
    }),
  };
}

const orUndefined = (text: string): string | undefined => (text === '' ? undefined : text);
