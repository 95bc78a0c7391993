// Shared by the scripts of this folder. They run on Node 18 and up, before anything is installed:
// built-ins only.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  writeFileSync,
} from 'node:fs';
import { constants } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
export const inRoot = (...parts) => join(root, ...parts);

/** The Node that the product runs on: from the npm package `node`, whatever the machine carries. */
export const projectNode = inRoot('node_modules', '.bin', 'node');

/** A failure that a person can act on: printed without a stack. */
export class ScriptError extends Error {}

/** The environment for programs of this project: its own Node first on PATH. */
export function projectEnvironment(extra = {}) {
  return {
    ...process.env,
    PATH: `${inRoot('node_modules', '.bin')}${delimiter}${process.env.PATH ?? ''}`,
    ...extra,
  };
}

/** True when `moduleUrl` is the file that node was started with. */
export function isMain(moduleUrl) {
  return (
    process.argv[1] !== undefined &&
    realpathSync(process.argv[1]) === realpathSync(fileURLToPath(moduleUrl))
  );
}

/** Runs the body of a script; failures become one line and exit code 1. */
export async function main(body) {
  try {
    const code = await body(process.argv.slice(2));
    if (typeof code === 'number') process.exitCode = code;
  } catch (error) {
    console.error(error instanceof ScriptError ? `meshca: ${error.message}` : error);
    process.exitCode = 1;
  }
}

/**
 * Runs a command to its end with its output kept; throws a ScriptError that carries the output
 * unless `allowFailure`.
 */
export function capture(command, args, { allowFailure = false, ...options } = {}) {
  const result = spawnSync(command, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 << 20,
    ...options,
  });
  const output = `${result.stdout ?? ''}${result.stderr ?? ''}`.trim();
  if (result.error !== undefined || result.status !== 0) {
    if (allowFailure)
      return {
        ok: false,
        status: result.status,
        signal: result.signal,
        output: result.error ? String(result.error.message) : output,
      };
    const tail = output.split('\n').slice(-40).join('\n');
    throw new ScriptError(
      `${command} ${args.join(' ')} failed ` +
        `(${result.error?.message ?? result.signal ?? `exit ${result.status}`})\n${tail}`,
    );
  }
  return { ok: true, status: 0, signal: null, output };
}

/** The shell that npm runs a script in, and npm itself, which leaves the shell behind when it is killed. */
function starters() {
  let above = '';
  try {
    above =
      /^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${process.ppid}/status`, 'utf8'))?.[1] ?? '';
  } catch {
    // no /proc, or the shell is gone: its own ID tells
  }
  return `${process.ppid} ${above}`;
}
const startedBy = starters();

/**
 * Runs a command in the foreground: inherited stdio, signals passed on, resolves with the exit code
 * a shell would give. A terminal sends Ctrl-C to the whole group, so SIGINT is passed on only when
 * nobody but this process got it. `tethered`: the command ends when this process is gone, however
 * that ended, and when the npm that started this one is gone.
 */
export function foreground(
  command,
  args,
  { env = projectEnvironment(), cwd = process.cwd(), tethered = false } = {},
) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      env: tethered ? { ...env, MESHCA_STARTED_BY: String(process.pid) } : env,
      stdio: 'inherit',
    });
    if (tethered && process.env['npm_lifecycle_event'] !== undefined)
      setInterval(() => starters() === startedBy || child.kill('SIGTERM'), 500).unref();
    const forwarders = ['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => {
      const forward = () => {
        if (signal === 'SIGINT' && process.stdin.isTTY === true) return;
        child.kill(signal);
      };
      process.on(signal, forward);
      return () => process.off(signal, forward);
    });
    const finish = () => forwarders.forEach((remove) => remove());
    child.on('error', (/** @type {Error} */ error) => {
      finish();
      reject(error);
    });
    child.on('exit', (code, signal) => {
      finish();
      resolve(code ?? 128 + (constants.signals[signal] ?? 0));
    });
  });
}

/** Every file below `folder`, as sorted paths; nothing when the folder does not exist. */
export function filesBelow(folder, accept = () => true) {
  if (!existsSync(folder)) return [];
  const found = [];
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) found.push(...filesBelow(path, accept));
    else if (accept(path)) found.push(path);
  }
  return found.sort((a, b) => (a < b ? -1 : 1));
}

/** One digest over the names and contents of files, plus further text. */
export function digestOf(paths, ...texts) {
  const hash = createHash('sha256');
  for (const path of paths) {
    const content = readFileSync(path);
    hash.update(`${path.slice(root.length)}\0${content.length}\0`).update(content);
  }
  for (const text of texts) hash.update(`\0${text}`);
  return hash.digest('hex');
}

/** A stamp remembers the digest under which a step last succeeded. */
export function stampMatches(path, digest) {
  return existsSync(path) && readFileSync(path, 'utf8') === digest;
}

export function writeStamp(path, digest) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, digest);
}

export const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));
