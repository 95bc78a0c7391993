import type { Command } from 'commander';
import {
  approvalLine,
  approvalNamespace,
  operationSha256,
  readOperation,
  verifyEvidence,
  type Operation,
} from '../../common/approval/index.ts';
import { PkiError, unwrap } from '../../common/errors/index.ts';
import type { OperationDetail__Output } from '../../common/wire/generated/meshca/admin/v1/OperationDetail.ts';
import { action, allPages, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { consent } from '../consent.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { readBytes, writeWhole } from '../files.ts';
import { operationId } from '../object-ids.ts';
import { facts, instant, json, printable, until } from '../output.ts';
import { table } from '../table.ts';
import { sshKeygenSign } from '../ssh-keygen.ts';

/**
 * Operations that wait for approval: list, approve and withdraw them, and verify the approval later
 * without the server.
 */
export function approvalCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const approval = program
    .command('approval')
    .description('operations that wait for approval (dual control)');
  approval
    .command('list')
    .description('list the operations that wait')
    .option('--all', 'include finished operations')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ all?: boolean; limit?: string }>(context, outcome, async (options) => {
        const operations = await withAdmin(context, options, 'Approvals', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { operations, nextPageToken } = await calls.call('ListOperations', {
              page,
              pendingOnly: options.all !== true,
            });
            return { items: operations, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, operations);
          return;
        }
        table(
          context,
          [
            { title: 'ID', value: (row) => row.id, short: 'id' },
            { title: 'STATUS', value: (row) => row.status },
            {
              title: 'SIGNATURES',
              value: (row) => String(row.signatures),
              align: 'right',
              priority: 2,
            },
            { title: 'PROPOSED BY', value: (row) => row.proposer, priority: 3 },
            { title: 'EXPIRES', value: (row) => until(row.expiresAt, context.now()) },
            { title: 'CALL', value: (row) => shortMethod(row.method) },
          ],
          operations,
          'no operation waits',
        );
      }),
    );
  showCommand(approval, context, outcome);
  signCommand(approval, context, outcome);
  submitCommand(approval, context, outcome);
  withdrawCommand(approval, context, outcome);
  resultCommand(approval, context, outcome);
  verifyCommand(approval, context, outcome);
}

function showCommand(approval: Command, context: CliContext, outcome: Outcome): void {
  approval
    .command('show <id>')
    .description('show what an operation would change, and who has approved it')
    .option('--line-out <file>', 'write the line to sign to a file, for signing elsewhere')
    .action(
      action<{ lineOut?: string }>(context, outcome, async (options, [id]) => {
        const { detail, operation, line } = await fetch(context, options, id as string);
        if (options.lineOut !== undefined) writeWhole(options.lineOut, line, 0o644);
        if (options.json) json(context, { ...detail, bytes: detail.bytes.toString('utf8') });
        else show(context, detail, operation, line);
      }),
    );
}

function signCommand(approval: Command, context: CliContext, outcome: Outcome): void {
  approval
    .command('sign <id>')
    .description('approve with your SSH key: sign here with ssh-keygen, and submit the signature')
    .requiredOption(
      '--ssh-key <path>',
      'the private key, or the .pub file of a key in ssh-agent or of a security key',
    )
    .option('--sha256 <hex>', 'sign the operation with this digest, without asking')
    .option('--yes', 'do not ask')
    .action(
      action<{ sshKey: string; sha256?: string; yes?: boolean }>(
        context,
        outcome,
        async (options, [id]) => {
          const { detail, operation, line, sha256 } = await fetch(context, options, id as string);
          if (options.sha256 !== undefined && options.sha256.toLowerCase() !== sha256)
            throw new PkiError(
              'APPROVAL_NOT_OPEN',
              `the operation has the SHA-256 ${sha256}, not the one in --sha256`,
              {
                next: 'Read the operation again (meshca approval show), and sign what you have read.',
              },
            );
          if (detail.operation?.status !== 'pending')
            throw new PkiError(
              'APPROVAL_NOT_OPEN',
              `the operation ${operation.id} is ${detail.operation?.status ?? 'gone'}`,
            );
          if (options.json !== true) show(context, detail, operation, line);
          await consent(
            context,
            options.yes === true || options.sha256 !== undefined,
            `Approve the operation ${operation.id}?`,
          );
          const signature = await sshKeygenSign(
            { keyPath: options.sshKey, namespace: approvalNamespace, signal: context.signal },
            line,
          );
          answer(context, options, await submit(context, options, operation.id, signature));
        },
      ),
    );
}

function submitCommand(approval: Command, context: CliContext, outcome: Outcome): void {
  approval
    .command('submit <id>')
    .description('submit a signature that was made elsewhere')
    .requiredOption('--signature <file>', 'the output of ssh-keygen -Y sign')
    .action(
      action<{ signature: string }>(context, outcome, async (options, [id]) => {
        answer(
          context,
          options,
          await submit(
            context,
            options,
            await operationId(context, options, id as string),
            readBytes(options.signature).toString('utf8'),
          ),
        );
      }),
    );
}

function withdrawCommand(approval: Command, context: CliContext, outcome: Outcome): void {
  approval
    .command('withdraw <id>')
    .description('end an operation that you proposed')
    .option('--reason <text>', 'for the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [id]) => {
        const withdrawn = await withAdmin(context, options, 'Approvals', async (calls) =>
          calls.call('WithdrawOperation', {
            id: await operationId(context, options, id as string),
            reason: options.reason,
          }),
        );
        if (options.json) json(context, withdrawn);
        else context.out(`withdrawn ${withdrawn.id}\n`);
      }),
    );
}

