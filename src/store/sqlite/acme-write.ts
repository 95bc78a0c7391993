import type { AcmeWrite } from '../ports/index.ts';

/** One transaction: the nonce, the rights, then the work. */
export type WriteAcme = (write: AcmeWrite, work: () => void) => Promise<void>;
