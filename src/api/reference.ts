import { maximumPageSize } from '../services/requests.ts';
import type { ServiceName } from '../common/wire/index.ts';
import type { Admission, DualControlRule } from './operation.ts';
import { rows, type Row } from './row.ts';
import { serviceNames } from './table.ts';

/** The table of operations as Markdown: docs/api.md. */
export const operationsMarkdown = (): string =>
  [introduction, ...serviceNames.map(serviceSection)].join('\n\n') + '\n';

const introduction = `# The server's API

<!-- Generated from src/api by scripts/reference.mjs. Do not edit. -->

Every method of the server's gRPC services, from the table that the server itself runs on. The messages stand in [proto/](../proto/README.md).

- **Admitted** are classes of callers. *strangers*: nodes without an identity. *agents*: by their agent SVID. *delegates*: SVIDs with a delegation. *workloads*: SVIDs with or without a delegation; the entry behind the SVID decides. *operators*: the local socket, and admins by their certificate; roles decide what an admin may do.
- **Dual control**: whether a call waits for approval while [dual control](dual-control.md) is on.
- **Preview**: whether approvers are shown what the call would change.
- A **stream** gives many answers; a **dialogue** streams on both sides.
- A **list** comes in pages. \`page.size\` is 100 if it is 0, and at most ${maximumPageSize}: what is above gives ${maximumPageSize}. A page may have fewer items, or none, and be followed by others: only an empty \`next_page_token\` tells the end.`;

function serviceSection(service: ServiceName): string {
  const own = [...rows.values()].filter(({ path }) => path.startsWith(`/${service}/`));
  const administers = own.some(({ admits }) => admits === 'operators');
  const titles = administers
    ? ['Method', 'Admitted', 'Dual control', 'Preview']
    : ['Method', 'Admitted'];
  return [
    `## ${service}`,
    '',
    line(titles),
    line(titles.map(() => '---')),
    ...own.map((row) => line(administers ? adminCells(row) : peerCells(row))),
  ].join('\n');
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;

const peerCells = (row: Row): readonly [string, Admission] => [nameOf(row), row.admits];

const adminCells = (row: Row): readonly string[] => [
  ...peerCells(row),
  ruleText(row.dualControl),
  row.preview === undefined ? '' : 'yes',
];

function nameOf({ path, run, open }: Row): string {
  const name = `\`${path.slice(path.lastIndexOf('/') + 1)}\``;
  if (run !== undefined) return name;
  return `${name} (${open === undefined ? 'dialogue' : 'stream'})`;
}

const ruleText = (rule: DualControlRule<object>): string =>
  typeof rule === 'string' ? rule : `when ${rule.when}`;
