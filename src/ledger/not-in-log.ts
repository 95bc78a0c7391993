import { PkiError } from '../common/errors/index.ts';

export const notInLog = (kind: string, id: string): PkiError =>
  new PkiError(
    'OBJECT_NOT_IN_LOG',
    `the ${kind} ${id} in the database differs from the audit log; nothing is signed from it`,
    { detail: { kind, id } },
  );

export const isNotInLog = (thrown: unknown): boolean =>
  PkiError.from(thrown).code === 'OBJECT_NOT_IN_LOG';
