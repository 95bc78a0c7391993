// Generates the stubs of clients/go and clients/python from proto/. They are checked in.
//
//   node scripts/client-stubs.mjs           writes them, and what they were made from (clients/stubs.json)
//   node scripts/client-stubs.mjs --check   fails when the committed ones differ
//
// The generators are kept in ${XDG_CACHE_HOME:-~/.cache}/meshca.
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { cache, goCommand } from './foreign.mjs';
import {
  capture,
  digestOf,
  filesBelow,
  inRoot,
  isMain,
  main,
  readJson,
  ScriptError,
} from './lib.mjs';

const versions = {
  'grpcio-tools': '1.80.0',
  'protoc-gen-go': '1.36.12',
  'protoc-gen-go-grpc': '1.6.1',
};
const sources = [
  { file: 'meshca/signing/v1/signing.proto', name: 'signing', go: 'signingpb' },
  { file: 'spiffe/workload.proto', name: 'workload', go: 'workloadpb' },
];
const module = 'meshca/clients/go';
const recordPath = inRoot('clients', 'stubs.json');

/** What the stubs are made from. A test compares it with clients/stubs.json. */
export const stubInputs = () => ({
  protosSha256: digestOf(sources.map(({ file }) => inRoot('proto', file))),
  versions,
});

export function generateStubs({ check = false, say = () => {} } = {}) {
  const scratch = mkdtempSync(join(tmpdir(), 'meshca-stubs-'));
  try {
    const tools = installTools(say);
    writeGo(tools, join(scratch, 'go'));
    writePython(tools, join(scratch, 'python'));
    const differing = filesBelow(scratch).filter((path) => {
      const place = inRoot('clients', relative(scratch, path));
      return !existsSync(place) || !readFileSync(place).equals(readFileSync(path));
    });
    if (check && differing.length > 0)
      throw new ScriptError(
        'stubs of clients are not as the protos have them: node scripts/client-stubs.mjs ' +
          `(${differing.map((path) => relative(scratch, path)).join(', ')})`,
      );
    if (check) return;
    cpSync(scratch, inRoot('clients'), { recursive: true });
    writeFileSync(recordPath, `${JSON.stringify(stubInputs(), null, 2)}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** A virtual environment with protoc, and the plug-ins for Go. */
function installTools(say) {
  const place = join(cache, `stubs-${Object.values(versions).join('-')}`);
  const tools = { python: join(place, 'bin', 'python'), go: join(place, 'go') };
  if (existsSync(`${place}.whole`)) return tools;
  say('stubs of clients: installing the generators');
  rmSync(place, { recursive: true, force: true });
  capture('python3', ['-m', 'venv', place]);
  capture(tools.python, [
    ...['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--only-binary=:all:'],
    `grpcio-tools==${versions['grpcio-tools']}`,
  ]);
  const env = { ...process.env, GOBIN: tools.go, GOTOOLCHAIN: 'local' };
  const plugins = [
    `google.golang.org/protobuf/cmd/protoc-gen-go@v${versions['protoc-gen-go']}`,
    `google.golang.org/grpc/cmd/protoc-gen-go-grpc@v${versions['protoc-gen-go-grpc']}`,
  ];
  for (const plugin of plugins) capture(goCommand(say), ['install', plugin], { env });
  writeFileSync(`${place}.whole`, '');
  return tools;
}

function writeGo({ python, go }, out) {
  mkdirSync(out, { recursive: true });
  const mapped = sources.map(({ file, go: name }) => `M${file}=${module}/${name}`).join(',');
  capture(python, [
    ...['-m', 'grpc_tools.protoc', `-I${inRoot('proto')}`],
    `--plugin=protoc-gen-go=${join(go, 'protoc-gen-go')}`,
    `--plugin=protoc-gen-go-grpc=${join(go, 'protoc-gen-go-grpc')}`,
    ...[`--go_out=${out}`, `--go_opt=module=${module},${mapped}`],
    ...[`--go-grpc_out=${out}`, `--go-grpc_opt=module=${module},${mapped}`],
    ...sources.map(({ file }) => file),
  ]);
}

/** The files lie in the package, so that its imports need no path of their own. */
function writePython({ python }, out) {
  const staged = mkdtempSync(join(tmpdir(), 'meshca-protos-'));
  const folder = join('meshca_client', '_pb');
  try {
    mkdirSync(join(staged, folder), { recursive: true });
    mkdirSync(out, { recursive: true });
    for (const { file, name } of sources)
      cpSync(inRoot('proto', file), join(staged, folder, `${name}.proto`));
    capture(python, [
      ...['-m', 'grpc_tools.protoc', `-I${staged}`],
      ...[`--python_out=${out}`, `--pyi_out=${out}`, `--grpc_python_out=${out}`],
      ...sources.map(({ name }) => join(folder, `${name}.proto`)),
    ]);
  } finally {
    rmSync(staged, { recursive: true, force: true });
  }
}

export const recordedInputs = () => readJson(recordPath);

if (isMain(import.meta.url))
  await main((args) =>
    generateStubs({
      check: args.includes('--check'),
      say: (line) => process.stderr.write(`${line}\n`),
    }),
  );
