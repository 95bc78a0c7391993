import { absent } from './absent.ts';
import { acmeCrash } from './acme-crash.ts';
import { acmeLimits } from './acme-limits.ts';
import { acmeTenants } from './acme-tenants.ts';
import { attacks } from './attacks.ts';
import { auditTamper } from './audit-tamper.ts';
import { caOutage } from './ca-outage.ts';
import { ceremony } from './ceremony.ts';
import { compromise } from './compromise.ts';
import { crashIssuance } from './crash-issuance.ts';
import type { Drill, DrillReport } from './drill.ts';
import { federation } from './federation.ts';
import { firstIdentity } from './first-identity.ts';
import { hsmLoss } from './hsm-loss.ts';
import { mutation } from './mutation.ts';
import { crlScale } from './crl-scale.ts';
import { ocspScale } from './ocsp-scale.ts';
import { namesRotation } from './names-rotation.ts';
import { provision } from './provision.ts';
import { restoreStale } from './restore-stale.ts';
import { keyCompromise } from './key-compromise.ts';
import { laggard } from './laggard.ts';
import { listJson, listText } from './list.ts';
import { rotateAll } from './rotate-all.ts';
import { sds } from './sds.ts';
import { standbyRestart } from './standby-restart.ts';
import { startSweep } from './start-sweep.ts';
import { taint } from './taint.ts';
import { tokenDestroyed } from './token-destroyed.ts';
import { transitionKills } from './transition-kills.ts';
import { upstream } from './upstream.ts';

// npm run drill -- NAME [--json] [--short] [--option value]. Exit codes: 0 the promise was kept, 1
// it was broken, 2 wrong call, 3 the drill itself failed.

const drills: readonly Drill[] = [
  firstIdentity,
  crashIssuance,
  hsmLoss,
  caOutage,
  attacks,
  auditTamper,
  restoreStale,
  mutation,
  rotateAll,
  laggard,
  sds,
  compromise,
  keyCompromise,
  absent,
  transitionKills,
  taint,
  tokenDestroyed,
  standbyRestart,
  startSweep,
  upstream,
  ceremony,
  provision,
  crlScale,
  ocspScale,
  namesRotation,
  federation,
  acmeCrash,
  acmeTenants,
  acmeLimits,
];

const usage = `npm run drill -- NAME [--json] [--short] [OPTION...]
npm run drill -- list [--json]

${drills.map(({ name, promise, options }) => `  ${name.padEnd(16)} ${promise}${options.map((option) => `\n${' '.repeat(21)}${option}`).join('')}`).join('\n')}

  --short          few rounds, as the tests run it
  --json           the figures as one JSON object on stdout
`;

const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(name, () => stop.abort(new Error(`stopped by ${name}`)));
process.stdout.on('error', () => stop.abort(new Error('nobody reads the figures')));

class UsageError extends Error {}

function parse(args: readonly string[]): {
  readonly name: string;
  readonly json: boolean;
  readonly short: boolean;
  readonly options: Record<string, string>;
} {
  const options: Record<string, string> = {};
  let name = '';
  for (let index = 0; index < args.length; index += 1) {
    const arg = args[index] as string;
    if (!arg.startsWith('--')) {
      if (name !== '') throw new UsageError(`${arg}: one drill at a time`);
      name = arg;
      continue;
    }
    const [key, inline] = arg.slice(2).split('=', 2) as [string, string | undefined];
    const next = args[index + 1];
    if (inline !== undefined) options[key] = inline;
    else if (key !== 'json' && key !== 'short' && next !== undefined && !next.startsWith('--'))
      options[key] = args[(index += 1)] as string;
    else options[key] = 'true';
  }
  const { json, short, ...rest } = options;
  return { name, json: json === 'true', short: short === 'true', options: rest };
}

function summary(drill: Drill, { figures, broken }: DrillReport): string {
  const lines = Object.entries(figures)
    .filter(([key]) => key !== 'broken')
    .map(
      ([key, value]) =>
        `  ${key.padEnd(22)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`,
    );
  return `${drill.name}: ${broken.length === 0 ? 'the promise held' : 'THE PROMISE BROKE'}\n${[...lines, ...broken.map((each) => `  ✗ ${each}`)].join('\n')}\n`;
}

async function main(): Promise<number> {
  const { name, json, short, options } = parse(process.argv.slice(2));
  if (name === 'list' || name === '' || options['help'] !== undefined) {
    process.stdout.write(
      name !== 'list'
        ? usage
        : json
          ? listJson(drills)
          : listText(drills, process.stdout.columns ?? 0),
    );
    return name === '' && options['help'] === undefined ? 2 : 0;
  }
  const drill = drills.find((each) => each.name === name);
  if (drill === undefined) throw new UsageError(`there is no drill ${name}`);
  const known = drill.options.map((option) => option.slice(2).split(' ')[0] as string);
  const unknown = Object.keys(options).find((key) => !known.includes(key));
  if (unknown !== undefined) throw new UsageError(`${name} has no option --${unknown}`);
  const startedMs = performance.now();
  const say = (text: string): void =>
    void process.stderr.write(
      `${((performance.now() - startedMs) / 1000).toFixed(1).padStart(6)} s  ${text}\n`,
    );
  const report = await drill.run({ short, options, say, signal: stop.signal });
  process.stdout.write(json ? `${JSON.stringify(report.figures)}\n` : summary(drill, report));
  if (json) for (const each of report.broken) process.stderr.write(`broken: ${each}\n`);
  return report.broken.length === 0 ? 0 : 1;
}

let exitCode: number;
try {
  exitCode = await main();
} catch (thrown) {
  const wrongCall = thrown instanceof UsageError;
  if (stop.signal.aborted)
    process.stderr.write(
      `${(stop.signal.reason as Error).message}; everything that was started is gone\n`,
    );
  else
    process.stderr.write(
      wrongCall
        ? `${thrown.message}\n\n${usage}`
        : `the drill failed: ${thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown)}\n`,
    );
  exitCode = wrongCall ? 2 : 3;
}
process.exitCode = exitCode;
// an open handle must not keep the caller waiting
setTimeout(() => process.exit(exitCode), 1_000).unref();
