import { createHash } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';
import { canonicalJson, type Json } from './canonical-json.ts';

/** The namespace of the signatures: nothing signed for another purpose is an approval. */
export const approvalNamespace = 'meshca-approval@v1';

/** One call that waits for approval, with everything that an approval covers. */
export interface Operation {
  readonly id: string;
  readonly trustDomain: string;
  /** The epoch of the database. An approval does not outlast a restore. */
  readonly epoch: string;
  /** The RPC's full path. */
  readonly method: string;
  /** The request as JSON; bytes in base64. */
  readonly request: Json;
  readonly proposer: {
    /** A SPIFFE ID or `uid:N`. */
    readonly actor: string;
    /** The serial of the proposer's certificate. Empty on the local socket. */
    readonly serial: string;
  };
  /** The policy that decides. */
  readonly policyVersion: number;
  readonly policySha256: string;
  readonly createdAt: number;
  /** The first second in which the operation is no longer open. */
  readonly expiresAt: number;
}

const version = 'meshca-operation-v1\n';
const members = [
  'createdAt',
  'epoch',
  'expiresAt',
  'id',
  'method',
  'policySha256',
  'policyVersion',
  'proposer',
  'request',
  'trustDomain',
];

/**
 * Version line and canonical JSON: what is stored, shown, digested, and read again to be executed.
 */
export const operationBytes = (operation: Operation): Buffer =>
  Buffer.from(version + canonicalJson(operation), 'utf8');

/**
 * Parses strictly: the bytes must equal those that `operationBytes` makes of the result. Fails with
 * APPROVAL_NOT_OPEN.
 */
export function readOperation(bytes: Buffer): Result<Operation> {
  const text = bytes.toString('utf8');
  if (!text.startsWith(version))
    return fail('APPROVAL_NOT_OPEN', 'these are not the bytes of an operation');
  try {
    const operation = JSON.parse(text.slice(version.length)) as Operation;
    const complete =
      Object.keys(operation).join() === members.join() &&
      typeof operation.proposer.actor === 'string' &&
      [operation.policyVersion, operation.createdAt, operation.expiresAt].every(
        Number.isSafeInteger,
      );
    if (complete && operationBytes(operation).equals(bytes)) return ok(operation);
  } catch {
    // reported below
  }
  return fail('APPROVAL_NOT_OPEN', 'the bytes of the operation are not in their canonical form');
}

export const operationSha256 = (bytes: Buffer): string =>
  createHash('sha256').update(bytes).digest('hex');

/** The line that an approver signs: ASCII, ends with a line feed. */
export const approvalLine = (
  { trustDomain, id }: Pick<Operation, 'trustDomain' | 'id'>,
  sha256: string,
): string => `meshca-approval-v1 ${trustDomain} ${id} sha256:${sha256}\n`;
