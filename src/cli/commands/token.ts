import type { Command } from 'commander';
import { action, allPages, collect, limitOf, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { tokenId } from '../object-ids.ts';
import { facts, instant, json, parseDuration, until } from '../output.ts';
import { table } from '../table.ts';

/** Join tokens: who may join as an agent. */
export function tokenCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const token = program.command('token').description('join tokens: each lets one node join, once');
  createCommand(token, context, outcome);
  listCommand(token, context, outcome);
  deleteCommand(token, context, outcome);
}

function createCommand(token: Command, context: CliContext, outcome: Outcome): void {
  token
    .command('create')
    .description('create a join token; it is shown once')
    .requiredOption(
      '--agent-name <name>',
      'the agent becomes spiffe://<trust domain>/meshca/agent/<name>',
    )
    .option('--ttl <duration>', 'how long it may be used')
    .option('--node-selector <type:value>', 'repeat: selectors of the node, for node sets', collect)
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
            '\nOn the node: the token into the file that attestation.joinToken.path names (0600), the fingerprints into bootstrap.rootFingerprint and bootstrap.issuerFingerprint (see "meshca validate --schema agent").\n',
          );
        },
      ),
    );
}

function listCommand(token: Command, context: CliContext, outcome: Outcome): void {
  token
    .command('list')
    .description('join tokens, without their secret')
    .option('--limit <n>', 'at most this many', '1000')
    .action(
      action<{ limit?: string }>(context, outcome, async (options) => {
        const found = await withAdmin(context, options, 'Tokens', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { tokens, nextPageToken } = await calls.call('ListJoinTokens', { page });
            return { items: tokens, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, found);
          return;
        }
        table(
          context,
          [
            { title: 'ID', value: (each) => each.id, short: 'id' },
            { title: 'AGENT', value: (each) => each.agentId },
            {
              title: 'EXPIRES',
              value: (each) =>
                each.expiresAt === 0 ? 'revoked' : until(each.expiresAt, context.now()),
            },
            { title: 'USED', value: (each) => instant(each.usedAt), priority: 2 },
            { title: 'CREATED BY', value: (each) => each.createdBy, priority: 3 },
          ],
          found,
          'no join tokens',
        );
      }),
    );
}

function deleteCommand(token: Command, context: CliContext, outcome: Outcome): void {
  token
    .command('delete <id>')
    .description('revoke a join token that nobody has joined with')
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
        else context.out(`revoked ${revoked.id}: nobody joins with it as ${revoked.agentId}\n`);
      }),
    );
}
