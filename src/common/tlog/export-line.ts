import { PkiError } from '../errors/index.ts';

/**
 * An export is JSON lines: first `log`, then the records in the order of their sequence. Each tile
 * of leaf hashes precedes its records, each list of consumers follows the record of its activation,
 * and each checkpoint follows the last record that it covers. The last line is `end`.
 */
export type ExportLine =
  | {
      readonly type: 'log';
      readonly version: 1;
      readonly origin: string;
      readonly verifierKey: string /** Further keys of this log: one that was lost, one that stands by. */;
      readonly otherKeys?: readonly string[];
      readonly exportedAtMs: number;
    }
  | { readonly type: 'tile'; readonly index: number; readonly hashes: string }
  | {
      readonly type: 'record';
      readonly sequence: number /** Absent: it is not in the tree. */;
      readonly index?: number;
      readonly out?: string;
      readonly timeMs: number;
      readonly actor: string;
      readonly kind: string;
      readonly subject: string;
      readonly canonical: string;
    }
  /**
   * Follows the record of an activation: who was counted, first the statement, then each part of
   * the list.
   */
  | { readonly type: 'evidence'; readonly authorityId: string; readonly statement: string }
  | { readonly type: 'evidence-lines'; readonly lines: string }
  | { readonly type: 'checkpoint'; readonly note: string; readonly timeMs: number }
  | { readonly type: 'end'; readonly size: number };

/** The first line of a canonical record. */
export const recordVersion = 'meshca-audit-v1\n';

/** Whether the columns of a row agree with its record. */
export function columnsMatch(
  line: Extract<ExportLine, { type: 'record' }>,
  canonical: Buffer,
): boolean {
  const text = canonical.toString('utf8');
  if (!text.startsWith(recordVersion)) return false;
  try {
    const said = JSON.parse(text.slice(recordVersion.length)) as Record<string, unknown>;
    return (
      said['actor'] === line.actor &&
      said['kind'] === line.kind &&
      said['subject'] === line.subject &&
      said['timeMs'] === line.timeMs
    );
  } catch {
    return false;
  }
}

type Kind = ExportLine['type'];
type FieldType = 'text' | 'count' | 'number' | 'texts';

/** The fields of each kind of line besides `type`. A question mark: it may be absent. */
const fields: Readonly<Record<Kind, Readonly<Record<string, FieldType | `${FieldType}?`>>>> = {
  log: {
    version: 'number',
    origin: 'text',
    verifierKey: 'text',
    otherKeys: 'texts?',
    exportedAtMs: 'number',
  },
  tile: { index: 'count', hashes: 'text' },
  record: {
    sequence: 'count',
    index: 'count?',
    out: 'text?',
    timeMs: 'number',
    actor: 'text',
    kind: 'text',
    subject: 'text',
    canonical: 'text',
  },
  evidence: { authorityId: 'text', statement: 'text' },
  'evidence-lines': { lines: 'text' },
  checkpoint: { note: 'text', timeMs: 'number' },
  end: { size: 'count' },
};

const isText = (value: unknown): boolean => typeof value === 'string';
const fits: Readonly<Record<FieldType, (value: unknown) => boolean>> = {
  text: isText,
  count: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  number: (value) => typeof value === 'number' && Number.isFinite(value),
  texts: (value) => Array.isArray(value) && value.every(isText),
};

/** Parses one line of an export, with every field of its kind and type. Undefined if it is none. */
function parseExportLine(text: string): ExportLine | undefined {
  let line: unknown;
  try {
    line = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof line !== 'object' || line === null || Array.isArray(line)) return undefined;
  const { type, ...rest } = line as Record<string, unknown>;
  if (typeof type !== 'string' || !Object.hasOwn(fields, type)) return undefined;
  const wanted = fields[type as Kind];
  const isWhole = Object.entries(wanted).every(([name, kind]) => {
    const optional = kind.endsWith('?');
    const value = rest[name];
    if (value === undefined) return optional;
    return fits[(optional ? kind.slice(0, -1) : kind) as FieldType](value);
  });
  return isWhole && Object.keys(rest).every((name) => Object.hasOwn(wanted, name))
    ? (line as ExportLine)
    : undefined;
}

export function parseLine(text: string, isFirst: boolean): ExportLine {
  const line = parseExportLine(text);
  if (line !== undefined) return line;
  const start = JSON.stringify(text.slice(0, 80));
  if (isFirst) throw noExport(`it is none of an export: ${start}`);
  throw invalid(`it is none of an export, or has a field that is not of its type: ${start}`);
}

/**
 * The record of a line; undefined for other lines. `act` is undefined if the record stands outside
 * the tree, or can not be read.
 */
export function parseRecordLine(
  text: string,
): { readonly sequence: number; readonly timeMs: number; readonly act?: RecordedLine } | undefined {
  const line = parseExportLine(text);
  if (line?.type !== 'record') return undefined;
  const { sequence, timeMs, index, canonical } = line;
  if (index === undefined || !canonical.startsWith(recordVersion)) return { sequence, timeMs };
  try {
    const act: unknown = JSON.parse(canonical.slice(recordVersion.length));
    return isRecorded(act) ? { sequence, timeMs, act } : { sequence, timeMs };
  } catch {
    return { sequence, timeMs };
  }
}

/** The last instant of a Date. */
const lastMs = 8.64e15;

function isRecorded(act: unknown): act is RecordedLine {
  if (typeof act !== 'object' || act === null) return false;
  const { timeMs, actor, kind, subject, detail } = act as Readonly<Record<string, unknown>>;
  return (
    [actor, kind, subject].every(isText) &&
    typeof timeMs === 'number' &&
    Math.abs(timeMs) <= lastMs &&
    typeof detail === 'object' &&
    detail !== null
  );
}

/** What a record says. */
interface RecordedLine {
  readonly timeMs: number;
  readonly actor: string;
  readonly kind: string;
  readonly subject: string;
  readonly detail: Readonly<Record<string, unknown>>;
}

/** The error for a file that is more likely not an export than an altered one. */
export const noExport = (message: string): PkiError =>
  new PkiError('AUDIT_INVALID', message, {
    next:
      'Give a file that "meshca audit export" wrote; if this is one, keep it and the database ' +
      'as they are: it was altered.',
  });

export const invalid = (message: string, sequence?: number, detail: object = {}): PkiError =>
  new PkiError('AUDIT_INVALID', message, {
    detail: { ...detail, ...(sequence === undefined ? {} : { sequence }) },
  });
