import type { Command } from 'commander';
import { PkiError } from '../../common/errors/index.ts';
import { certificatesFromPem } from '../../common/x509/index.ts';
import { action, type Outcome } from '../action.ts';
import { withAdmin } from '../connect.ts';
import type { CliContext } from '../context.ts';
import {
  explainRelationship,
  printLines,
  showRelationship,
  showRelationships,
} from '../federation-view.ts';
import { readBytes } from '../files.ts';
import { json } from '../output.ts';

/** Federation: the trust in foreign trust domains. */
export function federationCommands(program: Command, context: CliContext, outcome: Outcome): void {
  const federation = program
    .command('federation')
    .description('foreign trust domains whose workloads ours may trust');
  createCommand(federation, context, outcome);
  listCommand(federation, context, outcome);
  oneCommands(federation, context, outcome);
  deleteCommand(federation, context, outcome);
}

interface CreateOptions {
  readonly url: string;
  readonly profile: string;
  readonly endpointId?: string;
  readonly caFile?: string;
  readonly bundle?: string;
}

function createCommand(federation: Command, context: CliContext, outcome: Outcome): void {
  federation
    .command('create <trust-domain>')
    .description('trust a foreign trust domain; entries that name it get its bundle')
    .requiredOption('--url <url>', 'its bundle endpoint, https://…')
    .requiredOption('--profile <name>', 'https_web or https_spiffe')
    .option('--endpoint-id <id>', 'https_spiffe: the SPIFFE ID of the endpoint, exactly')
    .option(
      '--ca-file <path>',
      "https_web: PEM of the CAs above the endpoint; default: those of the server's system",
    )
    .option(
      '--bundle <path>',
      'its bundle document (SPIFFE format), as its operators have handed it over',
    )
    .action(
      action<CreateOptions>(context, outcome, async (options, [trustDomain]) => {
        const made = await withAdmin(context, options, 'Federation', (calls) =>
          calls.call('CreateRelationship', {
            trustDomain: trustDomain as string,
            endpointUrl: options.url,
            endpointProfile: options.profile,
            endpointSpiffeId: options.endpointId ?? '',
            webRootsDer: options.caFile === undefined ? [] : webRoots(options.caFile),
            bundleDocument:
              options.bundle === undefined ? Buffer.alloc(0) : readBytes(options.bundle),
          }),
        );
        if (options.json) json(context, made);
        else
          context.out(
            `created: ${made.trustDomain} is asked for its bundle at ${made.endpointUrl}\n` +
              `"meshca federation show ${made.trustDomain}" tells what came of it\n`,
          );
      }),
    );
}

function webRoots(path: string): Buffer[] {
  const certificates = certificatesFromPem(readBytes(path).toString('utf8'));
  if (!certificates.ok || certificates.value.length === 0)
    throw new PkiError('INVALID_REQUEST', `${path} has no certificate in PEM`, {
      next: 'Give the PEM of the CAs that stand above the endpoint.',
    });
  return [...certificates.value];
}

function listCommand(federation: Command, context: CliContext, outcome: Outcome): void {
  federation
    .command('list')
    .description('the foreign trust domains, and whether their bundles are fresh')
    .action(
      action(context, outcome, async (options) => {
        const { relationships } = await withAdmin(context, options, 'Federation', (calls) =>
          calls.call('ListRelationships', {}),
        );
        if (options.json) json(context, relationships);
        else showRelationships(context, relationships);
      }),
    );
}

function oneCommands(federation: Command, context: CliContext, outcome: Outcome): void {
  federation
    .command('show <trust-domain>')
    .description('one foreign trust domain, with its bundle and its polls')
    .action(
      action(context, outcome, async (options, [trustDomain]) => {
        const shown = await withAdmin(context, options, 'Federation', (calls) =>
          calls.call('GetRelationship', { trustDomain: trustDomain as string }),
        );
        if (options.json) json(context, shown);
        else showRelationship(context, shown);
      }),
    );
  federation
    .command('explain <trust-domain>')
    .description('which bundle is in use, why, and what to do')
    .action(
      action(context, outcome, async (options, [trustDomain]) => {
        const shown = await withAdmin(context, options, 'Federation', (calls) =>
          calls.call('GetRelationship', { trustDomain: trustDomain as string }),
        );
        const lines = explainRelationship(context, shown);
        if (options.json) json(context, { trustDomain: shown.trustDomain, explanation: lines });
        else printLines(context, lines);
      }),
    );
  federation
    .command('refresh <trust-domain>')
    .description('ask the bundle endpoint now')
    .action(
      action(context, outcome, async (options, [trustDomain]) => {
        const shown = await withAdmin(context, options, 'Federation', (calls) =>
          calls.call('RefreshRelationship', { trustDomain: trustDomain as string }),
        );
        if (options.json) json(context, shown);
        else showRelationship(context, shown);
      }),
    );
}

function deleteCommand(federation: Command, context: CliContext, outcome: Outcome): void {
  federation
    .command('delete <trust-domain>')
    .description('end the trust; its bundle is taken from every agent at once')
    .option('--reason <text>', 'for the audit record', '')
    .action(
      action<{ reason: string }>(context, outcome, async (options, [trustDomain]) => {
        await withAdmin(context, options, 'Federation', (calls) =>
          calls.call('DeleteRelationship', {
            trustDomain: trustDomain as string,
            reason: options.reason,
          }),
        );
        if (options.json) json(context, { deleted: trustDomain });
        else context.out(`deleted: ${trustDomain} is trusted no more\n`);
      }),
    );
}
