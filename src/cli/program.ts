import { Command, CommanderError } from 'commander';
import { PkiError } from '../common/errors/index.ts';
import { version } from '../common/runtime/version.ts';
import { action, pathOf, type Outcome } from './action.ts';
import { acmeCommands } from './commands/acme.ts';
import { authorityCommands } from './commands/authority.ts';
import { bundleCommands } from './commands/bundle.ts';
import { certificateCommands } from './commands/certificate.ts';
import { keyCommands } from './commands/key.ts';
import { policyCommands } from './commands/policy.ts';
import { federationCommands } from './commands/federation.ts';
import { delegationCommands } from './commands/delegation.ts';
import { roleCommands } from './commands/role.ts';
import { tenantCommands } from './commands/tenant.ts';
import { statusCommand } from './commands/status.ts';
import { tokenCommands } from './commands/token.ts';
import { approvalCommands } from './commands/approval.ts';
import { auditCommands } from './commands/audit.ts';
import { backupCommands } from './commands/backup.ts';
import { agentCommands } from './commands/agent.ts';
import { authoritySourceCommands } from './commands/authority-sources.ts';
import { ceremonyCommands } from './commands/ceremony.ts';
import { doctorCommand } from './commands/doctor.ts';
import { downstreamCommands } from './commands/downstream.ts';
import { dualControlCommands } from './commands/dual-control.ts';
import { entryCommands } from './commands/entry.ts';
import { issueCommands } from './commands/issue.ts';
import { nodeCommands } from './commands/node.ts';
import { evidenceCommand } from './commands/evidence.ts';
import { setCommands } from './commands/set.ts';
import { rotationCommands } from './commands/rotation.ts';
import { completionScript } from './completion.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { addHelp, helpStyle } from './help.ts';
import { printError } from './output.ts';

/** In the order of the help. Some, such as `rotationCommands`, extend commands before them. */
const commands = [
  nodeCommands,
  doctorCommand,
  agentCommands,
  entryCommands,
  tokenCommands,
  delegationCommands,
  federationCommands,
  policyCommands,
  roleCommands,
  tenantCommands,
  acmeCommands,
  bundleCommands,
  authorityCommands,
  certificateCommands,
  keyCommands,
  setCommands,
  statusCommand,
  approvalCommands,
  dualControlCommands,
  auditCommands,
  backupCommands,
  authoritySourceCommands,
  rotationCommands,
  evidenceCommand,
  downstreamCommands,
  issueCommands,
  ceremonyCommands,
];

/** Runs one command line; `args` without node and script. Returns the exit code (exit-codes.ts). */
export async function runCli(args: readonly string[], full: CliContext): Promise<number> {
  const context = args.includes('--wide') ? withoutLimit(full) : full;
  const outcome: Outcome = { exitCode: exitCodes.ok };
  const program = buildProgram(context, outcome, args.includes('--json'));
  try {
    await program.parseAsync([...args], { from: 'user' });
    return outcome.exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) {
      if (thrown.exitCode !== 0 && args.includes('--json'))
        printError(context, usageError(thrown), true);
      return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    }
    printError(context, PkiError.from(thrown), args.includes('--json'));
    return exitCodes.failed;
  }
}

export function buildProgram(context: CliContext, outcome: Outcome, asJson = false): Command {
  const program = new Command('meshca');
  program
    .description('An internal certificate authority for service meshes.')
    .version(version)
    .showSuggestionAfterError()
    .option('--json', 'machine-readable output')
    .option('--wide', 'print tables with all columns and whole IDs')
    .option(
      '--server-socket <path>',
      "the server's admin socket; default MESHCA_ADMIN_SOCKET or /var/lib/meshca/server/admin.sock",
    )
    .option('--server <host:port>', 'a remote server, with --cert, --key and --bundle')
    .option('--cert <path>', 'certificate chain of the admin (PEM)')
    .option('--key <path>', 'key of that certificate (PEM)')
    .option('--bundle <path>', 'trust bundle (PEM)')
    .option(
      '--issuer-fingerprint <sha256>',
      'of the key of the issuing authority above the server, for a nested server or a root ' +
        'of others; several with commas',
    )
    .configureOutput({
      // with --json, the error handler prints the error as one object
      writeOut: context.out,
      writeErr: asJson ? () => {} : context.err,
      getOutHasColors: () => context.terminal.color,
      getErrHasColors: () => context.terminal.color,
      getOutHelpWidth: () => Math.min(context.terminal.columns, 200),
      getErrHelpWidth: () => Math.min(context.terminal.columns, 200),
    })
    .configureHelp(helpStyle)
    .exitOverride();
  for (const add of commands) add(program, context, outcome);
  program
    .command('completion <shell>')
    .description('print a completion script for bash, zsh or fish')
    .action(
      action(context, outcome, async (_options, [shell]) =>
        context.out(completionScript(program, shell as string)),
      ),
    );
  inherit(program, asJson);
  return program;
}

const withoutLimit = (context: CliContext): CliContext => ({
  ...context,
  terminal: { ...context.terminal, columns: Number.MAX_SAFE_INTEGER },
});

const usageError = (thrown: CommanderError): PkiError =>
  new PkiError(
    'INVALID_REQUEST',
    thrown.code === 'commander.help'
      ? 'the command is not complete'
      : thrown.message.replace(/^error: /, ''),
    { next: 'See the command with --help.' },
  );

/**
 * Sets exitOverride and output on all commands, since commander does not pass them to commands that
 * exist already.
 */
function inherit(command: Command, asJson: boolean): void {
  command.showHelpAfterError(
    asJson
      ? false
      : `("${pathOf(command)} --help" ${command.commands.length > 0 ? 'lists the commands' : 'describes the command'})`,
  );
  addHelp(command, pathOf(command));
  for (const subcommand of command.commands) {
    subcommand.copyInheritedSettings(command);
    inherit(subcommand, asJson);
  }
}