function resultCommand(approval: Command, context: CliContext, outcome: Outcome): void {
  approval
    .command('result <id>')
    .description(
      'print the answer of an operation that you proposed; this works once, within an hour',
    )
    .action(
      action(context, outcome, async (options, [id]) => {
        const { responseJson } = await withAdmin(context, options, 'Approvals', async (calls) =>
          calls.call('TakeResult', { id: await operationId(context, options, id as string) }),
        );
        json(context, JSON.parse(responseJson));
      }),
    );
}

function verifyCommand(approval: Command, context: CliContext, outcome: Outcome): void {
  approval
    .command('verify <file>')
    .description('check offline that an operation was approved')
    .option(
      '--policy-sha256 <hex>',
      'digest of the policy that must have been in force ("meshca dual-control show")',
    )
    .action(
      action<{ policySha256?: string }>(context, outcome, async (options, [file]) => {
        const text = readBytes(file as string).toString('utf8');
        const verified = unwrap(
          verifyEvidence(evidenceOf(text), options.policySha256?.toLowerCase()),
        );
        if (options.json) {
          json(context, verified);
          return;
        }
        facts(context, [
          [
            'approved',
            `${verified.approvals.map(({ approver, fingerprint }) => `${approver} (${fingerprint})`).join('\n')}`,
          ],
          ['needed', String(verified.required)],
          ['decided', instant(verified.decidedAt)],
          ['call', shortMethod(verified.operation.method)],
          ['proposed by', verified.operation.proposer.actor],
          ['request', JSON.stringify(verified.operation.request, null, 2)],
          ['SHA-256', verified.operationSha256],
          [
            'policy',
            `version ${verified.operation.policyVersion}, SHA-256 ` +
              `${verified.policySha256}${options.policySha256 === undefined ? ' (compare it, or give --policy-sha256)' : ', as given'}`,
          ],
        ]);
      }),
    );
}

interface Fetched {
  readonly detail: OperationDetail__Output;
  readonly operation: Operation;
  readonly line: string;
  readonly sha256: string;
}

/**
 * Everything that is shown and signed comes from the bytes of the operation, digested here. Only
 * the explanation comes from the server.
 */
async function fetch(context: CliContext, options: GlobalOptions, text: string): Promise<Fetched> {
  const id = await operationId(context, options, text);
  const detail = await withAdmin(context, options, 'Approvals', (calls) =>
    calls.call('GetOperation', { id }),
  );
  const operation = unwrap(readOperation(detail.bytes));
  if (operation.id !== id)
    throw new PkiError(
      'APPROVAL_NOT_OPEN',
      `the server gave the operation ${operation.id} instead of ${id}`,
    );
  const sha256 = operationSha256(detail.bytes);
  return { detail, operation, sha256, line: approvalLine(operation, sha256) };
}

function submit(
  context: CliContext,
  options: GlobalOptions,
  id: string,
  signature: string,
): Promise<OperationDetail__Output> {
  return withAdmin(context, options, 'Approvals', (calls) =>
    calls.call('SubmitApproval', { id, signature }, { deadlineSeconds: 120 }),
  );
}

function show(
  context: CliContext,
  detail: OperationDetail__Output,
  operation: Operation,
  line: string,
): void {
  facts(context, [
    ['operation', operation.id],
    [
      'status',
      `${detail.operation?.status ?? ''}${detail.operation?.outcome ? `: ${detail.operation.outcome}` : ''}`,
    ],
    ['call', shortMethod(operation.method)],
    ['proposed by', operation.proposer.actor],
    ['proposed', instant(operation.createdAt)],
    ['expires', `${instant(operation.expiresAt)} (${until(operation.expiresAt, context.now())})`],
    [
      'approved by',
      detail.approvals
        .map(({ approver, fingerprint }) => `${approver} (${fingerprint})`)
        .join('\n') || 'nobody yet',
    ],
    [
      'needed',
      `${detail.required}${detail.missing.length > 0 ? `; could still approve: ${detail.missing.join(', ')}` : ''}`,
    ],
    ['request', JSON.stringify(operation.request, null, 2)],
    ...(detail.explanation.length > 0
      ? [['what it changes', detail.explanation.map(printable).join('\n')] as const]
      : []),
    ['line to sign', line.trimEnd()],
  ]);
}

function answer(
  context: CliContext,
  options: GlobalOptions,
  detail: OperationDetail__Output,
): void {
  if (options.json) {
    json(context, { ...detail, bytes: detail.bytes.toString('utf8') });
    return;
  }
  const { status, outcome, id } = detail.operation ?? { status: '', outcome: '', id: '' };
  if (status === 'pending')
    context.out(
      `approved; ${detail.approvals.length} of ${detail.required}, could still approve: ${detail.missing.join(', ')}\n`,
    );
  else
    context.out(
      `approved; the operation ${id} is ${status}${outcome === '' ? '' : `: ${printable(outcome)}`}\n`,
    );
}

/** Evidence alone, an audit record, or the JSON of "approval show". */
function evidenceOf(text: string): string {
  try {
    const { evidence } = JSON.parse(text) as { evidence?: unknown };
    return typeof evidence === 'string' ? evidence : text;
  } catch {
    return text;
  }
}

const shortMethod = (method: string): string => method.replace('/meshca.admin.v1.', '');
