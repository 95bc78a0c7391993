import type { Command } from 'commander';
import type { Delegation__Output } from '../../common/wire/generated/meshca/admin/v1/Delegation.ts';
import type { Role__Output } from '../../common/wire/generated/meshca/admin/v1/Role.ts';
import { action, allPages, collect, limitOf, theOne, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { duration, facts, instant, json, parseDuration, table, until } from '../output.ts';

/** Who may join, sign and administer: join tokens, delegations, roles. */
export function accessCommands(program: Command, context: CliContext, outcome: Outcome): void {
  tokenCommands(program, context, outcome);
  delegationCommands(program, context, outcome);
  roleCommands(program, context, outcome);
}

function tokenCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const token = program.command('token').description('join tokens: each lets one node join, once');
  token
    .command('create')
    .description('create a join token; it is shown once')
    .requiredOption(
      '--agent-name <name>',
      'the agent becomes spiffe://<trust domain>/meshca/agent/<name>',
    )
    .option('--ttl <duration>', 'until when it may be used')
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
            ['root fingerprint', made.bundleFingerprint],
          ]);
          context.out(
            '\nOn the node: the token into the file that attestation.joinTokenPath names (0600), the fingerprint into bootstrap.rootFingerprint (see "meshca validate --schema agent").\n',
          );
        },
      ),
    );
  token
    .command('list')
    .description('join tokens, without their secret')
    .option('--limit <n>', 'at most so many', '1000')
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
            { title: 'ID', value: (each) => each.id },
            { title: 'AGENT', value: (each) => each.agentId },
            {
              title: 'EXPIRES',
              value: (each) =>
                each.expiresAt === 0 ? 'revoked' : until(each.expiresAt, context.now()),
            },
            { title: 'USED', value: (each) => instant(each.usedAt) },
            { title: 'CREATED BY', value: (each) => each.createdBy },
          ],
          found,
          'no join tokens',
        );
      }),
    );
  token
    .command('delete <id>')
    .description('revoke a join token that nobody has joined with')
    .option('--reason <text>', 'stands in the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [id]) => {
        const revoked = await withAdmin(context, options, 'Tokens', (calls) =>
          calls.call('RevokeJoinToken', { id: id as string, reason: options.reason }),
        );
        if (options.json) json(context, revoked);
        else context.out(`revoked ${revoked.id}: nobody joins with it as ${revoked.agentId}\n`);
      }),
    );
}

function delegationCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const delegation = program
    .command('delegation')
    .description('control planes that may have identities signed');
  delegation
    .command('create')
    .description('let a client sign inside patterns')
    .requiredOption('--client-id <id>', 'SPIFFE ID of the control plane')
    .requiredOption(
      '--pattern <pattern>',
      'repeat: "*" is one segment, a trailing "/**" crosses',
      collect,
    )
    .requiredOption('--max-ttl <duration>', 'longest life it may ask for')
    .option('--key-type <type>', 'repeat: allowed key types; all if absent', collect)
    .option('--dns-pattern <pattern>', 'repeat: DNS names it may ask for', collect)
    .option('--profile <name>', 'short-lived (default) or revocable')
    .option('--expires <duration>', 'the delegation itself ends after so long')
    .action(
      action<{
        clientId: string;
        pattern: readonly string[];
        maxTtl: string;
        keyType?: readonly string[];
        dnsPattern?: readonly string[];
        profile?: string;
        expires?: string;
      }>(context, outcome, async (options) => {
        const made = await withAdmin(context, options, 'Delegations', (calls) =>
          calls.call('CreateDelegation', {
            delegation: {
              clientId: options.clientId,
              patterns: [...options.pattern],
              maxTtlSeconds: parseDuration(options.maxTtl),
              keyTypes: [...(options.keyType ?? [])],
              dnsPatterns: [...(options.dnsPattern ?? [])],
              profile: options.profile ?? '',
              expiresAt:
                options.expires === undefined ? 0 : context.now() + parseDuration(options.expires),
            },
          }),
        );
        if (options.json) json(context, made);
        else
          context.out(
            `created ${made.id}: ${made.clientId} may sign ${made.patterns.join(', ')} for up to ${duration(made.maxTtlSeconds)}\n`,
          );
      }),
    );
  delegation
    .command('list')
    .description('delegations')
    .option('--all', 'revoked ones too')
    .option('--limit <n>', 'at most so many', '1000')
    .action(
      action<{ all?: boolean; limit?: string }>(context, outcome, async (options) => {
        const found = await withAdmin(context, options, 'Delegations', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { delegations, nextPageToken } = await calls.call('ListDelegations', {
              page,
              includeRevoked: options.all ?? false,
            });
            return { items: delegations, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, found);
          return;
        }
        table(
          context,
          [
            { title: 'ID', value: (each) => each.id },
            { title: 'CLIENT', value: (each) => each.clientId },
            { title: 'MAX TTL', value: (each) => duration(each.maxTtlSeconds) },
            {
              title: 'ENDS',
              value: (each) =>
                each.revokedAt > 0
                  ? `revoked ${instant(each.revokedAt)}`
                  : until(each.expiresAt, context.now()),
            },
            { title: 'PATTERNS', value: (each) => each.patterns.join(' ') },
          ],
          found,
          'no delegations',
        );
      }),
    );
  delegation
    .command('show <id>')
    .description('one delegation, revoked or not')
    .action(
      action(context, outcome, async (options, [id]) => {
        const found = await withAdmin(context, options, 'Delegations', (calls) =>
          theOne<Delegation__Output>(
            `delegation ${JSON.stringify(id)}`,
            ({ id: each }) => each === id,
            async (page) => {
              const { delegations, nextPageToken } = await calls.call('ListDelegations', {
                page,
                includeRevoked: true,
              });
              return { items: delegations, next: nextPageToken };
            },
          ),
        );
        if (options.json) {
          json(context, found);
          return;
        }
        facts(context, [
          ['id', found.id],
          ['client', found.clientId],
          ['patterns', found.patterns.join('\n')],
          ['max ttl', duration(found.maxTtlSeconds)],
          ['key types', found.keyTypes.join(' ') || 'all'],
          ['dns names', found.dnsPatterns.join(' ') || '-'],
          ['profile', found.profile],
          [
            'ends',
            found.expiresAt === 0
              ? '-'
              : `${instant(found.expiresAt)} (${until(found.expiresAt, context.now())})`,
          ],
          ['revoked', instant(found.revokedAt)],
          ['created', `${instant(found.createdAt)} by ${found.createdBy}`],
        ]);
      }),
    );
  delegation
    .command('delete <id>')
    .description('revoke a delegation at once')
    .option('--reason <text>', 'stands in the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [id]) => {
        const revoked = await withAdmin(context, options, 'Delegations', (calls) =>
          calls.call('RevokeDelegation', { id: id as string, reason: options.reason }),
        );
        if (options.json) json(context, revoked);
        else context.out(`revoked ${revoked.id} of ${revoked.clientId}\n`);
      }),
    );
}

function roleCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const role = program
    .command('role')
    .description('what admins may do: verbs on SPIFFE ID prefixes');
  role
    .command('set <name>')
    .description('create or replace a role')
    .requiredOption('--verb <verb>', 'repeat: entry.read, entry.write, entry.*, *.read, *', collect)
    .requiredOption('--prefix <id>', 'repeat: a SPIFFE ID, or a prefix that ends in /', collect)
    .option('--member <id>', 'repeat: SPIFFE ID of an admin', collect)
    .action(
      action<{ verb: readonly string[]; prefix: readonly string[]; member?: readonly string[] }>(
        context,
        outcome,
        async (options, [name]) => {
          const put = await withAdmin(context, options, 'Roles', (calls) =>
            calls.call('PutRole', {
              role: {
                name: name as string,
                verbs: [...options.verb],
                prefixes: [...options.prefix],
                members: [...(options.member ?? [])],
              },
            }),
          );
          if (options.json) json(context, put);
          else
            context.out(
              `role ${put.name}: ${put.verbs.join(' ')} on ${put.prefixes.join(' ')} for ${put.members.length} ${put.members.length === 1 ? 'member' : 'members'}\n`,
            );
        },
      ),
    );
  role
    .command('list')
    .description('roles')
    .option('--limit <n>', 'at most so many', '1000')
    .action(
      action<{ limit?: string }>(context, outcome, async (options) => {
        const found = await withAdmin(context, options, 'Roles', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { roles, nextPageToken } = await calls.call('ListRoles', { page });
            return { items: roles, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, found);
          return;
        }
        table(
          context,
          [
            { title: 'ROLE', value: (each) => each.name },
            { title: 'VERBS', value: (each) => each.verbs.join(' ') },
            { title: 'PREFIXES', value: (each) => each.prefixes.join(' ') },
            { title: 'MEMBERS', value: (each) => each.members.join(' ') || '-' },
          ],
          found,
          'no roles',
        );
      }),
    );
  role
    .command('show <name>')
    .description('one role')
    .action(
      action(context, outcome, async (options, [name]) => {
        const found = await withAdmin(context, options, 'Roles', (calls) =>
          theOne<Role__Output>(
            `role ${JSON.stringify(name)}`,
            (each) => each.name === name,
            async (page) => {
              const { roles, nextPageToken } = await calls.call('ListRoles', { page });
              return { items: roles, next: nextPageToken };
            },
          ),
        );
        if (options.json) {
          json(context, found);
          return;
        }
        facts(context, [
          ['role', found.name],
          ['verbs', found.verbs.join('\n')],
          ['prefixes', found.prefixes.join('\n')],
          ['members', found.members.join('\n') || '-'],
          ['created', instant(found.createdAt)],
          ['updated', instant(found.updatedAt)],
        ]);
      }),
    );
  role
    .command('delete <name>')
    .description('delete a role')
    .action(
      action(context, outcome, async (options, [name]) => {
        const deleted = await withAdmin(context, options, 'Roles', (calls) =>
          calls.call('DeleteRole', { name: name as string }),
        );
        if (options.json) json(context, deleted);
        else context.out(`deleted ${deleted.name}\n`);
      }),
    );
}
