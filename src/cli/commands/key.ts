import type { Command } from 'commander';
import type { BlockedKey__Output } from '../../common/wire/generated/meshca/admin/v1/BlockedKey.ts';
import type { KeyDetail__Output } from '../../common/wire/generated/meshca/admin/v1/KeyDetail.ts';
import { action, allPages, limitOf, type GlobalOptions, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import { consent } from '../consent.ts';
import type { CliContext } from '../context.ts';
import { keyName, type KeyFlags } from '../key-source.ts';
import { facts, instant, json, until } from '../output.ts';
import { table } from '../table.ts';

/** Public keys for which nothing is issued any more. */
export function keyCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const key = program
    .command('key')
    .description('public keys for which nothing is issued any more, for ever');
  blockCommand(key, context, outcome);
  showCommand(key, context, outcome);
  listCommand(key, context, outcome);
}

const named = (command: Command): Command =>
  command
    .option('--certificate <serial>', 'the key of this certificate')
    .option('--spki <sha256>', 'SHA-256 of the SubjectPublicKeyInfo, hex')
    .option('--csr <path>', 'the key of this certificate request (PEM)')
    .option('--public-key <path>', 'PEM with a public key, a private key or a certificate');

function blockCommand(key: Command, context: CliContext, outcome: Outcome): void {
  named(
    key
      .command('block')
      .description('refuse a key in every way of issuing, for ever; there is no way back'),
  )
    .requiredOption('--reason <text>', 'the reason, for the audit record')
    .option('--yes', 'do not ask')
    .action(
      action<KeyFlags & { reason: string; yes?: boolean }>(context, outcome, async (options) => {
        const name = await keyName(context, options);
        const blocked = await withAdmin(context, options, 'Keys', async (calls) => {
          const detail = await calls.call('GetKey', name);
          if (detail.blocked === null) {
            if (options.json !== true) showDetail(context, detail);
            await consent(
              context,
              options.yes,
              `Block the key ${detail.publicKeySha256} for ever? Agents replace the ` +
                `${detail.certificates} certificates above; what others hold stays valid until it ends.`,
            );
          }
          return calls.call('BlockKey', { ...name, reason: options.reason });
        });
        if (options.json) json(context, blocked);
        else
          context.out(
            `blocked ${blocked.publicKeySha256}: nothing is issued for it any more\n` +
              'To revoke its certificates: meshca certificate revoke --spki ' +
              `${blocked.publicKeySha256} --reason keyCompromise\n`,
          );
      }),
    );
}

function showCommand(key: Command, context: CliContext, outcome: Outcome): void {
  named(
    key
      .command('show')
      .description('show whether a key is blocked, and the certificates that have it'),
  ).action(
    action<KeyFlags>(context, outcome, async (options) => {
      const name = await keyName(context, options);
      const detail = await withAdmin(context, options, 'Keys', (calls) =>
        calls.call('GetKey', name),
      );
      if (options.json) json(context, detail);
      else showDetail(context, detail);
    }),
  );
}

function listCommand(key: Command, context: CliContext, outcome: Outcome): void {
  key
    .command('list')
    .description('list the blocked keys')
    .option('--limit <n>', 'the maximum number', '100')
    .action(action<{ limit?: string }>(context, outcome, (options) => list(context, options)));
}

async function list(
  context: CliContext,
  options: { readonly limit?: string } & GlobalOptions,
): Promise<void> {
  const keys = await withAdmin(context, options, 'Keys', (calls) =>
    allPages(context, limitOf(options), async (page) => {
      const { keys: items, nextPageToken } = await calls.call('ListBlockedKeys', { page });
      return { items, next: nextPageToken };
    }),
  );
  if (options.json) {
    json(context, keys);
    return;
  }
  table<BlockedKey__Output>(
    context,
    [
      { title: 'SPKI SHA-256', value: (row) => row.publicKeySha256 },
      { title: 'BLOCKED', value: (row) => instant(row.blockedAt) },
      { title: 'BY', value: (row) => row.blockedBy, priority: 2 },
      { title: 'REASON', value: (row) => row.reason },
    ],
    keys,
    'no blocked keys',
  );
}

function showDetail(context: CliContext, detail: KeyDetail__Output): void {
  const { publicKeySha256, blocked, certificates, sample } = detail;
  facts(context, [
    ['public key sha256', publicKeySha256],
    [
      'blocked',
      blocked === null
        ? 'no'
        : `${instant(blocked.blockedAt)} by ${blocked.blockedBy}: ${blocked.reason}`,
    ],
    ['certificates with it', `${certificates} that have not ended`],
  ]);
  if (sample.length === 0) return;
  table(
    context,
    [
      { title: 'SERIAL', value: (row) => row.serial, short: 'serial' },
      { title: 'SPIFFE ID', value: (row) => row.spiffeId },
      { title: 'ENDS', value: (row) => until(row.notAfter, context.now()) },
      { title: 'HOLDER', value: (row) => row.holder, priority: 2 },
    ],
    sample,
    '',
  );
}
