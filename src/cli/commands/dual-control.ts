import type { Command } from 'commander';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import { parseSshPublicKey } from '../../common/ssh-signature/index.ts';
import type { ApprovalPolicy__Output } from '../../common/wire/generated/meshca/admin/v1/ApprovalPolicy.ts';
import type { Approver__Output } from '../../common/wire/generated/meshca/admin/v1/Approver.ts';
import { action, collect, wholeNumber, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import { readBytes } from '../files.ts';
import type { CliContext } from '../context.ts';
import { duration, facts, instant, json, parseDuration } from '../output.ts';
import { table } from '../table.ts';

/**
 * The policy of dual control. A change of the policy in force waits for its approvers. Switching it
 * on waits for the new approvers.
 */
export function dualControlCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const dual = program.command('dual-control').description('the approvers of what admins do');
  showCommand(dual, context, outcome);
  enableCommand(dual, context, outcome);
  disableCommand(dual, context, outcome);
  requireCommand(dual, context, outcome);
  addApproverCommand(dual, context, outcome);
  removeApproverCommand(dual, context, outcome);
}

function showCommand(dual: Command, context: CliContext, outcome: Outcome): void {
  dual
    .command('show')
    .description('show the policy')
    .action(
      action(context, outcome, async (options) => {
        const stored = await withAdmin(context, options, 'Approvals', (calls) =>
          calls.call('GetApprovalPolicy', {}),
        );
        if (options.json) {
          json(context, stored);
          return;
        }
        const policy = present(stored.policy);
        facts(context, [
          [
            'dual control',
            policy.enabled
              ? `on: ${policy.required} of ${policy.approvers.length} approvers`
              : 'off',
          ],
          ...(policy.lifeSeconds === 0
            ? []
            : [['an operation waits', duration(policy.lifeSeconds)] as const]),
          ['version', `${stored.version}, SHA-256 ${stored.sha256}`],
          ['changed', `${instant(stored.updatedAt)} by ${stored.updatedBy || '-'}`],
        ]);
        context.out('\n');
        table(
          context,
          [
            { title: 'APPROVER', value: (row) => row.name },
            {
              title: 'KEY',
              value: (row) => {
                const key = parseSshPublicKey(row.publicKey);
                return key.ok ? `${key.value.type} ${key.value.fingerprint}` : row.publicKey;
              },
            },
            {
              title: 'VALID',
              value: (row) =>
                `${row.notBefore === 0 ? '' : `from ${instant(row.notBefore)} `}${row.notAfter === 0 ? 'always' : `until ${instant(row.notAfter)}`}`,
            },
            { title: 'PROPOSES AS', value: (row) => row.identities.join(' ') || '-' },
          ],
          policy.approvers,
          'no approvers',
        );
      }),
    );
}

function enableCommand(dual: Command, context: CliContext, outcome: Outcome): void {
  dual
    .command('enable')
    .description('switch dual control on; this takes effect when enough approvers have approved it')
    .requiredOption('--required <k>', 'the number of approvers that must approve, at least 2')
    .option(
      '--approver <name=file.pub>',
      'repeat: an approver; default: the approvers of the present policy',
      collect,
    )
    .option(
      '--identity <name=id>',
      'repeat: the SPIFFE ID, or uid:N, of an approver as a proposer',
      collect,
    )
    .option('--life <duration>', 'the time that an operation waits; default 24h')
    .action(
      action<{
        required: string;
        approver?: readonly string[];
        identity?: readonly string[];
        life?: string;
      }>(context, outcome, async (options) => {
        await change(context, options, (policy) => ({
          enabled: true,
          required: wholeNumber('--required', options.required),
          lifeSeconds:
            options.life === undefined ? policy.lifeSeconds : parseDuration(options.life),
          approvers:
            options.approver === undefined
              ? policy.approvers
              : approversOf(options.approver, options.identity ?? []),
        }));
        context.err(
          'enrol more approvers than must approve: a lost key can be replaced only if enough others approve\n',
        );
      }),
    );
}

