// Writes the references that are made of the sources: docs/configuration.md from the schemas of
// server and agent, docs/errors.md from the table of error codes, docs/api.md from the table of
// operations, docs/advice.md from the table of advice in test/support/advice/. The result is
// committed; test/architecture/docs.test.ts fails when it is not current.
//
//   node scripts/reference.mjs            write what changed
//   node scripts/reference.mjs --check    write nothing, fail when a committed file differs
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { foreground, inRoot, isMain, main, projectNode, ScriptError } from './lib.mjs';
import { setup } from './setup.mjs';

const note = (from) => `<!-- Made by npm run reference from ${from}. Do not edit. -->\n`;

/** Text for a cell of a Markdown table. */
const cell = (text) => text.replaceAll('|', '\\|').replaceAll('\n', ' ').replaceAll('<', '&lt;');
const row = (...cells) => `| ${cells.join(' | ')} |\n`;
const table = (names, rows) =>
  row(...names) + row(...names.map(() => '---')) + rows.map((cells) => row(...cells)).join('');

/** Keys under one heading for each section of the file; those without a section come first. */
function configurationOf(title, keys) {
  const sections = Map.groupBy(keys, ({ path }) => (path.includes('.') ? path.split('.')[0] : ''));
  const texts = [...sections].map(
    ([section, members]) =>
      `${section === '' ? '' : `### \`${section}\`\n\n`}${table(
        ['key', 'type', 'default', 'meaning', 'variable'],
        members.map(({ path, type, fallback, description, envName }) => [
          `\`${path}\``,
          cell(type),
          fallback === undefined ? '' : `\`${cell(JSON.stringify(fallback))}\``,
          cell(description),
          `\`${envName}\``,
        ]),
      )}`,
  );
  return `## ${title}\n\n${texts.join('\n')}`;
}

async function configuration() {
  const { configKeys } = await import('../src/common/runtime/config-loader.ts');
  const { reloadedServerKeys, rereadServerKeys, serverConfigSchema, serverEnvPrefix } =
    await import('../src/config/index.ts');
  const { agentConfigSchema, agentEnvPrefix, reloadedAgentKeys } = await import(
    '../sidecar/config.ts'
  );
  const listed = (keys) => keys.map((key) => `\`${key}\``).join(', ');
  return `# Configuration

${note('src/config/ and sidecar/config.ts')}
Server and agent read one file each, YAML or JSON (\`--config FILE\`), and the environment, which wins. A key that is not in
these tables is refused, and so is a variable that begins like them. \`meshca validate\` checks a file without starting;
\`meshca validate --schema server\` prints the JSON Schema. Lists in a variable are separated by commas; a list of objects
is JSON. Where no default stands, the key has none: it is needed, or what happens without it stands in its meaning.

At SIGHUP a running server or agent reads its configuration again ([operations](operations.md#sighup)). These keys then count:
${listed(reloadedServerKeys)} of the server, ${listed(reloadedAgentKeys)} of the agent. The server reads the files and secrets again
that these keys name: ${listed(rereadServerKeys)}. A change of any other key counts after a restart, and the log names the key.

${configurationOf('Server', configKeys(serverConfigSchema, serverEnvPrefix))}
${configurationOf('Agent', configKeys(agentConfigSchema, agentEnvPrefix))}`;
}

async function errors() {
  const { codes } = await import('../src/common/errors/index.ts');
  const rows = Object.entries(codes)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([code, { status, audience, meaning, next }]) => [
      `\`${code}\``,
      audience === 'operator' ? `${status} (operators only)` : status,
      cell(meaning),
      cell(next),
    ]);
  return `# Error codes

${note('src/common/errors/codes.ts')}
Every error has a stable code, a message that says what was wrong in this case, and what to do next. Over gRPC the code is
in the trailer \`meshca-code\`, beside the gRPC status; over HTTP in the field \`code\`; in the CLI it stands in front of
the message, and in its \`--json\` output. A code marked "operators only" is shown in logs and to administrators; others
get INTERNAL with a request ID in its place.

${table(['code', 'gRPC status', 'meaning', 'what to do'], rows)}`;
}

const testName = ([file, name]) => `\`test/${file}\`: "${cell(name)}"`;

/** What came of an advice, in a cell. */
function outcome({ followed }) {
  if ('cannot' in followed) return `not followed: ${cell(followed.cannot)}`;
  const by = followed.by === undefined ? '' : ` (${testName(followed.by)})`;
  return `${cell(followed.does)}: ${cell(followed.result)}${by}`;
}

async function advice() {
  const { codes } = await import('../src/common/errors/index.ts');
  const { advice: table_ } = await import('../test/support/advice/index.ts');
  const sorted = Object.entries(table_).sort(([a], [b]) => (a < b ? -1 : 1));
  const count = (kind) => sorted.filter(([, { followed }]) => kind in followed).length;
  return `# Advice that was tried

${note('test/support/advice/')}
Each error code says what to do next. This page says which test provokes the code, and what came of the advice.
${count('does')} of ${sorted.length} advices are followed in a test; ${count('cannot')} can't be followed in one, and the row says why.

${table(
  ['code', 'provoked', 'advice', 'followed'],
  sorted.map(([code, row_]) => [
    `\`${code}\``,
    `${cell(row_.provoked)} (${testName(row_.by)})`,
    cell(codes[code].next),
    outcome(row_),
  ]),
)}`;
}

/** @returns {Promise<readonly string[]>} the files that differ (and were written, unless `check`) */
export async function writeReferences({ check = false } = {}) {
  const { operationsMarkdown } = await import('../src/api/reference.ts');
  const files = {
    'advice.md': await advice(),
    'api.md': operationsMarkdown(),
    'configuration.md': await configuration(),
    'errors.md': await errors(),
  };
  const differing = Object.entries(files).filter(([name, text]) => {
    const path = inRoot('docs', name);
    return !existsSync(path) || readFileSync(path, 'utf8') !== text;
  });
  if (!check) for (const [name, text] of differing) writeFileSync(inRoot('docs', name), text);
  return differing.map(([name]) => `docs/${name}`);
}

if (isMain(import.meta.url)) {
  await main(async (args) => {
    setup({ quiet: true, purpose: 'build' });
    // the sources are TypeScript: another Node than the project's may not read them
    if (process.versions.node.split('.')[0] < '24')
      return foreground(projectNode, [inRoot('scripts', 'reference.mjs'), ...args]);
    const check = args.includes('--check');
    const differing = await writeReferences({ check });
    if (check && differing.length > 0)
      throw new ScriptError(
        `${differing.join(' and ')} not as the sources have it: "npm run reference" writes it anew`,
      );
    for (const path of differing) console.error(`reference: wrote ${path}`);
    return 0;
  });
}
