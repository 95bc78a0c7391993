import type { Command } from 'commander';
import { identityTokenCommands } from './identity-token.ts';
import { action, allPages, collect, limitOf, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { tokenId } from '../object-ids.ts';
import { facts, instant, json, parseDuration, until } from '../output.ts';
import { table } from '../table.ts';

/** Join tokens, each of which lets one node join as an agent; and tokens that others issue. */
export function tokenCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const token = program
    .command('token')
    .description('join tokens, each of which lets one node join once; tokens of other issuers');
  createCommand(token, context, outcome);
  listCommand(token, context, outcome);
  deleteCommand(token, context, outcome);
  identityTokenCommands(token, context, outcome);
}

function createCommand(token: Command, context: CliContext, outcome: Outcome): void {
  token
    .command('create')
    .description('create a join token; it is shown once')
    .requiredOption(
      '--agent-name <name>',
      'the agent becomes spiffe://<trust domain>/meshca/agent/<name>',
    )
    .option('--ttl <duration>', 'the time in which it can be used')
    .option(
      '--node-selector <type:value>',
      'repeat: a selector of the node, for node sets',
      collect,
    )
    .action(
      action<{ agentName: string; ttl?: string; nodeSelector?: readonly string[] }>(
        context,
        outcome,
        async (options) => {
          const made = await withAdmin(context, options, 'Tokens', (calls) =>
            calls.call('CreateJoinToken', {
              agentName: options.agentName,
              ttlSeconds: options.ttl === undefined ? 0 : parseDuration(options.ttl),
              nodeSelectors: [...(options.nodeSelector ?? [])],
            }),
          );
          if (options.json) {
            json(context, made);
            return;
          }
          facts(context, [
            ['token', made.token],
            ['agent', made.agentId],
            ['use before', `${instant(made.expiresAt)} (${until(made.expiresAt, context.now())})`],
            ['root fingerprint', made.rootFingerprints.join(',')],
            ['issuer fingerprint', made.issuerFingerprints.join(',')],
          ]);
          context.out(
            '\nOn the node: write the token to the file that attestation.joinToken.path ' +
              'names (0600). Set bootstrap.rootFingerprint and bootstrap.issuerFingerprint to ' +
              'the fingerprints (see "meshca validate --schema agent").\n',
          );
        },
      ),
    );
}

function listCommand(token: Command, context: CliContext, outcome: Outcome): void {
  token
    .command('list')
    .description('list join tokens, without their secret')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ limit?: string }>(context, outcome, async (options) => {
        const tokens = await withAdmin(context, options, 'Tokens', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { tokens, nextPageToken } = await calls.call('ListJoinTokens', { page });
            return { items: tokens, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, tokens);
          return;
        }
        table(
          context,
          [
            { title: 'ID', value: (row) => row.id, short: 'id' },
            { title: 'AGENT', value: (row) => row.agentId },
            {
              title: 'EXPIRES',
              value: (row) =>
                row.expiresAt === 0 ? 'revoked' : until(row.expiresAt, context.now()),
            },
            { title: 'USED', value: (row) => instant(row.usedAt), priority: 2 },
            { title: 'CREATED BY', value: (row) => row.createdBy, priority: 3 },
          ],
          tokens,
          'no join tokens',
        );
      }),
    );
}

function deleteCommand(token: Command, context: CliContext, outcome: Outcome): void {
  token
    .command('delete <id>')
    .description('revoke an unused join token')
    .option('--reason <text>', 'for the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [id]) => {
        const revoked = await withAdmin(context, options, 'Tokens', async (calls) =>
          calls.call('RevokeJoinToken', {
            id: await tokenId(context, options, id as string),
            reason: options.reason,
          }),
        );
        if (options.json) json(context, revoked);
        else context.out(`revoked ${revoked.id}: no node can join with it as ${revoked.agentId}\n`);
      }),
    );
}
