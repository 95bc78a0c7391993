// Makes this folder ready to build and run: npm packages, native modules that load in the project's
// Node, Debian packages, OpenBao, the servers of the tests.
//
//   node scripts/setup.mjs [--for=build|start|test] [--quiet]
//
// Runs on Node 18 and up with npm 9 and up. Each step first looks whether there is anything to do,
// so that a second run takes a fraction of a second. --quiet prints only what is being changed.
import { existsSync, mkdirSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { exclusively } from '../softhsm/exclusively.mjs';
import { capture, inRoot, isMain, main, projectNode, readJson, ScriptError } from './lib.mjs';
import { ensureDebianPackages } from './debian.mjs';
import { installFromLock } from './npm.mjs';
import { ensureOpenBao, haveOpenBao } from './openbao.mjs';
import { ensureServers } from './servers.mjs';

/** @param {{ quiet?: boolean, purpose?: 'build' | 'start' | 'test' }} [options] */
export function setup({ quiet = false, purpose = 'start' } = {}) {
  const say = (line) => process.stderr.write(`setup: ${line}\n`);
  const fine = (line) => {
    if (!quiet) say(line);
  };
  if (process.platform !== 'linux' || !['x64', 'arm64'].includes(process.arch)) {
    throw new ScriptError(
      `runs on Linux on x64 or arm64, this is ${process.platform} on ${process.arch}`,
    );
  }
  const missing = missingPackages();
  if (missing.length === 0) fine('npm packages: complete');
  else
    alone(say, () => {
      if (missingPackages().length > 0) installPackages(say, missing);
    });

  // npm 9 links no binary that two optional packages offer, even if only one of them fits this
  // machine.
  if (!existsSync(projectNode)) {
    alone(say, () => {
      rmSync(projectNode, { force: true });
      symlinkSync(join('..', `node-linux-${process.arch}`, 'bin', 'node'), projectNode);
    });
  }
  const version = capture(projectNode, ['--version']).output;
  fine(`node: ${version} from npm`);

  if (loads().ok) fine('native modules: load');
  else alone(say, () => buildNativeModules(say));

  ensureDebianPackages(purpose, { say, fine });
  if (purpose === 'test') ensureServers({ say, fine });
  if (purpose === 'test' && haveOpenBao()) ensureOpenBao({ say, fine });
  else if (purpose === 'test') alone(say, () => ensureOpenBao({ say, fine }));
}

/** One set-up at a time per folder: two that install at once would delete each other's files. */
function alone(say, work) {
  mkdirSync(inRoot('dist'), { recursive: true });
  exclusively(inRoot('dist', '.setup-lock'), work, {
    onWait: () => say('another set-up is at work here, waiting for it'),
  });
}

/**
 * Names of packages that package-lock.json states and node_modules lacks or holds in another
 * version. npm's own record of what it installed is compared, and that the folders are there;
 * packages for other platforms may be absent.
 */
function missingPackages() {
  const record = inRoot('node_modules', '.package-lock.json');
  if (!existsSync(record)) return ['everything'];
  const wanted = readJson(inRoot('package-lock.json')).packages;
  const installed = readJson(record).packages;
  const mine = (entry) =>
    entry.optional !== true ||
    (fits(entry.os, process.platform) &&
      fits(entry.cpu, process.arch) &&
      fits(entry.libc, 'glibc'));
  return Object.entries(wanted)
    .filter(([path, entry]) => path !== '' && mine(entry))
    .filter(
      ([path, entry]) =>
        installed[path]?.version !== entry.version ||
        installed[path]?.integrity !== entry.integrity ||
        !existsSync(inRoot(path, 'package.json')),
    )
    .map(([path]) => path.replace(/^.*node_modules\//, ''));
}

const fits = (allowed, value) => allowed === undefined || [allowed].flat().includes(value);

function installPackages(say, missing) {
  const names =
    missing.length > 4
      ? `${missing.slice(0, 3).join(', ')} and ${missing.length - 3} more`
      : missing.join(', ');
  say(`npm packages: installing (${names}), which takes a while on a first run`);
  const started = Date.now();
  installFromLock();
  const left = missingPackages();
  if (left.length > 0)
    throw new ScriptError(`npm ci ended well, yet these are missing: ${left.join(', ')}`);
  say(`npm packages: installed in ${seconds(started)} s`);
}

/**
 * Loads the native modules in the project's Node and lets it exit: a wrongly linked one crashes
 * only at exit.
 */
function loads() {
  const program =
    "const { PKCS11 } = require('pkcs11js'); new PKCS11(); require('koffi').sizeof('int');";
  return capture(projectNode, ['-e', program], { allowFailure: true });
}

function buildNativeModules(say) {
  if (loads().ok) return;
  ensureDebianPackages('compile', { say, fine: () => {} });
  say("native modules: building pkcs11js for the project's Node");
  const started = Date.now();
  // Debian's own node-gyp links addons with its libnode, which then crashes in another Node (at
  // exit, with status 139). The project's node-gyp with the headers of the project's Node does not.
  // Settings of the caller must not get in between.
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^npm_/i.test(name)),
  );
  capture(projectNode, [inRoot('node_modules', 'node-gyp', 'bin', 'node-gyp.js'), 'rebuild'], {
    cwd: inRoot('node_modules', 'pkcs11js'),
    env: {
      ...environment,
      npm_config_nodedir: inRoot('node_modules', `node-linux-${process.arch}`),
      npm_config_jobs: 'max',
    },
  });
  const result = loads();
  if (!result.ok) {
    throw new ScriptError(
      `pkcs11js or koffi does not load in ${join('node_modules', '.bin', 'node')} ` +
        `(${result.signal ?? `exit ${result.status}`}): ${result.output}`,
    );
  }
  say(`native modules: built in ${seconds(started)} s, load`);
}

const seconds = (started) => ((Date.now() - started) / 1000).toFixed(1);

if (isMain(import.meta.url)) {
  await main((args) => {
    const purpose = args.find((arg) => arg.startsWith('--for='))?.slice('--for='.length);
    if (purpose !== undefined && !['build', 'start', 'test'].includes(purpose))
      throw new ScriptError(`--for is build, start or test, not ${purpose}`);
    setup({ quiet: args.includes('--quiet'), ...(purpose === undefined ? {} : { purpose }) });
  });
}
