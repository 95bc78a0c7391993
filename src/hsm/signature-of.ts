import { PkiError } from '../common/errors/index.ts';
import type { Signers, SignItem } from './signing-port.ts';

/**
 * The signature of one item.
 *
 * @throws PkiError the outcome of the port where it signed nothing
 */
export async function signatureOf(
  signers: Pick<Signers, 'sign'>,
  item: SignItem,
  signal?: AbortSignal,
): Promise<Buffer> {
  const [outcome] = await signers.sign([item], signal);
  if (outcome?.ok === true) return outcome.signature;
  throw new PkiError(
    outcome?.code ?? 'HSM_UNAVAILABLE',
    outcome?.message ?? 'the signer gave no answer',
  );
}
