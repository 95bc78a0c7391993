// Replays the Dockerfile without a container engine: each stage in a fresh Debian root made by
// debootstrap, then a command in the last one, as its user and with its environment. As root, on
// Debian; takes a few minutes.
//
//   node scripts/try-dockerfile.mjs [--build-arg NAME=VALUE]... [--mirror URL] [--keep DIR] [--
//   COMMAND [ARGUMENT...]]
//
// --keep leaves the roots in DIR, where a later run finds the base and need not make it again. The
// context is a clean clone of HEAD, filtered by .dockerignore. Knows the instructions that our
// Dockerfile uses, and refuses others. Without a command: prints the image's entry point and size.
import { spawnSync } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { capture, inRoot, isMain, main, ScriptError } from './lib.mjs';

/**
 * Instructions of a Dockerfile as [{ name, text }], continuation lines joined, comments dropped.
 */
export function parseDockerfile(text) {
  const joined = text
    .split('\n')
    .filter((line) => !/^\s*#/.test(line))
    .join('\n')
    .replace(/\\\n/g, ' ');
  return joined
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '')
    .map((line) => {
      const [, name, rest] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      if (name === undefined) throw new ScriptError(`cannot read the line ${line}`);
      return { name: name.toUpperCase(), text: rest };
    });
}

/** `FLAGS` of an instruction and what follows them. */
function splitFlags(text) {
  const flags = {};
  let rest = text;
  for (
    let match;
    (match = /^--([a-z-]+)=(\S+)\s+/.exec(rest)) !== null;
    rest = rest.slice(match[0].length)
  )
    flags[match[1]] = match[2];
  return { flags, rest };
}

const expand = (text, values) =>
  text.replace(/\$\{?([A-Za-z_]\w*)\}?/g, (_, name) => values[name] ?? '');
const list = (text) => (text.startsWith('[') ? JSON.parse(text) : ['/bin/sh', '-c', text]);

function replay({ work, buildArgs, mirror, say }) {
  const context = makeContext(join(work, 'context'));
  const stages = new Map();
  let stage;
  const instructions = parseDockerfile(readFileSync(inRoot('Dockerfile'), 'utf8'));
  for (const { name, text } of instructions) {
    say(`${name} ${text.replace(/\s+/g, ' ').slice(0, 110)}`);
    const values = { ...stage?.args, ...stage?.env };
    if (name === 'FROM') {
      const [, image, alias] = /^(\S+)(?:\s+AS\s+(\S+))?$/i.exec(text) ?? [];
      stage = {
        root: join(work, `stage-${stages.size}`),
        args: {},
        env: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' },
        user: 'root',
        cwd: '/',
        entry: [],
        command: [],
      };
      stages.set(alias ?? `${stages.size}`, stage);
      makeBase(image, stage.root, join(work, 'base'), mirror);
    } else if (name === 'ARG') {
      const [key, value = ''] = text.split(/=(.*)/s);
      stage.args[key] = buildArgs[key] ?? value;
    } else if (name === 'ENV') {
      for (const [, key, value] of text.matchAll(/(\w+)=(\S*)/g))
        stage.env[key] = expand(value, values);
    } else if (name === 'WORKDIR') {
      stage.cwd = text;
      mkdirSync(join(stage.root, text), { recursive: true });
    } else if (name === 'RUN')
      inside(stage, ['/bin/sh', '-c', text], { quiet: true, env: { ...stage.args, ...stage.env } });
    else if (name === 'COPY') copy(stage, text, stages, context);
    else if (name === 'USER') stage.user = text;
    else if (name === 'ENTRYPOINT') stage.entry = list(text);
    else if (name === 'CMD') stage.command = list(text);
    else if (name === 'HEALTHCHECK') stage.health = list(text.replace(/^.*?\bCMD\s+/, ''));
    else if (!['VOLUME', 'STOPSIGNAL', 'EXPOSE', 'LABEL'].includes(name))
      throw new ScriptError(`does not know the instruction ${name}`);
  }
  return stage;
}

/** debian:SUITE[-slim] made once, then copied for each stage. */
function makeBase(image, target, base, mirror) {
  const suite = /^debian:([a-z]+)(-slim)?$/.exec(image)?.[1];
  if (suite === undefined) throw new ScriptError(`knows images of debian:SUITE only, not ${image}`);
  if (!existsSync(base)) {
    capture('debootstrap', ['--variant=minbase', suite, base, mirror]);
    // What this machine trusts and how it finds others: taken over, for networks that have their
    // own.
    for (const file of ['/etc/resolv.conf', '/etc/hosts'])
      cpSync(file, join(base, file), { dereference: true });
    if (existsSync('/usr/local/share/ca-certificates'))
      cpSync('/usr/local/share/ca-certificates', join(base, 'usr/local/share/ca-certificates'), {
        recursive: true,
      });
  }
  rmSync(target, { recursive: true, force: true });
  capture('cp', ['-a', base, target]);
}

