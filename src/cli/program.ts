import { Command, CommanderError } from 'commander';
import { PkiError } from '../common/errors/index.ts';
import { version } from '../common/runtime/version.ts';
import { action, type Outcome } from './action.ts';
import { accessCommands } from './commands/access.ts';
import { approvalCommands } from './commands/approval.ts';
import { auditCommands } from './commands/audit.ts';
import { backupCommands } from './commands/backup.ts';
import { agentCommands } from './commands/agent.ts';
import { authoritySourceCommands } from './commands/authority-sources.ts';
import { ceremonyCommands } from './commands/ceremony.ts';
import { dualControlCommands } from './commands/dual-control.ts';
import { entryCommands } from './commands/entry.ts';
import { inventoryCommands } from './commands/inventory.ts';
import { nodeCommands } from './commands/node.ts';
import { rotationCommands } from './commands/rotation.ts';
import { completionScript } from './completion.ts';
import type { CliContext } from './context.ts';
import { exitCodes } from './exit-codes.ts';
import { printError } from './output.ts';

/** Runs one command line; `args` without node and script. Returns the exit code (exit-codes.ts). */
export async function runCli(args: readonly string[], context: CliContext): Promise<number> {
  const outcome: Outcome = { exitCode: exitCodes.ok };
  const program = buildProgram(context, outcome);
  try {
    await program.parseAsync([...args], { from: 'user' });
    return outcome.exitCode;
  } catch (thrown) {
    if (thrown instanceof CommanderError) return thrown.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    printError(context, PkiError.from(thrown), args.includes('--json'));
    return exitCodes.failed;
  }
}

export function buildProgram(context: CliContext, outcome: Outcome): Command {
  const program = new Command('meshca');
  program.description('An internal certificate authority for service meshes.').version(version).showHelpAfterError('(meshca --help lists the commands)').showSuggestionAfterError()
    .option('--json', 'machine-readable output')
    .option('--server-socket <path>', 'the server\'s admin socket; default MESHCA_ADMIN_SOCKET or /var/lib/meshca/server/admin.sock')
    .option('--server <host:port>', 'a remote server, with --cert, --key and --bundle').option('--cert <path>', 'admin certificate chain (PEM)').option('--key <path>', 'its key (PEM)').option('--bundle <path>', 'trust bundle (PEM)')
    .configureOutput({ writeOut: context.out, writeErr: context.err, getOutHasColors: () => context.terminal.color, getErrHasColors: () => context.terminal.color, getOutHelpWidth: () => context.terminal.columns })
    .exitOverride();
  nodeCommands(program, context, outcome);
  agentCommands(program, context, outcome);
  entryCommands(program, context, outcome);
  accessCommands(program, context, outcome);
  inventoryCommands(program, context, outcome);
  approvalCommands(program, context, outcome);
  dualControlCommands(program, context, outcome);
  auditCommands(program, context, outcome);
  backupCommands(program, context, outcome);
  authoritySourceCommands(program, context, outcome);
  rotationCommands(program, context, outcome);
  ceremonyCommands(program, context, outcome);
  program.command('completion <shell>').description('print a completion script for bash, zsh or fish').action(action(context, outcome, async (_options, [shell]) => context.out(completionScript(program, shell as string))));
  inherit(program);
  return program;
}

/** exitOverride and output are not inherited by commands that were added before. */
function inherit(command: Command): void {
  for (const each of command.commands) {
    each.copyInheritedSettings(command);
    inherit(each);
  }
}