function disableCommand(dual: Command, context: CliContext, outcome: Outcome): void {
  dual
    .command('disable')
    .description('switch dual control off')
    .action(
      action(context, outcome, (options) =>
        change(context, options, (policy) => ({ ...policy, enabled: false })),
      ),
    );
}

function requireCommand(dual: Command, context: CliContext, outcome: Outcome): void {
  dual
    .command('require <k>')
    .description('change the number of approvers that must approve')
    .action(
      action(context, outcome, (options, [k]) =>
        change(context, options, (policy) => ({
          ...policy,
          required: wholeNumber('the number of approvals', k as string),
        })),
      ),
    );
}

function addApproverCommand(dual: Command, context: CliContext, outcome: Outcome): void {
  dual
    .command('add-approver <name>')
    .description('enrol an approver, or replace the key of an approver')
    .requiredOption('--public-key <file>', 'the .pub file')
    .option(
      '--identity <id>',
      'repeat: the SPIFFE ID, or uid:N, of the approver as a proposer',
      collect,
    )
    .option('--valid <duration>', 'the approver is valid for this time from now on')
    .action(
      action<{ publicKey: string; identity?: readonly string[]; valid?: string }>(
        context,
        outcome,
        (options, [name]) =>
          change(context, options, (policy) => ({
            ...policy,
            approvers: [
              ...policy.approvers.filter((row) => row.name !== name),
              {
                name: name as string,
                publicKey: publicKeyIn(options.publicKey),
                identities: [...(options.identity ?? [])],
                notBefore: 0,
                notAfter:
                  options.valid === undefined ? 0 : context.now() + parseDuration(options.valid),
              },
            ],
          })),
      ),
    );
}

function removeApproverCommand(dual: Command, context: CliContext, outcome: Outcome): void {
  dual
    .command('remove-approver <name>')
    .description('remove an approver')
    .action(
      action(context, outcome, (options, [name]) =>
        change(context, options, (policy) => {
          if (!policy.approvers.some((row) => row.name === name))
            throw new PkiError('NOT_FOUND', `no approver has the name ${name ?? ''}`);
          return { ...policy, approvers: policy.approvers.filter((row) => row.name !== name) };
        }),
      ),
    );
}

async function change(
  context: CliContext,
  options: GlobalOptions,
  edit: (policy: ApprovalPolicy__Output) => ApprovalPolicy__Output,
): Promise<void> {
  const stored = await withAdmin(context, options, 'Approvals', async (calls) => {
    const { policy, version } = await calls.call('GetApprovalPolicy', {});
    return calls.call('PutApprovalPolicy', { policy: edit(present(policy)), version });
  });
  if (options.json) json(context, stored);
  else
    context.out(
      `version ${stored.version} of the policy: dual control is ${stored.policy?.enabled === true ? 'on' : 'off'}\n`,
    );
}

const present = (policy: ApprovalPolicy__Output | null): ApprovalPolicy__Output =>
  policy ?? { enabled: false, required: 0, lifeSeconds: 0, approvers: [] };

function approversOf(
  approvers: readonly string[],
  identities: readonly string[],
): Approver__Output[] {
  const known = identities.map((text) => pair(text, '--identity'));
  const made = approvers.map((text) => {
    const [name, file] = pair(text, '--approver');
    return {
      name,
      publicKey: publicKeyIn(file),
      identities: known.filter(([owner]) => owner === name).map(([, id]) => id),
      notBefore: 0,
      notAfter: 0,
    };
  });
  const stray = known.find(([owner]) => !made.some(({ name }) => name === owner));
  if (stray !== undefined)
    throw new PkiError(
      'INVALID_REQUEST',
      `--identity names ${stray[0]}, but no --approver has this name`,
    );
  return made;
}

function pair(text: string, option: string): readonly [string, string] {
  const at = text.indexOf('=');
  if (at < 1 || at === text.length - 1)
    throw new PkiError(
      'INVALID_REQUEST',
      `${option} ${JSON.stringify(text)} is not of the form name=value`,
    );
  return [text.slice(0, at), text.slice(at + 1)];
}

const publicKeyIn = (path: string): string => {
  const text = readBytes(path).toString('utf8').trim();
  unwrap(parseSshPublicKey(text));
  return text;
};
