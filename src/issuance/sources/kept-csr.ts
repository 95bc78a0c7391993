import { assembleCsr, parseCsr } from '../../certs/index.ts';
import { sha256Hex, type KeyType } from '../../common/x509/index.ts';
import { readCanonical, type Authority } from '../../domain/index.ts';
import { checkProof } from '../../hsm/proof.ts';
import { newestRecord } from '../../store/newest-record.ts';
import { authorityEvent } from '../authority-event.ts';
import type { SourceDependencies } from './source-dependencies.ts';

const kind = 'authority.requested';

/**
 * The CSR that was handed out for this key before, from its record. People compare its digest, and
 * a token signs the same request differently each time. The content is ours and the signature is
 * checked, so that the record needs no belief. Undefined: there is none.
 */
export async function keptCsr(
  { audit }: Pick<SourceDependencies, 'audit'>,
  authority: Authority,
  { infoDer, keyType }: { readonly infoDer: Buffer; readonly keyType: KeyType },
): Promise<Buffer | undefined> {
  const record = await newestRecord(audit, { subject: authority.id, kind });
  const kept = record && readCanonical(record.canonical)?.detail['csr'];
  if (typeof kept !== 'string') return undefined;
  const csr = parseCsr(Buffer.from(kept, 'base64'));
  if (!csr.ok || !checkProof(csr.value.proof).ok) return undefined;
  const ours = assembleCsr(infoDer, keyType, csr.value.proof.signature);
  return ours.equals(csr.value.raw) ? ours : undefined;
}

/** Puts a CSR on record before it is handed out. */
export const keepCsr = (
  dependencies: Pick<SourceDependencies, 'audit' | 'clock'>,
  actor: string,
  authority: Authority,
  csrDer: Buffer,
): Promise<void> =>
  dependencies.audit.append([
    authorityEvent(
      dependencies,
      { actor, kind, authority },
      { csr: csrDer.toString('base64'), csrSha256: sha256Hex(csrDer) },
    ),
  ]);
