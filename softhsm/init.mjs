// Makes SoftHSM ready below one folder: softhsm2.conf, the token store, one token per role, a
// random PIN for each.
//
//   node softhsm/init.mjs --dir DIR [--issuing-label LABEL] [--root-label LABEL] [--module PATH]
//   [--json]
//
// Runs on Node 18 and up. Safe to repeat and to resume after a crash: what exists is checked, never
// made anew.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exclusively } from './exclusively.mjs';
import { softHsmModulePath } from './module-path.mjs';

const here = dirname(fileURLToPath(import.meta.url));

/** A failure that a person can act on; the message says how. */
export class SoftHsmError extends Error {}

/**
 * @param {{ dir: string, labels?: { issuing?: string, root?: string }, modulePath?: string }}
 * options
 * @returns {{ modulePath: string, confPath: string, tokenDir: string, tokens: Record<'issuing' |
 * 'root', { label: string, pinFile: string, soPinFile: string, created: boolean }> }}
 */
export function initSoftHsm({ dir, labels = {}, modulePath = softHsmModulePath(process.env) }) {
  if (modulePath === undefined)
    throw new SoftHsmError(
      'SoftHSM is not installed: sudo apt-get install softhsm2, or say where its module is with --module',
    );
  if (!existsSync(modulePath)) throw new SoftHsmError(`there is no PKCS#11 module ${modulePath}`);
  const base = resolve(dir);
  const tokenDir = join(base, 'tokens');
  const pinDir = join(base, 'pins');
  const confPath = join(base, 'softhsm2.conf');
  for (const folder of [base, tokenDir, pinDir]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    chmodSync(folder, 0o700);
  }
  const tokens = {
    issuing: describe(pinDir, 'issuing', labels.issuing ?? 'meshca-issuing'),
    root: describe(pinDir, 'root', labels.root ?? 'meshca-root'),
  };
  if (tokens.issuing.label === tokens.root.label)
    throw new SoftHsmError('the two tokens need different labels');

  const created = exclusively(join(base, '.init-lock'), () => {
    writeConfiguration(confPath, tokenDir);
    return runChild({ modulePath, tokenDir, tokens: Object.values(tokens) }, confPath);
  });
  for (const token of Object.values(tokens)) token.created = created.includes(token.label);
  return { modulePath, confPath, tokenDir, tokens };
}

function describe(pinDir, role, label) {
  // CK_TOKEN_INFO.label has 32 bytes, padded with blanks.
  if (!/^[A-Za-z0-9._-]{1,32}$/.test(label))
    throw new SoftHsmError(
      `the token label ${JSON.stringify(label)} is not 1 to 32 characters of [A-Za-z0-9._-]`,
    );
  return {
    label,
    pinFile: join(pinDir, `${role}.pin`),
    soPinFile: join(pinDir, `${role}.so-pin`),
    created: false,
  };
}

function writeConfiguration(confPath, tokenDir) {
  const text = [
    `directories.tokendir = ${tokenDir}`,
    'objectstore.backend = file',
    'log.level = ERROR',
    'slots.removable = false',
    'slots.mechanisms = ALL',
    'library.reset_on_fork = false',
    '',
  ].join('\n');
  if (existsSync(confPath) && readFileSync(confPath, 'utf8') === text) return;
  writeFileSync(`${confPath}.new`, text, { mode: 0o600 });
  renameSync(`${confPath}.new`, confPath);
}

/**
 * The module reads SOFTHSM2_CONF when it is initialised, and pkcs11js is built for the project's
 * Node: hence a process of its own. PINs go through files that only the owner can read, never
 * through arguments or environment.
 */
function runChild(job, confPath) {
  const result = spawnSync(nodeForPkcs11(), [join(here, 'init-tokens.mjs')], {
    input: JSON.stringify(job),
    encoding: 'utf8',
    env: { ...process.env, SOFTHSM2_CONF: confPath, NODE_OPTIONS: '' },
  });
  if (result.error)
    throw new SoftHsmError(`could not start Node to set up the tokens: ${result.error.message}`);
  // SoftHSM aborts on some damaged stores, for instance with two tokens that it can't read.
  if (result.signal !== null)
    throw new SoftHsmError(
      `the module crashed (${result.signal}): the token store is damaged or half written; ` +
        `put back its folders. ${result.stderr.trim()}`,
    );
  if (result.status !== 0)
    throw new SoftHsmError(
      result.stderr.trim() || `setting up the tokens ended with exit ${result.status}`,
    );
  return JSON.parse(result.stdout).created;
}

function nodeForPkcs11() {
  if (Number(process.versions.node.split('.')[0]) >= 24) return process.execPath;
  const node = join(here, '..', 'node_modules', '.bin', 'node');
  if (!existsSync(node))
    throw new SoftHsmError('the project is not set up yet: run "npm run setup" first');
  return node;
}

const usage =
  'usage: node softhsm/init.mjs --dir DIR [--issuing-label LABEL] [--root-label LABEL] [--module PATH] [--json]';

function parse(args) {
  const options = { labels: {}, json: false };
  for (let index = 0; index < args.length; index += 1) {
    const name = args[index];
    if (name === '--json') {
      options.json = true;
      continue;
    }
    if (name === '--help' || name === '-h') {
      console.log(usage);
      process.exit(0);
    }
    const value = args[index + 1];
    if (value === undefined) throw new SoftHsmError(`${name} needs a value`);
    index += 1;
    if (name === '--dir') options.dir = value;
    else if (name === '--module') options.modulePath = value;
    else if (name === '--issuing-label') options.labels.issuing = value;
    else if (name === '--root-label') options.labels.root = value;
    else throw new SoftHsmError(`unknown option ${name}`);
  }
  if (options.dir === undefined)
    throw new SoftHsmError('say where: node softhsm/init.mjs --dir DIR');
  return options;
}

if (
  process.argv[1] !== undefined &&
  realpathSync(process.argv[1]) === realpathSync(fileURLToPath(import.meta.url))
) {
  try {
    const { json, ...options } = parse(process.argv.slice(2));
    const result = initSoftHsm(options);
    if (json) console.log(JSON.stringify(result));
    else {
      for (const { label, pinFile, created } of Object.values(result.tokens))
        console.log(`token ${label}: ${created ? 'initialised' : 'ready'}, PIN in ${pinFile}`);
      console.log(`module ${result.modulePath}\nexport SOFTHSM2_CONF=${result.confPath}`);
    }
  } catch (error) {
    console.error(error instanceof SoftHsmError ? `softhsm: ${error.message}` : error);
    process.exitCode = 1;
  }
}
