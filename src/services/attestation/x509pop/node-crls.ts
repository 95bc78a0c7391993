import { PkiError, unwrap } from '../../../common/errors/index.ts';
import type { Clock } from '../../../common/runtime/index.ts';
import {
  checkRevocation,
  parseCrl,
  pemDecode,
  type ParsedCrl,
  type VerifiedChain,
} from '../../../common/x509/index.ts';

/** Whether node certificates were revoked. */
export interface NodeCrls {
  /** Undefined: the certificate was not revoked. */
  refusalOf(chain: VerifiedChain): PkiError | undefined;
}

export const withoutCrls: NodeCrls = { refusalOf: () => undefined };

/**
 * CRLs from a file that somebody else renews: it is read again, at most once a second. Owner of what
 * was read last. Throws CONFIG_INVALID where the file can't be used at the start; later such a file
 * refuses every node, since nobody can tell then who was revoked.
 */
export function openNodeCrls(read: () => string, clock: Pick<Clock, 'now'>): NodeCrls {
  let text = read();
  let readAt = clock.now();
  let crls: readonly ParsedCrl[] | PkiError = crlsOf(text);
  if (crls instanceof PkiError) throw crls;
  const current = (): readonly ParsedCrl[] | PkiError => {
    const now = clock.now();
    if (now === readAt) return crls;
    readAt = now;
    try {
      const fresh = read();
      if (fresh !== text || crls instanceof PkiError) crls = crlsOf(fresh);
      text = fresh;
    } catch (thrown) {
      crls = PkiError.from(thrown);
    }
    return crls;
  };
  return {
    refusalOf({ chain, root }) {
      const known = current();
      if (known instanceof PkiError)
        return new PkiError(
          'REVOCATION_UNKNOWN',
          'the CRLs of node certificates at the server can not be read',
          { cause: known },
        );
      const checked = checkRevocation(chain, root, known, clock.now());
      if (checked.ok) return undefined;
      return new PkiError(checked.error.code, `node certificate: ${checked.error.message}`);
    },
  };
}

function crlsOf(text: string): readonly ParsedCrl[] | PkiError {
  try {
    const blocks = unwrap(pemDecode(text));
    if (blocks.length === 0) throw new Error('it holds no CRL in PEM');
    return blocks.map(({ label, der }) => {
      if (label !== 'X509 CRL') throw new Error(`it holds ${label} beside CRLs`);
      return unwrap(parseCrl(der));
    });
  } catch (thrown) {
    return new PkiError(
      'CONFIG_INVALID',
      `attestation.x509pop.crlFile: ${(thrown as Error).message}`,
      {
        grade: 'fatal',
        cause: thrown,
      },
    );
  }
}
