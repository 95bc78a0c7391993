import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, beforeEach, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { certificatesToPem } from '../../../src/common/x509/index.ts';
import { softHsmModulePath } from '../../support/softhsm.ts';
import { createRoot } from '../../support/test-pki.ts';
import type { Start } from './starter-child.ts';

const program = fileURLToPath(
  new URL(`./starter-child.${import.meta.url.endsWith('.ts') ? 'ts' : 'js'}`, import.meta.url),
);
/**
 * What starts the program. Root gives up its capabilities for it, so that modes of files bind it,
 * and stays the owner of the sources, which may lie where nobody else may look.
 */
const user = process.getuid?.() as number;
const [command, flags] =
  user === 0
    ? ['setpriv', ['--inh-caps=-all', '--bounding-set=-all', process.execPath]]
    : [process.execPath, []];
const starter = spawn(command, [...flags, program], {
  stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
});
after(() => starter.disconnect());

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'meshca-rights-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

const at = (name: string): string => join(dir, name);
function start(kind: Start['kind'], config: object): Promise<string> {
  const path = at(`${kind}.json`);
  writeFileSync(path, JSON.stringify(config));
  return startWith(kind, path);
}
async function startWith(kind: Start['kind'], path: string): Promise<string> {
  const answer = once(starter, 'message');
  starter.send({ kind, path } satisfies Start);
  return String((await answer)[0]);
}

const serverConfig = () => ({
  trustDomain: 'mesh.test',
  dataDir: at('parent/data'),
  log: { level: 'fatal' },
  hsm: {
    module: softHsmModulePath(),
    softhsmConf: at('softhsm2.conf'),
    issuing: { label: 'issuing', pinFile: at('pin') },
    root: { label: 'root', pinFile: at('pin') },
  },
});
const agentConfig = () => ({
  trustDomain: 'mesh.test',
  serverAddress: '127.0.0.1:1',
  dataDir: at('parent/data'),
  bootstrap: { bundlePath: at('bundle.pem') },
  attestation: { joinToken: { path: at('token') } },
  workloadApi: { socketPath: at('sockets/w') },
  localApi: { socketPath: at('sockets/l') },
  ops: { port: 0 },
});

/** What denies access, and what gives it back; both by the words of the message. */
interface Case {
  readonly deny: () => void;
  readonly words: RegExp;
  readonly allow: () => void;
}
const ready = (): void => {
  for (const folder of ['parent', 'parent/data', 'sockets', 'tokens']) {
    mkdirSync(at(folder));
    chmodSync(at(folder), 0o700);
  }
  writeFileSync(at('pin'), '1234', { mode: 0o600 });
  writeFileSync(at('token'), 'a token', { mode: 0o600 });
  writeFileSync(at('bundle.pem'), certificatesToPem([createRoot('mesh.test').certificateDer]));
  writeFileSync(at('softhsm2.conf'), `directories.tokendir = ${at('tokens')}\n`);
};
const mode = (name: string, bits: number) => () => chmodSync(at(name), bits);
const gone = (name: string) => () => rmSync(at(name), { recursive: true });
const owned = (bits: string, needed: string, name: string): string =>
  `${at(name)} belongs to user ${user} and group \\d+ and has mode 0${bits}, and "${needed}" is needed`;

const cases: Readonly<Record<'server' | 'agent', Readonly<Record<string, () => Case>>>> = {
  server: {
    'the folder of the data directory': () => ({
      deny: () => {
        gone('parent/data')();
        mode('parent', 0o500)();
      },
      words: new RegExp(`may not make ${at('parent/data')}: ${owned('500', 'wx', 'parent')}`),
      allow: mode('parent', 0o700),
    }),
    'the data directory': () => ({
      deny: mode('parent/data', 0o500),
      words: new RegExp(`may not make .*: ${owned('500', 'wx', 'parent/data')}`),
      allow: mode('parent/data', 0o700),
    }),
    'the PIN file': () => ({
      deny: mode('pin', 0),
      words: new RegExp(`may not read ${at('pin')}: ${owned('000', 'r', 'pin')}`),
      allow: mode('pin', 0o600),
    }),
    'the configuration of SoftHSM': () => ({
      deny: mode('softhsm2.conf', 0),
      words: new RegExp(`may not read .*: ${owned('000', 'r', 'softhsm2.conf')}`),
      allow: mode('softhsm2.conf', 0o600),
    }),
    'the folder of the tokens': () => ({
      deny: mode('tokens', 0),
      words: new RegExp(`may not read .*: ${owned('000', 'rx', 'tokens')}`),
      allow: mode('tokens', 0o700),
    }),
  },
  agent: {
    'the data directory': () => ({
      deny: mode('parent/data', 0o500),
      words: new RegExp(`: ${owned('500', 'wx', 'parent/data')}`),
      allow: mode('parent/data', 0o700),
    }),
    'the bundle': () => ({
      deny: mode('bundle.pem', 0),
      words: new RegExp(`may not read .*: ${owned('000', 'r', 'bundle.pem')}`),
      allow: mode('bundle.pem', 0o600),
    }),
    'the folder of the sockets': () => ({
      deny: mode('sockets', 0o500),
      words: new RegExp(`may not make .*: ${owned('500', 'wx', 'sockets')}`),
      allow: mode('sockets', 0o700),
    }),
  },
};

for (const kind of ['server', 'agent'] as const)
  describe(`by the ${kind}`, () => {
    for (const [what, made] of Object.entries(cases[kind]))
      test(`${what} that may not be used is told with path, owner, mode and need`, async () => {
        ready();
        const { deny, words, allow } = made();
        const config = kind === 'server' ? serverConfig() : agentConfig();
        deny();
        const said = await start(kind, config);
        assert.match(said, /^error PATH_NOT_PERMITTED: /);
        assert.match(said, words);
        allow();
        assert.doesNotMatch(await start(kind, config), /PATH_NOT_PERMITTED/);
      });
  });

test('a configuration that may not be read names path, owner and mode', async () => {
  const path = at('server.json');
  writeFileSync(path, '{}', { mode: 0 });
  assert.match(
    await startWith('server', path),
    /^error PATH_NOT_PERMITTED: user \d+ may not read /,
  );
  chmodSync(path, 0o600);
  assert.match(await startWith('server', path), /^error CONFIG_INVALID: /);
});
