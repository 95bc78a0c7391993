// The servers of the distribution that the tests of drivers run: nginx, HAProxy, Redis, PostgreSQL. What
// this system has not installed is unpacked into ${XDG_CACHE_HOME:-~/.cache}/meshca/debian-servers, with
// the libraries that it lacks. No package is installed, so that no service is enabled or started.
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { exclusively } from '../softhsm/exclusively.mjs';
import { onPath, unpackDebianPackages } from './debian.mjs';
import { cache } from './foreign.mjs';
import { ScriptError } from './lib.mjs';

// test/support/servers/debian-programs.ts looks there
const place = join(cache, 'debian-servers');

/** No folder of a package has this name; some packages have programs in bin/. */
const starters = 'starters';

/** The program and the package. */
const servers = [
  ['nginx', 'nginx'],
  ['haproxy', 'haproxy'],
  ['redis-server', 'redis-server'],
  ['postgres', 'postgresql'],
];

const isInstalled = (program) => onPath(program)() || postgresFolders('/').some(has(program));
const isUnpacked = (program) => existsSync(join(place, starters, program));
const has = (program) => (folder) => existsSync(join(folder, program));

const missing = () => servers.filter(([program]) => !isInstalled(program) && !isUnpacked(program));

/** Unpacks what is neither installed nor unpacked. */
export function ensureServers({ say, fine }) {
  if (missing().length === 0) {
    fine(`servers: ${servers.map(([program]) => program).join(', ')} present`);
    return;
  }
  mkdirSync(cache, { recursive: true });
  exclusively(join(cache, '.debian-servers-lock'), () => unpack(missing(), say), {
    onWait: () => say('another set-up unpacks servers, waiting for it'),
  });
}

function unpack(wanted, say) {
  if (wanted.length === 0) return;
  const packages = servers.filter(([program]) => !isInstalled(program)).map(([, name]) => name);
  say(`servers: unpacking ${packages.join(', ')} into ${place}; nothing is installed or started`);
  const started = Date.now();
  const made = `${place}.new`;
  rmSync(made, { recursive: true, force: true });
  unpackDebianPackages(packages, made);
  writeStarters(made);
  rmSync(place, { recursive: true, force: true });
  renameSync(made, place);
  const still = missing().map(([program]) => program);
  if (still.length > 0)
    throw new ScriptError(`the packages ${packages.join(', ')} hold no ${still.join(', ')}`);
  say(`servers: unpacked in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

/** One script for each program, which runs it with the unpacked libraries. */
function writeStarters(made) {
  mkdirSync(join(made, starters));
  // where /lib is a folder of its own in a package, its libraries are there
  const libraries = [join('usr', 'lib'), 'lib']
    .filter((folder) => existsSync(join(made, folder)))
    .flatMap((folder) =>
      readdirSync(join(made, folder))
        .filter((name) => name.endsWith('-linux-gnu'))
        .map((name) => join(place, folder, name)),
    );
  // usr/bin/psql is a script that looks for PostgreSQL in the system
  const folders = [...postgresFolders(made), join(made, 'usr', 'sbin'), join(made, 'usr', 'bin')];
  for (const program of [...servers.map(([name]) => name), 'initdb', 'psql']) {
    const folder = folders.find(has(program));
    if (folder === undefined) continue;
    const real = join(folder, program).replace(made, place);
    const path = join(made, starters, program);
    const line = `LD_LIBRARY_PATH='${libraries.join(':')}' exec '${real}' "$@"`;
    writeFileSync(path, `#!/bin/sh\n${line}\n`);
    chmodSync(path, 0o755);
  }
}

function postgresFolders(above) {
  const folder = join(above, 'usr', 'lib', 'postgresql');
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((version) => join(folder, version, 'bin'));
}
