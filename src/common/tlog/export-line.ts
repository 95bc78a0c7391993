import { PkiError } from '../errors/index.ts';

/**
 * An export is JSON lines: first `log`, then records in the order of their sequence, each tile of
 * leaf hashes before the records it is about, the list of who had confirmed behind the record of an
 * activation, each checkpoint behind the last record that it covers, and `end`.
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
   * Behind the record of an activation: who was counted, first the statement, then each part of the
   * list.
   */
  | { readonly type: 'evidence'; readonly authorityId: string; readonly statement: string }
  | { readonly type: 'evidence-lines'; readonly lines: string }
  | { readonly type: 'checkpoint'; readonly note: string; readonly timeMs: number }
  | { readonly type: 'end'; readonly size: number };

/** The first line of a canonical record. */
export const recordVersion = 'meshca-audit-v1\n';

/** Whether the columns beside a record say what the record says. */
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

export function parseLine(text: string, isFirst: boolean): ExportLine {
  try {
    const line = JSON.parse(text) as ExportLine;
    if (
      typeof line === 'object' &&
      line !== null &&
      ['log', 'tile', 'record', 'evidence', 'evidence-lines', 'checkpoint', 'end'].includes(
        line.type,
      )
    )
      return line;
  } catch {
    // said below
  }
  if (isFirst)
    throw noExport(`its first line is none of an export: ${JSON.stringify(text.slice(0, 80))}`);
  throw invalid(`a line is none of an export: ${JSON.stringify(text.slice(0, 80))}`);
}

/** Another file is likelier than an altered log. */
export const noExport = (message: string): PkiError =>
  new PkiError('AUDIT_INVALID', message, {
    next: 'Give a file that "meshca audit export" wrote; if this is one, keep it and the database as they are: it was altered.',
  });

export const invalid = (message: string, sequence?: number, detail: object = {}): PkiError =>
  new PkiError('AUDIT_INVALID', message, {
    detail: { ...detail, ...(sequence === undefined ? {} : { sequence }) },
  });