function makeContext(target) {
  rmSync(target, { recursive: true, force: true });
  capture('git', ['clone', '-q', '--no-hardlinks', inRoot(), target]);
  const patterns = readFileSync(inRoot('.dockerignore'), 'utf8')
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'));
  if (patterns[0] !== '*' || patterns.slice(1).some((line) => !/^![\w./-]+$/.test(line)))
    throw new ScriptError('.dockerignore is more than "*" and a list of what is let in');
  const kept = patterns.slice(1).map((line) => line.slice(1));
  for (const name of readdirSync(target))
    if (!kept.includes(name)) rmSync(join(target, name), { recursive: true });
  return target;
}

function copy(stage, text, stages, context) {
  const { flags, rest } = splitFlags(text);
  const places = rest.split(/\s+/);
  const destination = places.pop();
  const source = flags.from === undefined ? context : stages.get(flags.from)?.root;
  if (source === undefined) throw new ScriptError(`COPY --from=${flags.from}: no such stage`);
  for (const place of places) {
    const from = join(source, place);
    if (!existsSync(from)) throw new ScriptError(`COPY ${place}: not in the context`);
    const to = join(
      stage.root,
      destination.startsWith('/') ? '' : stage.cwd,
      destination,
      destination.endsWith('/') ? basename(place) : '',
    );
    mkdirSync(join(to, '..'), { recursive: true });
    cpSync(from, to, { recursive: true, verbatimSymlinks: true, preserveTimestamps: true });
    // As the builder does: files of the context belong to root.
    capture('chown', ['-R', flags.chown ?? '0:0', to]);
    if (flags.chmod !== undefined && statSync(to).isFile())
      chmodSync(to, Number.parseInt(flags.chmod, 8));
  }
}

/**
 * Runs a command in a stage's root, in namespaces of its own, so that nothing stays mounted or
 * running.
 */
function inside(stage, command, { quiet = false, env = stage.env } = {}) {
  const mounts =
    'mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && mount -t tmpfs tmpfs ' +
    '"$1/tmp" && mount -t tmpfs -o mode=755 tmpfs "$1/dev/shm"';
  const program =
    `${mounts} && root=$1 user=$2 cwd=$3 && shift 3 && exec chroot --userspec="$user" "$root" ` +
    '/usr/bin/env --chdir="$cwd" "$@"';
  // chroot --userspec keeps the caller's HOME and the like: the environment is built from nothing.
  const variables = Object.entries({
    HOME: stage.user === 'root' ? '/root' : stage.cwd,
    ...env,
  }).map(([name, value]) => `${name}=${value}`);
  const user = stage.user === 'root' ? '0:0' : stage.user;
  const args = [
    '--mount',
    '--pid',
    '--fork',
    '--kill-child',
    'sh',
    '-c',
    program,
    'sh',
    stage.root,
    user,
    stage.cwd,
    '-i',
    ...variables,
    ...command,
  ];
  const result = spawnSync('unshare', args, {
    stdio: quiet ? ['ignore', 'pipe', 'pipe'] : 'inherit',
    encoding: 'utf8',
    maxBuffer: 64 << 20,
  });
  if (quiet && result.status !== 0)
    throw new ScriptError(
      `${command.at(-1)}\nended with ` +
        `${result.signal ?? `exit ${result.status}`}\n${`${result.stdout}${result.stderr}`.split('\n').slice(-40).join('\n')}`,
    );
  return result.status ?? 1;
}

function readOptions(args) {
  const options = { buildArgs: {}, command: [] };
  for (let at = 0; at < args.length; at += 1) {
    if (args[at] === '--') {
      options.command = args.slice(at + 1);
      break;
    }
    const value = args[at + 1];
    if (!['--build-arg', '--mirror', '--keep'].includes(args[at]) || value === undefined)
      throw new ScriptError(`does not know ${args[at]}`);
    if (args[at] === '--build-arg') {
      const [name, text = ''] = value.split(/=(.*)/s);
      options.buildArgs[name] = text;
    } else if (args[at] === '--mirror') options.mirror = value;
    else options.keep = value;
    at += 1;
  }
  return options;
}

if (isMain(import.meta.url)) {
  await main((args) => {
    const options = readOptions(args);
    if (process.getuid() !== 0)
      throw new ScriptError('needs root, to make and enter a root of its own');
    if (!capture('debootstrap', ['--version'], { allowFailure: true }).ok)
      throw new ScriptError('needs debootstrap: apt-get install debootstrap');
    const work = options.keep ?? mkdtempSync(join(tmpdir(), 'meshca-image-'));
    mkdirSync(work, { recursive: true });
    try {
      const say = (line) => process.stderr.write(`dockerfile: ${line}\n`);
      const image = replay({
        work,
        buildArgs: options.buildArgs,
        mirror: options.mirror ?? 'http://deb.debian.org/debian',
        say,
      });
      say(
        `the image has ${capture('du', ['-sm', image.root]).output.split('\t')[0]} MiB, ` +
          `starts ${JSON.stringify([...image.entry, ...image.command])}, health ` +
          `${JSON.stringify(image.health)}`,
      );
      return options.command.length === 0 ? 0 : inside(image, options.command);
    } finally {
      if (options.keep === undefined) rmSync(work, { recursive: true, force: true });
    }
  });
}
