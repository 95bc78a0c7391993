import { PkiError } from '../../src/common/errors/index.ts';
import type { AgentCredential } from '../state/index.ts';

export const supersededAdvice = (id: string): string =>
  `Find out which node is the right one. If it is this one: meshca agent evict ${id}, then ` +
  'give it a new join token (meshca token create), or restart it where it attests by a node ' +
  'certificate.';

/** The server does not know the SVID any more, and refused its recovery. */
export const unknownTo = ({ spiffeId }: AgentCredential, refused: PkiError): PkiError =>
  new PkiError(
    'CERTIFICATE_UNKNOWN',
    `the server does not know the certificate of ${spiffeId.toString()} any more, and it can not be recovered`,
    {
      next:
        'Was the database of the server restored? Give this node a new join token (meshca ' +
        'token create), or restart it where it attests by a node certificate.',
      cause: refused,
    },
  );
