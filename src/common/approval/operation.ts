import { createHash } from 'node:crypto';
import { fail, ok, type Result } from '../errors/index.ts';
import { canonicalJson, type Json } from './canonical-json.ts';

/** The namespace of the signatures: nothing signed for another purpose is an approval. */
export const approvalNamespace = 'meshca-approval@v1';

/** One call that waits for approval, and everything that an approval of it is over. */
export interface Operation {
  readonly id: string;
  readonly trustDomain: string;
  /** Of the database: an approval does not outlive a restore. */
  readonly epoch: string;
  /** The RPC's full path. */
  readonly method: string;
  /** The request as JSON; bytes in base64. */
  readonly request: Json;
  readonly proposer: {
    /** A SPIFFE ID or `uid:N`. */
    readonly actor: string;
    /** Of the certificate that he proposed with; empty on the local socket. */
    readonly serial: string;
  };
  /** The policy that decides. */
  readonly policyVersion: number;
  readonly policySha256: string;
  readonly createdAt: number;
  /** First second in which it no longer holds. */
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
 * Strict: bytes that are not exactly what `operationBytes` gives for what they say are none. Fails
 * with APPROVAL_NOT_OPEN.
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
    // said below
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
