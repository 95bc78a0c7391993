// Runs "npm ci" on the project's Node, with whatever npm the machine has.
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { capture, inRoot, readJson, ScriptError } from './lib.mjs';

const quiet = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];

/**
 * Installs what package-lock.json states. npm leaves out, without a word, optional packages whose
 * `engines` exclude the Node that npm runs on, the linter's binary for instance: so npm has to run
 * on the project's Node, which is fetched first. No install script of any package runs; the one
 * build that is needed is a step of its own in setup.mjs.
 */
export function installFromLock() {
  const scratch = mkdtempSync(join(tmpdir(), 'meshca-node-'));
  try {
    const node = fetchNode(scratch);
    npm(['ci', '--include=dev', '--include=optional', ...quiet], { node, cwd: inRoot() });
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The project's Node in a folder of its own, by the integrity hash of our lock file. */
function fetchNode(folder) {
  const name = `node-linux-${process.arch}`;
  const entry = readJson(inRoot('package-lock.json')).packages[`node_modules/${name}`];
  if (entry === undefined) throw new ScriptError(`package-lock.json does not state ${name}`);
  const project = {
    name: 'meshca-node',
    version: '0.0.0',
    private: true,
    dependencies: { [name]: entry.version },
  };
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), JSON.stringify(project));
  writeFileSync(
    join(folder, 'package-lock.json'),
    JSON.stringify({
      name: project.name,
      version: project.version,
      lockfileVersion: 3,
      requires: true,
      packages: { '': project, [`node_modules/${name}`]: { ...entry, optional: undefined } },
    }),
  );
  npm(['ci', ...quiet], { node: undefined, cwd: folder });
  const node = join(folder, 'node_modules', name, 'bin', 'node');
  if (!existsSync(node)) throw new ScriptError(`npm did not install ${name}`);
  return node;
}

/** `node` undefined: the one that npm runs on by itself. */
function npm(args, { node, cwd }) {
  const cli = npmCli();
  // What npm tells its scripts of itself and of this project would steer another npm.
  const environment = Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) =>
        !/^npm_(package|lifecycle|command|execpath|node_execpath|config_(local_prefix|prefix))/i.test(
          name,
        ),
    ),
  );
  environment.NODE_NO_WARNINGS = '1';
  if (cli === undefined || node === undefined) {
    const path = [...(node === undefined ? [] : [dirname(node)]), pathWithoutProject()].join(
      delimiter,
    );
    capture('npm', args, { cwd, env: { ...environment, PATH: path } });
    return;
  }
  // Debian's npm finds its parts in a folder that only Debian's Node searches by itself.
  if (cli.startsWith('/usr/share/nodejs/')) environment.NODE_PATH = '/usr/share/nodejs';
  // A distribution's Node trusts the CAs of the system, this one brings its own list: where the
  // machine's owner added one for his network, the download would work with the first and fail with
  // the second.
  const systemCas = '/etc/ssl/certs/ca-certificates.crt';
  if (environment.NODE_EXTRA_CA_CERTS === undefined && existsSync(systemCas))
    environment.NODE_EXTRA_CA_CERTS = systemCas;
  capture(node, [cli, ...args], { cwd, env: environment });
}

/**
 * The JavaScript of the npm that started us, or of the first on PATH; undefined when that is a
 * wrapper of some kind.
 */
function npmCli() {
  const found = [
    process.env.npm_execpath,
    ...pathWithoutProject()
      .split(delimiter)
      .map((folder) => join(folder, 'npm')),
  ]
    .filter((path) => path !== undefined && path !== '' && existsSync(path))
    .map((path) => realpathSync(path));
  if (found.length === 0)
    throw new ScriptError('npm is needed to install the packages: sudo apt-get install npm');
  return found[0].endsWith('npm-cli.js') ? found[0] : undefined;
}

/**
 * npm puts node_modules/.bin of the project first on PATH: what is there is about to be replaced.
 */
function pathWithoutProject() {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => !folder.startsWith(inRoot('node_modules')))
    .join(delimiter);
}
