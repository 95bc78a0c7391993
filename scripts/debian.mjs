// Programs that come from the distribution: what is needed for what, and their installation through
// apt-get.
import { spawnSync } from 'node:child_process';
import { accessSync, constants, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { softHsmModulePath } from '../softhsm/module-path.mjs';
import { capture, ScriptError } from './lib.mjs';
import { haveOpenBao } from './openbao.mjs';

export const onPath = (program) => () =>
  [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });

/**
 * `present` looks for what is used, not for the package, so that other distributions and own builds
 * count.
 */
const needs = [
  {
    name: 'softhsm2',
    present: () => softHsmModulePath(process.env) !== undefined,
    purposes: ['start', 'test'],
  },
  { name: 'opensc', present: onPath('pkcs11-tool'), purposes: ['test'] },
  { name: 'gnutls-bin', present: onPath('certtool'), purposes: ['test'] },
  // the drill crash-issuance reads the order of syncs, signatures and releases from system calls
  { name: 'strace', present: onPath('strace'), purposes: ['test'] },
  { name: 'openssl', present: onPath('openssl'), purposes: ['test'] },
  { name: 'openssh-client', present: onPath('ssh-keygen'), purposes: ['test'] },
  // only to install OpenBao; Debian's python3 comes without ensurepip
  {
    name: 'python3-venv',
    present: () =>
      haveOpenBao() ||
      spawnSync('python3', ['-c', 'import ensurepip, venv'], { stdio: 'ignore' }).status === 0,
    purposes: ['test'],
  },
  {
    name: 'python3-venv',
    present: () =>
      spawnSync('python3', ['-c', 'import ensurepip, venv'], { stdio: 'ignore' }).status === 0,
    purposes: ['interop-python'],
  },
  // the distribution's own rustc and cargo are older than what the clients need
  { name: 'cargo-web', present: () => recentCargo(), purposes: ['interop-rust'] },
  // clients of ACME run in network namespaces, as on machines of their own
  { name: 'iproute2', present: onPath('ip'), purposes: ['interop-acme'] },
  {
    name: 'ca-certificates',
    present: onPath('update-ca-certificates'),
    purposes: ['interop-acme'],
  },
  { name: 'libnss3-tools', present: onPath('vfychain'), purposes: ['interop-nss'] },
  { name: 'maven', present: onPath('mvn'), purposes: ['interop-java'] },
  { name: 'default-jdk-headless', present: onPath('javac'), purposes: ['interop-java'] },
  { name: 'g++', present: onPath('g++'), purposes: ['compile'] },
  { name: 'make', present: onPath('make'), purposes: ['compile'] },
  { name: 'python3', present: onPath('python3'), purposes: ['compile'] },
];

function recentCargo() {
  const { stdout } = spawnSync('cargo', ['--version'], { encoding: 'utf8' });
  const version = /(\d+)\.(\d+)/.exec(stdout ?? '');
  return version !== null && (Number(version[1]) > 1 || Number(version[2]) >= 88);
}

/** @param {'build' | 'start' | 'test' | 'compile'} purpose */
export function ensureDebianPackages(purpose, { say, fine }) {
  const wanted = needs.filter((need) => need.purposes.includes(purpose));
  const absent = wanted.filter((need) => !need.present()).map((need) => need.name);
  if (wanted.length === 0) return;
  if (absent.length === 0) {
    fine(`system packages: ${wanted.map((need) => need.name).join(', ')} present`);
    return;
  }
  const command = `apt-get install -y --no-install-recommends ${absent.join(' ')}`;
  const prefix = privilege();
  if (!onPath('apt-get')())
    throw new ScriptError(
      `needs ${absent.join(', ')} (Debian's package names): install them with the package ` +
        'manager of this system, then run this again',
    );
  if (prefix === undefined)
    throw new ScriptError(
      `needs the packages ${absent.join(', ')} and may not install them: run "sudo ${command}", then run this again`,
    );

  say(
    `system packages: installing ${absent.join(', ')} with apt-get${prefix.length > 0 ? ' through sudo' : ''}`,
  );
  const install = apt(prefix, 'install', '-y', '--no-install-recommends', ...absent);
  withPackageLists(prefix, (allowFailure) => run(install, allowFailure));
  const still = wanted.filter((need) => !need.present()).map((need) => need.name);
  if (still.length > 0)
    throw new ScriptError(
      `apt-get installed ${still.join(', ')}, yet what is needed of it was not found`,
    );
  say(`system packages: installed ${absent.join(', ')}`);
}

/**
 * The files of a package in a folder. Nothing is installed: a service that the package brings is not
 * enabled, and no user of the system is made.
 */
export function unpackDebianPackage(name, place) {
  if (!onPath('apt-get')() || !onPath('dpkg')())
    throw new ScriptError(
      `needs ${name} (Debian's package name): install its programs on this system, then run this again`,
    );
  mkdirSync(place, { recursive: true });
  withPackageLists(privilege(), (allowFailure) =>
    capture('apt-get', ['-q', 'download', name], { cwd: place, allowFailure }),
  );
  const archive = readdirSync(place).find((file) => file.endsWith('.deb'));
  if (archive === undefined) throw new ScriptError(`apt-get downloaded no package ${name}`);
  capture('dpkg', ['-x', archive, '.'], { cwd: place });
}

/**
 * The files of packages, and of all that they need and this system lacks, in one folder. Nothing is
 * installed, as with `unpackDebianPackage`.
 */
export function unpackDebianPackages(names, place) {
  if (!onPath('apt-get')() || !onPath('dpkg')())
    throw new ScriptError(
      `needs ${names.join(', ')} (Debian's package names): install their programs on this system, then run this again`,
    );
  const archives = join(place, '.archives');
  mkdirSync(archives, { recursive: true });
  withPackageLists(privilege(), (allowFailure) => {
    const plan = capture('apt-get', ['-q', '-s', '--no-install-recommends', 'install', ...names], {
      allowFailure,
    });
    if (!plan.ok) return plan;
    const needed = [...plan.output.matchAll(/^Inst (\S+)/gm)].map(([, name]) => name);
    const wanted = [...new Set([...names, ...needed])];
    return capture('apt-get', ['-q', 'download', ...wanted], { cwd: archives, allowFailure });
  });
  for (const archive of readdirSync(archives).filter((file) => file.endsWith('.deb')))
    capture('dpkg', ['-x', join(archives, archive), place]);
  rmSync(archives, { recursive: true });
}

/**
 * Package lists may be missing or old; they are fetched only when the first try shows it, since that
 * takes long.
 */
function withPackageLists(prefix, attempt) {
  if (attempt(true).ok) return;
  if (prefix !== undefined) run(apt(prefix, 'update'));
  attempt(false);
}

const apt = (prefix, ...args) => [
  ...prefix,
  'env',
  'DEBIAN_FRONTEND=noninteractive',
  'apt-get',
  '-q',
  '-o',
  'DPkg::Lock::Timeout=300',
  ...args,
];

function run([command, ...args], allowFailure = false) {
  // sudo asks for a password on the terminal itself, so its stdin stays connected.
  return capture(command, args, { allowFailure, stdio: ['inherit', 'pipe', 'pipe'] });
}

/**
 * What to put before a command to run it as root: nothing, sudo, or undefined when neither works.
 */
function privilege() {
  if (process.getuid() === 0) return [];
  if (!onPath('sudo')()) return undefined;
  if (spawnSync('sudo', ['-n', 'true'], { stdio: 'ignore' }).status === 0) return ['sudo', '-n'];
  return process.stdin.isTTY === true ? ['sudo'] : undefined;
}
