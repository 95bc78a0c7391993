import type { Command } from 'commander';
import type { Role__Output } from '../../common/wire/generated/meshca/admin/v1/Role.ts';
import { action, allPages, collect, limitOf, theOne, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import { facts, instant, json } from '../output.ts';
import { table } from '../table.ts';

/** Roles. They say what admins may do. */
export function roleCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const role = program
    .command('role')
    .description('what admins may do: verbs on SPIFFE ID prefixes and DNS names');
  role
    .command('set <name>')
    .description('create or replace a role')
    .requiredOption('--verb <verb>', 'repeat: entry.read, entry.write, entry.*, *.read, *', collect)
    .requiredOption(
      '--prefix <id>',
      'repeat: a SPIFFE ID, a prefix that ends in /, dns:NAME, dns:.SUFFIX, or tenant:NAME',
      collect,
    )
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
              `role ${put.name}: ${put.verbs.join(' ')} on ${put.prefixes.join(' ')} for ` +
                `${put.members.length} ${put.members.length === 1 ? 'member' : 'members'}\n`,
            );
        },
      ),
    );
  listCommand(role, context, outcome);
  showCommand(role, context, outcome);
  deleteCommand(role, context, outcome);
}

function listCommand(role: Command, context: CliContext, outcome: Outcome): void {
  role
    .command('list')
    .description('roles')
    .option('--limit <n>', 'the maximum number', '1000')
    .action(
      action<{ limit?: string }>(context, outcome, async (options) => {
        const record = await withAdmin(context, options, 'Roles', (calls) =>
          allPages(context, limitOf(options), async (page) => {
            const { roles, nextPageToken } = await calls.call('ListRoles', { page });
            return { items: roles, next: nextPageToken };
          }),
        );
        if (options.json) {
          json(context, record);
          return;
        }
        table(
          context,
          [
            { title: 'ROLE', value: (row) => row.name },
            { title: 'VERBS', value: (row) => row.verbs.join(' ') },
            { title: 'PREFIXES', value: (row) => row.prefixes.join(' ') },
            { title: 'MEMBERS', value: (row) => row.members.join(' ') || '-', priority: 2 },
          ],
          record,
          'no roles',
        );
      }),
    );
}

function showCommand(role: Command, context: CliContext, outcome: Outcome): void {
  role
    .command('show <name>')
    .description('show one role')
    .action(
      action(context, outcome, async (options, [name]) => {
        const record = await withAdmin(context, options, 'Roles', (calls) =>
          theOne<Role__Output>(
            `role ${JSON.stringify(name)}`,
            (row) => row.name === name,
            async (page) => {
              const { roles, nextPageToken } = await calls.call('ListRoles', { page });
              return { items: roles, next: nextPageToken };
            },
          ),
        );
        if (options.json) {
          json(context, record);
          return;
        }
        facts(context, [
          ['role', record.name],
          ['verbs', record.verbs.join('\n')],
          ['prefixes', record.prefixes.join('\n')],
          ['members', record.members.join('\n') || '-'],
          ['created', instant(record.createdAt)],
          ['updated', instant(record.updatedAt)],
        ]);
      }),
    );
}

function deleteCommand(role: Command, context: CliContext, outcome: Outcome): void {
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
